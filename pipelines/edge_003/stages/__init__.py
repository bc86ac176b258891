"""The stages of EDGE-003."""
