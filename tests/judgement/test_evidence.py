"""What the values of a run answer: what a cut cost, and whether it counts."""

from __future__ import annotations

import pytest

from runner.judgement.evidence import Cut
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder

pytestmark = pytest.mark.real


def test_a_process_crash_loses_no_write(real_run: RunFolder) -> None:
    """The kernel lived on: no disk write is claimed to be lost, and no record was."""
    for cut in load_evidence(real_run).cuts:
        assert (cut.writes_lost, cut.records_lost) == (None, 0)
        assert cut.counted


@pytest.mark.parametrize(
    ("point", "loss", "writes_lost", "ended", "vacuous", "counted"),
    [
        ("before_flush", "power_loss", 3, False, False, True),
        ("before_flush", "power_loss", 0, False, True, False),
        ("after_ack", "power_loss", 0, False, True, True),
        ("created", "power_loss", 0, False, True, True),
        ("random", "process_crash", None, False, False, True),
        ("random", "process_crash", None, True, True, False),
    ],
)
def test_a_cut_that_hit_nothing_does_not_count(
    real_run: RunFolder, point: str, loss: str, writes_lost: int | None, ended: bool, vacuous: bool, counted: bool
) -> None:
    """Except behind an acknowledgement, where having nothing to lose is the point."""
    real = load_evidence(real_run).cuts[0]
    lost = {} if writes_lost is None else {"writes_lost": {"count": writes_lost}}
    cut = Cut(**{**vars(real), "point": point, "loss": loss, "facts": lost, "ended_before": ended, "written": 1})
    assert (cut.vacuous, cut.counted) == (vacuous, counted)
