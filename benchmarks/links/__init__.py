"""Every link profile that is shipped, on one board: asked against measured. See `scripts/links`."""
