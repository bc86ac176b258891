"""Bad profiles: refused with the line, what stands there, what may stand there and the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import Complaint
from runner.lab.yaml_source import Source
from runner.model.profile import Profile

LINK = "fault: bandwidth\n    down: {}\n    up: "


def complaints(text: str, tmp_path: Path) -> list[Complaint]:
    """What is said of a profile whose one fault is `text`; its first line is line 3."""
    (tmp_path / "bad.yaml").write_text(f"title: Bad\nfaults:\n  - {text}\n")
    source = Source(tmp_path / "bad.yaml", "bad.yaml")
    assert (source.validate(Profile) is None) == bool(source.complaints)
    return source.complaints


@pytest.mark.parametrize(
    ("text", "line", "found", "expected"),
    [
        # unknown keys, and units that were left out
        (LINK + "{rate: 64}", 5, "unknown key 'rate' (did you mean 'rate_kbit_s'?)", "one of burst, delay_ms, "),
        (LINK + "{delay: 20}", 5, "unknown key 'delay' (did you mean 'delay_ms'?)", "one of"),
        (LINK + "{loss: 2}", 5, "unknown key 'loss' (did you mean 'loss_percent'?)", "one of"),
        (LINK + "{rate_kbits: 64}", 5, "unknown key 'rate_kbits' (did you mean 'rate_kbit_s'?)", "one of"),
        (LINK + "{burst: {p: 1, r: 2}}", 5, "faults.0.bandwidth.up.burst.p_percent is missing", "a value for 'p_percent'"),
        ("fault: offline\n    for: 3", 4, "unknown key 'for' (did you mean 'for_s'?)", "one of at_s, edge, every_s, fault, for_s, how"),
        ("fault: offline\n    jammer: constant", 4, "unknown key 'jammer'", "one of"),
        ("fault: bandwith\n    up: {}", 3, "faults.0.fault is 'bandwith' (did you mean 'bandwidth'?)", "one of bandwidth, clock, "),
        ("fault: jamming\n    jammer: reactiv", 4, "faults.0.jamming.jammer is 'reactiv' (did you mean 'reactive'?)", "'constant', "),
        ("fault: offline\n    how: dropp", 4, "faults.0.offline.how is 'dropp' (did you mean 'drop'?)", "'drop' or 'link_down'"),
        # strings instead of numbers
        (LINK + "{rate_kbit_s: '64'}", 5, "faults.0.bandwidth.up.rate_kbit_s is '64'", "a number"),
        (LINK + "{rate_kbit_s: 64 kbit}", 5, "faults.0.bandwidth.up.rate_kbit_s is '64 kbit'", "a number"),
        (LINK + "{delay_ms: true}", 5, "faults.0.bandwidth.up.delay_ms is True", "a number"),
        (LINK + "{payload_bytes: 5.5}", 5, "faults.0.bandwidth.up.payload_bytes is 5.5", "a whole number"),
        ("fault: offline\n    for_s: 10 s", 4, "faults.0.offline.for_s is '10 s'", "a number"),
        ("fault: offline\n    for_s: '10'", 4, "faults.0.offline.for_s is '10'", "a number"),
        # out of range
        (LINK + "{rate_kbit_s: -64}", 5, "faults.0.bandwidth.up.rate_kbit_s is -64", "greater than 0"),
        (LINK + "{rate_kbit_s: 0}", 5, "faults.0.bandwidth.up.rate_kbit_s is 0", "greater than 0"),
        (LINK + "{loss_percent: 101}", 5, "faults.0.bandwidth.up.loss_percent is 101", "less than or equal to 100"),
        (LINK + "{delay_ms: -1}", 5, "faults.0.bandwidth.up.delay_ms is -1", "greater than or equal to 0"),
        ("fault: offline\n    at_s: -1", 4, "faults.0.offline.at_s is -1", "greater than or equal to 0"),
        ("fault: offline\n    for_s: 0", 4, "faults.0.offline.for_s is 0", "greater than 0"),
        # what does not go together
        (LINK + "{}", 3, "faults.0.bandwidth cannot be so", "`up` or `down` says what is other than before"),
        (LINK + "{loss_percent: 1, burst: {p_percent: 1, r_percent: 1}}", 5, "faults.0.bandwidth.up cannot be so", "`burst` or `loss_"),
        (LINK + "{jitter_ms: 1}", 5, "faults.0.bandwidth.up cannot be so", "`jitter_ms` is at most `delay_ms`"),
        (LINK + "{reorder_percent: 1}", 5, "faults.0.bandwidth.up cannot be so", "`reorder_percent` needs `delay_ms`"),
        (LINK + "{duty_cycle_percent: 1}", 5, "faults.0.bandwidth.up cannot be so", "`duty_cycle_percent` needs a rate"),
        (LINK + "{ramp_s: 1, rate_kbit_s: 1}", 5, "faults.0.bandwidth.up cannot be so", "a ramp has `ramp_from_kbit_s`"),
        (LINK + "{trace: [{at_s: 1, rate_kbit_s: 1}]}", 5, "faults.0.bandwidth.up cannot be so", "a `trace` begins with `at_s: 0`"),
        (LINK + "{trace: [{at_s: 0, rate_kbit_s: 1}, {at_s: 0, rate_kbit_s: 2}]}", 5, "faults.0.bandwidth.up cannot", "a `trace` begins"),
        (LINK + "{trace: [{at_s: 0}]}", 5, "faults.0.bandwidth.up cannot be so", "each point of a `trace` says"),
        (LINK + "{trace: [{at_s: 0, rate_kbit_s: 1}, {at_s: 1, delay_ms: 2}]}", 5, "faults.0.bandwidth.up cannot be so", "each point"),
        (LINK + "{rate_kbit_s: 1, trace: [{at_s: 0, rate_kbit_s: 1}]}", 5, "faults.0.bandwidth.up cannot be so", "a `trace` of rates"),
        (LINK + "{delay_ms: 1, trace: [{at_s: 0, delay_ms: 1}]}", 5, "faults.0.bandwidth.up cannot be so", "a `trace` of delays"),
        (LINK + "{rate_kbit_s: 1, trace_every_s: 5}", 5, "faults.0.bandwidth.up cannot be so", "`trace_every_s` is for a `trace`"),
        ("fault: offline\n    times: 3", 3, "faults.0.offline cannot be so", "`times` and `every_s` go together"),
        ("fault: offline\n    every_s: 3", 3, "faults.0.offline cannot be so", "`times` and `every_s` go together"),
        ("fault: offline\n    every_s: 3\n    times: 2\n    for_s: 3", 3, "faults.0.offline cannot be so", "less than `every_s`"),
        ("fault: jamming\n    jammer: random", 3, "faults.0.jamming cannot be so", "`mean_on_s` is for `jammer: random`, and needed there"),
        (
            "fault: jamming\n    jammer: constant\n    answer_ms: 5",
            3,
            "faults.0.jamming cannot be so",
            "`answer_ms` is for `jammer: reactive`",
        ),
        (
            "fault: jamming\n    jammer: reactive\n    probability_percent: 0\n    answer_ms: 5",
            5,
            "faults.0.jamming.probability",
            "greater than 0",
        ),
        ("fault: jamming", 3, "faults.0.jamming.jammer is missing", "a value for 'jammer'"),
        ("fault: external", 3, "faults.0.external.name is missing", "a value for 'name'"),
        ("fault: bandwidth\n    up: {rate_kbit_s: 1}", 3, "faults.0.bandwidth.down is missing", "a value for 'down'"),
    ],
    ids=lambda value: str(value).replace("\n", " ")[:70] if isinstance(value, str) else None,
)
def test_it_is_refused_with_its_line(tmp_path: Path, text: str, line: int, found: str, expected: str) -> None:
    """Before anything moves; and the first complaint is about what was written."""
    first = complaints(text, tmp_path)[0]
    assert first.where == f"bad.yaml:{line}"
    assert first.found.startswith(found)
    assert first.expected.startswith(expected) or expected in first.expected
    assert first.do


@pytest.mark.parametrize(
    "text",
    [
        LINK + "{rate_kbit_s: 64}",
        LINK + "{rate_kbit_s: 0.25, payload_bytes: 51}",
        "fault: offline\n    at_s: 1.5\n    for_s: 2\n    every_s: 3\n    times: 4",
        "fault: external\n    name: fog\n    settings: {density: 3}\n    stage: forward",
    ],
)
def test_what_is_right_is_not_refused(tmp_path: Path, text: str) -> None:
    """The negative control: whole numbers, fractions and every key in its place."""
    assert complaints(text, tmp_path) == []
