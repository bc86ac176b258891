"""Two cameras on one board that was hot before they began: every core is busy, and nothing lets it cool."""

from stageflow import Pipeline

from .baseline import rounds

ROUNDS = 5


def build() -> Pipeline:
    return rounds(ROUNDS)
