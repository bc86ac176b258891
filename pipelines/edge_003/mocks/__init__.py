"""What EDGE-003 is fed with, and the generator that makes it."""
