"""Stageflow by itself, in as few lines as show it: `python FILE` with nothing but stageflow-core installed."""
