"""EDGE-003, offline operation: a gateway that judges machines by itself, and tells headquarters when the link is there."""
