"""The stages of DEF-008."""
