"""The same work while the power fails. Nothing in it knows about that: recovering is not the pipeline's job."""

from .baseline import build

__all__ = ["build"]
