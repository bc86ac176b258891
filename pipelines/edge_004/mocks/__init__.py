"""What EDGE-004 is fed with, and the generator that makes it."""
