"""The stages of EDGE-002."""
