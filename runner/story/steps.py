"""Every step of a run has a name, and a place before and after it at which a test may kill somebody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from runner.ondevice import failpoints

STEPS = (
    "lease", "folder", "open", "make_safe", "prove", "push", "environment",
    "impose", "start", "hold", "cut", "recover", "drain", "lift", "unwind", "judge", "report",
)  # fmt: skip

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Marks a coroutine function as the step `name`."""
    assert name in STEPS

    def mark(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        @wraps(function)
        async def stepped(*args: P.args, **kwargs: P.kwargs) -> R:
            emit = getattr(args[0], "emit", None)  # most steps are given the run first
            if emit is not None:
                emit("step", name=name)
            failpoints.reached(f"{name}.before")
            result = await function(*args, **kwargs)
            failpoints.reached(f"{name}.after")
            return result

        return stepped

    return mark
