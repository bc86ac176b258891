"""EDGE-002, power failure recovery: a day of smart-meter readings, from raw lines to a signed ledger."""
