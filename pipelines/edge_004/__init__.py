"""EDGE-004, bandwidth-constrained sync: a day's results over a line of a few kilobits, inside a budget of bytes."""
