"""What the camera sees, and what it must have seen: made by generate.py."""
