"""The same day in 128 MiB, while the power fails. Nothing in it knows about either beforehand."""

from .baseline import build

__all__ = ["build"]
