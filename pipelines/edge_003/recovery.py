"""The same shift while the link is away and the power fails. Nothing in it knows about that beforehand."""

from .baseline import build

__all__ = ["build"]
