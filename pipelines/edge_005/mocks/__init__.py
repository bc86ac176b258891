"""What EDGE-005 is fed with, and the generator that makes it."""
