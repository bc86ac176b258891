"""tests/ of a run folder: it judges itself, with pytest and the standard library and nothing of ours installed.

    this package                          run folder
    tests/conftest.py, …              ──► tests/conftest.py, …          written as they are
    PROMISES, once per category       ──► tests/test_<category>.py
    runner/<each file of JUDGE>       ──► tests/judge/runner/…          a copy: two readers of one format would be two truths

JUDGE is `judgement/reading.py` and `judgement/judge.py`, and all that they import in turn; a test computes it again.
"""

from __future__ import annotations

from pathlib import Path

from runner.judgement.conclude import Conclusion
from runner.judgement.findings import command_again

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[2]

WRITTEN = ("__init__.py", "conftest.py", "pytest.ini", "test_observability.py")
JUDGE = (
    "clock.py",
    "disk_log.py",
    "errors.py",
    "judgement/asked.py",
    "judgement/chance.py",
    "judgement/checks.py",
    "judgement/clocks.py",
    "judgement/evidence.py",
    "judgement/far_end_lines.py",
    "judgement/figures.py",
    "judgement/guard_journal.py",
    "judgement/heat.py",
    "judgement/heat_log.py",
    "judgement/integrity.py",
    "judgement/judge.py",
    "judgement/light_log.py",
    "judgement/link_notes.py",
    "judgement/links.py",
    "judgement/reached.py",
    "judgement/reading.py",
    "judgement/scarcity.py",
    "judgement/scarcity_notes.py",
    "judgement/side_by_side.py",
    "judgement/slowed.py",
    "judgement/timed.py",
    "judgement/windows.py",
    "lab/folder.py",
    "lab/lock.py",
    "model/outcome.py",
    "ondevice/failpoints.py",
    "ondevice/heat.py",
    "ondevice/journal.py",
    "ondevice/results.py",
    "ondevice/scarce_figures.py",
    "ondevice/told.py",
)
CATEGORIES = {
    "correctness": "each pipeline came to its end, and to the right result",
    "reliability": "what was promised survives, and nothing finished is done twice",
    "performance": "it is back in time",
    "security": "what was tampered with is refused",
    "scalability": "much at once is no other than little",
}
PROMISES = '''"""{title}: {idea}. Recomputed from results/journal/, check by check."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import must_be_as_promised, promises


@pytest.mark.parametrize("result", promises("{category}"))
def test_promise(result: Any) -> None:
    """It holds in the recomputed evidence; one that was only observed is as findings.json says."""
    must_be_as_promised(result)
'''
REQUIREMENTS = """# All that `pytest tests/ -v` needs, besides Python 3.11 or newer: it judges this run again from results/journal/.
pytest>=8

# To run the pipelines themselves again, on a device, install what they ran on:
#   stageflow-core=={stageflow}
#   stageflow-runner    {again}
"""


def files(conclusion: Conclusion) -> dict[str, str]:
    """tests/ and requirements.txt; the same for every run made by one version, but for the two words about its pipelines."""
    judge = {path: (PACKAGE / path).read_text(encoding="utf-8") for path in JUDGE}
    rooms = sorted({"", *(path.rpartition("/")[0] + "/" for path in JUDGE if "/" in path)})
    judge |= {f"{room}__init__.py": "" for room in rooms}
    stageflow = conclusion.evidence.config["stageflow_version"]
    return {
        **{f"tests/{name}": (HERE / "tests" / name).read_text(encoding="utf-8") for name in WRITTEN},
        **{f"tests/test_{name}.py": PROMISES.format(title=name.title(), idea=idea, category=name) for name, idea in CATEGORIES.items()},
        **{f"tests/judge/runner/{path}": text for path, text in judge.items()},
        "requirements.txt": REQUIREMENTS.format(stageflow=stageflow, again=command_again(conclusion.evidence.plan)),
    }
