"""The stages of EDGE-004."""
