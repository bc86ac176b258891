"""EDGE-005, resource-constrained execution: a meter station that sorts, sums up and keeps a day's readings on whatever little it has."""
