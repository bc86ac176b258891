"""One fault, one file. A fault here is a pure decision: what to do when, from settings and a seed."""
