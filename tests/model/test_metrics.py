"""One table of metrics: everything that is written stands in it, and nothing else does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from runner.model.metrics import METRICS, is_counter, metric_of, split
from runner.ondevice import sampler

KINDS = {"counter", "level", "gauge"}
UNITS = {"s", "By", "Cel", "1"}


def names_in(source: str) -> set[str]:
    """Each metric that a source file names, without its attributes: also those that this machine cannot measure."""
    words = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {word.partition("{")[0] for word in words if re.fullmatch(r"(system|process|hw)\.[a-z_.]+(\{[^ ]*\})?", word)}


def test_the_sampler_writes_the_names_of_the_table_and_no_other() -> None:
    """It imports nothing of ours, so its file is read. A name in the table that nobody writes is a mistake, too."""
    ours = {name for name in METRICS if not name.startswith("stageflow_runner.")}
    assert names_in(Path(sampler.__file__).read_text()) == ours


def test_what_a_sampler_really_wrote_is_in_the_table(tmp_path: Path) -> None:
    """Whatever this machine can measure."""
    assert {split(name)[0] for name in sampler.sample(str(tmp_path))} <= set(METRICS)


def test_a_name_that_the_table_lacks_is_seen() -> None:
    """The negative control."""
    assert names_in('reading["system.paging.faults{system.paging.fault.type=major}"] = 1') == {"system.paging.faults"}


def test_every_metric_says_what_it_is() -> None:
    """A kind, a unit of UCUM, and a sentence."""
    for name, metric in METRICS.items():
        assert metric.kind in KINDS, name
        assert metric.unit in UNITS or re.fullmatch(r"\{[a-z]+\}", metric.unit), name
        assert metric.description[0].isupper() and not metric.description.endswith("."), name


@pytest.mark.parametrize(
    ("series", "counter", "unit"),
    [
        ("system.disk.io{disk.io.direction=read}", True, "By"),
        ("system.memory.usage{system.memory.state=used}", False, "By"),
        ("hw.temperature{hw.id=cpu}", False, "Cel"),
        ("acme.pump.time", True, "s"),
        ("acme.pump.errors{kind=x}", True, ""),
        ("acme.pressure", False, ""),
        ("time", True, "s"),
        ("", False, ""),
    ],
)
def test_what_is_not_in_the_table_is_told_by_its_ending(series: str, counter: bool, unit: str) -> None:
    """A device may send names of its own."""
    assert (is_counter(series), metric_of(series).unit) == (counter, unit)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ("a.b", ("a.b", {})),
        ("a.b{c=d,e=f}", ("a.b", {"c": "d", "e": "f"})),
        ("a{b=c=d}", ("a", {"b": "c=d"})),
        ("a{", ("a", {})),
        ("a{b,=c,d=}", ("a", {})),
    ],
)
def test_a_series_is_a_name_and_attributes(series: str, expected: tuple[str, dict[str, str]]) -> None:
    """What is no attribute is left out, however it is written."""
    assert split(series) == expected
