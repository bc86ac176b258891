"""The baseline's watch while somebody jams everything, and while the power fails: what was queued is still queued afterwards."""

from .baseline import build

__all__ = ["build"]
