"""The same belt while the board grows hot, slow and cool again, and the power fails meanwhile. Nothing in it knows of that beforehand."""

from .baseline import build

__all__ = ["build"]
