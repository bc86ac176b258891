"""EDGE-001, thermal throttling: a camera over a belt that goes on seeing the same while its board grows hot and slow."""
