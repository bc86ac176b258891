"""This run, judged again: `pytest tests/ -v`. How that is done stands in conftest.py."""
