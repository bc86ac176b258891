"""Coordinator of a device farm that hurts edge devices on purpose, and proves what survived."""

__version__ = "0.1.0"
