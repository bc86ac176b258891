"""Properties over made-up inputs: each a quick test and a longer one, always with the same inputs in the same order.

    @budgets(quick=50, long=3000)
    def test_…(examples: int) -> None:
        holds(check, near(good_document), examples=examples)

Time and the folder `.hypothesis` decide nothing: an input is a failure here when, and only when, it is one everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def budgets(quick: int, long: int) -> pytest.MarkDecorator:
    """The same test with so many inputs at every `scripts/test --quick`, and with so many where there are minutes."""
    return pytest.mark.parametrize("examples", [pytest.param(quick, id="quick"), pytest.param(long, id="long", marks=pytest.mark.real)])


def holds(check: Callable[..., None], *inputs: st.SearchStrategy[Any], examples: int) -> None:
    stable = settings(max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    stable(given(st.tuples(*inputs))(lambda made_up: check(*made_up)))()


NUMBERS = st.integers() | st.floats() | st.sampled_from([2**31, 2**63, -(2**63), 10**30, 1e300, -0.0])
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | st.sampled_from(["", "../x", "\x1b[31m", "\0", "\u2028", "9" * 30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def near(value: Any) -> st.SearchStrategy[Any]:
    """Values like this one: each part of it kept, left out, exchanged for something else, or joined by something unheard of."""
    same = st.just(value)
    if isinstance(value, dict):
        parts = {key: near(part) for key, part in value.items()}
        fewer = st.fixed_dictionaries({}, optional=parts)
        more = st.fixed_dictionaries(parts) | st.tuples(st.fixed_dictionaries(parts), st.dictionaries(st.text(max_size=8), JUNK)).map(
            _joined
        )
        return same | more | fewer | JUNK
    if isinstance(value, list) and value:
        return same | st.lists(st.one_of([near(part) for part in value]), max_size=4) | JUNK
    return same | same | same | JUNK


def _joined(both: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return {**both[1], **both[0]}
