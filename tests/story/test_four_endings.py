"""The four endings that a run can have, made for real: each with its status, verdict, exit code and JUnit outcome.

passes        nine crashes survived
fails         a planted defect: the supervisor ignores its journal
blocked       a planted fault of the lab: the device gives up waiting for a coordinator that was away
interrupted   ^C at the first cut
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from runner.judgement import report
from runner.judgement.conclude import Conclusion, conclude
from runner.judgement.report import junit
from runner.lab.folder import RunFolder, read_json
from runner.lab.where import Lab, builtin_root
from runner.model.finding import Findings
from runner.story.execute import resume
from runner.target.target import Target

from . import sabotage

pytestmark = pytest.mark.real
Run = Callable[..., Conclusion]


def ending(folder: RunFolder) -> tuple[str, str, int, dict[str, int]]:
    """Status, verdict, exit code and JUnit totals, concluded again from the folder alone; what it holds already says the same."""
    conclusion = conclude(folder, "2026-11-21T20:00:00.000Z")
    root = ET.fromstring(junit.files(conclusion)["junit.xml"])
    metadata = Findings.model_validate(read_json(folder.findings)).metadata
    assert (metadata.status, (metadata.model_extra or {})["verdict"]) == (conclusion.outcome.status, conclusion.outcome.verdict or "none")
    assert metadata.total_findings == len(conclusion.findings)
    for path in ("README.md", "FINAL_REPORT.md", "config/run_config.json", "config/environment.json", "dx_evaluation/README.md"):
        assert (folder.root / path).is_file(), path
    assert report.derived(conclusion)
    totals = {key: int(root.attrib[key]) for key in ("failures", "errors")}
    return str(conclusion.outcome.status), conclusion.outcome.verdict or "none", conclusion.outcome.exit_code, totals


def test_one_that_passes(real_run: RunFolder) -> None:
    """With concerns: a process crash is no power cut, and nine are fewer than the bar."""
    assert ending(real_run) == ("completed", "PASS_WITH_CONCERNS", 0, {"failures": 0, "errors": 0})


def test_one_that_fails_by_a_planted_defect(run_edge_002: Run) -> None:
    """A supervisor that runs finished stages again: two broken promises, two failures, no error."""
    conclusion = run_edge_002(("train", "after_ack"), adjust=sabotage.using(sabotage.supervisor_with(sabotage.IGNORES_ITS_JOURNAL)))
    status, verdict, code, totals = ending(conclusion.folder)
    assert (status, verdict, code, totals["errors"]) == ("completed", "FAIL", 1, 0)
    assert totals["failures"] == len(conclusion.findings) >= 2


def test_one_that_is_blocked_by_a_planted_fault_of_the_lab(run_edge_002: Run) -> None:
    """Not the software's failure: an error, no finding, no verdict."""
    impatient = sabotage.supervisor_with(("holds.py", "HOLD_LIMIT_S = 120.0", "HOLD_LIMIT_S = 0.0"))
    conclusion = run_edge_002(("screen", "after_flush"), adjust=sabotage.using(impatient))
    assert ending(conclusion.folder) == ("blocked", "none", 3, {"failures": 0, "errors": 1})
    assert conclusion.findings == []


@pytest.mark.parametrize("raised", ["OSError(5, 'Input/output error')", "MemoryError('no room for another process')"])
def test_a_device_that_cannot_go_on_blocks_and_is_gone_on_with(run_edge_002: Run, tmp_path: Path, raised: str) -> None:
    """No memory, no processes, a failing disk: the device's trouble, and not how the pipeline ended. Well again, the same run goes on."""
    log = """        with open(os.path.join(self._folder, "host.log"), "ab") as log:\n"""
    weak = sabotage.supervisor_with(("execution.py", log, f"        raise {raised}\n{log}"))
    folder = run_edge_002(("train", "after_ack"), adjust=sabotage.using(weak)).folder
    assert ending(folder) == ("blocked", "none", 3, {"failures": 0, "errors": 1})
    reason = conclude(folder, "2026-11-21T20:00:00.000Z").reason
    assert reason.startswith(f"the device's supervisor cannot go on: {raised.partition('(')[0]}"), reason

    lab = Lab(builtin_root(), tmp_path / "runs", builtin=True)
    assert asyncio.run(resume(folder, lab, lambda event, **facts: None)).outcome.status == "completed"


def test_a_bug_of_ours_is_said_to_be_one_and_can_be_mended_from_the_folder(run_edge_002: Run) -> None:
    """No verdict over anybody; unwound, and the folder that people are asked to send has the traceback."""

    def buggy(target: Target) -> None:
        raise KeyError("planted")

    conclusion = run_edge_002(("train", "after_ack"), adjust=buggy)
    assert ending(conclusion.folder) == ("failed", "none", 4, {"failures": 0, "errors": 1})
    assert str(conclusion.trouble) and "please report it, with this folder" in conclusion.trouble.complaints[0].do
    (log,) = conclusion.folder.logs.glob("run_coordinator_*.log")
    assert "in buggy" in log.read_text() and "KeyError: 'planted'" in log.read_text()


def test_one_that_is_interrupted(run_edge_002: Run) -> None:
    """^C while the power is cut: unwound, an error, no finding, no verdict."""
    conclusion = run_edge_002(("screen", "started"), adjust=interrupted_at_the_first_cut)
    assert ending(conclusion.folder) == ("failed", "none", 130, {"failures": 0, "errors": 1})
    assert conclusion.reason == "interrupted by the operator"


def interrupted_at_the_first_cut(target: Target) -> None:
    """Does what ^C does: cancels the task that carries out the run."""

    async def cut() -> dict[str, object]:
        task = asyncio.current_task()
        assert task
        task.cancel()
        await asyncio.sleep(0)
        raise AssertionError("the cancellation was swallowed")

    target.power.cut = cut  # type: ignore[method-assign]
