"""A run folder's own tests: green without anything of ours, and each forgery turns red the test that one would look at."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from runner.judgement import report
from runner.judgement.conclude import conclude
from runner.judgement.report import self_tests
from runner.lab.folder import RunFolder, read_json, write_json, write_text
from runner.model.entry import Category
from runner.ondevice import journal

PACKAGE = Path(self_tests.PACKAGE)
NEEDED = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")  # pytest, and what it imports

# A Python that has the standard library and pytest, and runs pytest for each folder at once, each in a child of its own.
ALONE = """
import os, sys
sys.path.append(sys.argv[1])
import importlib.util, pytest
assert not any(importlib.util.find_spec(name) for name in ("runner", "pydantic", "click", "yaml"))
for folder in sys.argv[2:]:
    child = os.fork()
    if not child:
        os.chdir(folder)
        log = os.open("pytest.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        status = pytest.main(["tests/", "-v"])
        sys.stdout.flush()
        os._exit(status)
for folder in sys.argv[2:]:
    os.wait()
"""


class Judged(dict[str, str]):
    """What one pytest said: `test_x.py::name[id]` → PASSED, FAILED or SKIPPED; `text` is all of it."""

    def __init__(self, text: str) -> None:
        super().__init__(re.findall(r"^tests/(\S+::\S+) (PASSED|FAILED|SKIPPED|ERROR)", text, re.MULTILINE))
        self.text = text

    @property
    def red(self) -> set[str]:
        return {name for name, result in self.items() if result not in ("PASSED", "SKIPPED")}


@pytest.fixture(scope="session")
def only_pytest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pytest's own packages and nothing else that is installed here."""
    place = tmp_path_factory.mktemp("only-pytest")
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        assert spec and spec.origin
        origin = Path(spec.origin)
        found = origin.parent if origin.name == "__init__.py" else origin
        for part in (found, *origin.parent.parent.glob(f"{name}-*.dist-info")):
            (place / part.name).symlink_to(part)
    return place


@pytest.fixture
def judge_alone(only_pytest: Path) -> Callable[..., list[Judged]]:
    """`judge_alone(folder, …)`: `cd folder && pytest tests/ -v`, as on a machine that never heard of us."""

    def judge(*folders: Path) -> list[Judged]:
        environment = {"PATH": os.environ["PATH"], "COLUMNS": "200"}
        command = [sys.executable, "-I", "-S", "-c", ALONE, str(only_pytest), *map(str, folders)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        said = [(folder / "pytest.out").read_text() for folder in folders]
        for folder in folders:
            (folder / "pytest.out").unlink()
        assert all(Judged(text) for text in said), said
        return [Judged(text) for text in said]

    return judge


def write_tests(run: RunFolder) -> RunFolder:
    """The derived files as they are made at the end of a run, tests/ among them."""
    conclusion = conclude(run, "2026-11-21T20:00:00.000Z")
    report.write(run, conclusion)
    for path, text in self_tests.files(conclusion).items():
        write_text(run.root / path, text)
    return run


@pytest.fixture
def judged(forger: Any) -> Any:
    """A forger of a run that concluded, and has its own tests."""
    write_tests(forger.run)
    return forger


# ---- what is copied ---------------------------------------------------------------------------------------------------


def imports(path: str) -> Iterator[str]:
    """Every module that a file of the package imports, dotted, anywhere in it; relative ones, too."""
    inside = ["runner", *path.removesuffix(".py").split("/")]
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = inside[: -node.level] if node.level else []
            yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def ours(module: str) -> str:
    """The file that a dotted name of ours lies in: `runner.clock.iso` → clock.py."""
    parts = module.split(".")[1:]
    places = ["/".join(parts[:length]) + ".py" for length in range(len(parts), 0, -1)]
    return next(place for place in places if (PACKAGE / place).is_file())


def test_what_is_copied_is_all_that_the_judge_imports() -> None:
    """The closure of imports from the reader and the judge on is exactly the list, and leaves the standard library nowhere."""
    found, queue = set[str](), ["judgement/reading.py", "judgement/judge.py"]
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            modules = list(imports(path))
            queue += [ours(module) for module in modules if module.startswith("runner.")]
            assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names | {"runner"}, path
    assert found == set(self_tests.JUDGE)


def test_what_the_written_tests_import_is_copied_and_no_more() -> None:
    """conftest.py and its like need pytest, the standard library, themselves, and files that are there."""
    for name in self_tests.WRITTEN:
        if name.endswith(".py"):
            for module in imports(f"judgement/report/self_tests/tests/{name}"):
                if module.startswith("runner.judgement.report.self_tests.tests."):
                    continue
                assert module.partition(".")[0] in sys.stdlib_module_names | {"pytest", "runner"}
                assert not module.startswith("runner.") or ours(module) in self_tests.JUDGE


# ---- green --------------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_untouched_everything_is_green(judged: Any, judge_alone: Callable[..., list[Judged]]) -> None:
    """Every check of the plan is a test by name; nothing is left behind; a project above the folder has no say."""
    run = judged.run
    (run.root.parent.parent / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "--no-such-option"\n')
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}
    (said,) = judge_alone(run.root)
    assert said.red == set(), said.text
    results = conclude(run, "now").results
    names = {f"test_{one.category}.py::test_promise[{one.scenario}-{one.check}{'-observed' * (one.judge == 'observe')}]" for one in results}
    assert names <= set(said)
    assert said["test_observability.py::test_evidence[evidence_unaltered]"] == "PASSED"
    for category in set(get_args(Category)) - {one.category for one in results}:
        assert said[f"test_{category}.py::test_promise[none]"] == "SKIPPED"
        assert f"no check of this run is about {category}" in said.text
    assert {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()} == before


@pytest.mark.real
def test_another_runner_that_is_imported_already_does_not_judge(judged: Any) -> None:
    """Here, where this package is installed, it is still the copy in the folder that judges."""
    copy = judged.run.root / "tests" / "judge" / "runner" / "judgement" / "checks.py"
    copy.write_text(
        copy.read_text() + "\n\ndef _always(evidence, scenario):\n    return [('mine', 'here')]\n\n\nGENERIC['finished'] = _always\n"
    )
    code = "import sys, pytest, runner.judgement.judge as theirs; status = pytest.main(['tests/', '-q']); "
    code += "assert sys.modules['runner.judgement.judge'] is theirs; sys.exit(status)"
    done = subprocess.run([sys.executable, "-c", code], cwd=judged.run.root, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "here: mine" in done.stdout


# ---- forged -------------------------------------------------------------------------------------------------------------


def without_a_recovery(forger: Any) -> None:
    """The coordinator never noted that the device came back."""
    back = [r.payload["execution"] for r in journal.read_file(str(forger.run.coordinator_journal)) if r.kind == "recovered"]
    forger.drop(forger.run.coordinator_journal, "recovered", back.index("recovery-1"))


def without_a_restored_state(forger: Any) -> None:
    """The device never wrote that it restored its state."""
    forger.drop(forger.recovery, "restored", -1)


def another_state(forger: Any) -> None:
    forger.change(forger.recovery, "restored", -1, state_sha256="0" * 64)


def another_final_state(forger: Any) -> None:
    forger.change(forger.recovery, "finished", 0, state_sha256="0" * 64)


def without_a_witness_line(forger: Any) -> None:
    """Nobody saw the baseline's last stage begin."""
    lines = forger.run.witness.read_text().splitlines(keepends=True)
    kept = [line for line in lines if (json.loads(line)["execution"], json.loads(line)["stage"]) != ("baseline-1", "seal")]
    assert len(kept) == len(lines) - 1
    forger.run.witness.write_text("".join(kept))


def fewer_writes(forger: Any) -> None:
    """One cut is said to have cost a write more than the disk's own log shows."""
    facts = next(r for r in journal.read_file(str(forger.run.coordinator_journal)) if r.kind == "cut").payload["facts"]
    forger.change(forger.run.coordinator_journal, "cut", 0, facts={**facts, "writes_lost": {"count": 2, "bytes": 8192}})


FORGERIES: dict[Callable[[Any], None], str] = {
    without_a_recovery: "test_reliability.py::test_promise[recovery-really_rebooted]",
    without_a_restored_state: "test_reliability.py::test_promise[recovery-restored_state_true]",
    another_state: "test_reliability.py::test_promise[recovery-restored_state_true]",
    another_final_state: "test_correctness.py::test_promise[recovery-state_equal]",
    without_a_witness_line: "test_observability.py::test_promise[baseline-every_stage_witnessed]",
    fewer_writes: "test_observability.py::test_evidence[losses_recounted]",
}
WITH_THE_SEAL = (without_a_recovery, fewer_writes)  # forged in the coordinator's journal, beside the hashes and not under them
UNALTERED = "test_observability.py::test_evidence[evidence_unaltered]"
VERDICT = "test_observability.py::test_the_verdict_is_the_recorded_one"
POWER_ON = """2026-11-21 12:00:00.000001 Ready thread_model=3
2026-11-21 12:00:00.000001 connection=1 Connect export="" tls=0 size=0x1000000 write=1 flush=1
2026-11-21 12:00:00.000002 connection=1 Write id=1 offset=0x0 count=0x1000 ...
2026-11-21 12:00:00.000003 connection=1 ...Write id=1 return=0
2026-11-21 12:00:00.000004 connection=1 Flush id=2 ...
2026-11-21 12:00:00.000005 connection=1 ...Flush id=2 return=0
2026-11-21 12:00:00.000006 connection=1 Write id=3 offset=0x1000 count=0x1000 ...
2026-11-21 12:00:00.000007 connection=1 ...Write id=3 return=0
"""
LOST = {"writes": 2, "flushes": 1, "writes_lost": {"count": 1, "bytes": 4096}}


def with_a_disk(forger: Any) -> None:
    """As if a disk server had written its log: each cut cost one write of two, and the last power-on ended in order."""

    def counted(record: Any) -> dict[str, Any]:
        return {**record.payload, "facts": {**record.payload["facts"], **LOST}} if record.kind == "cut" else record.payload

    forger.rewrite(forger.run.coordinator_journal, counted)
    cuts = sum(record.kind == "cut" for record in journal.read_file(str(forger.run.coordinator_journal)))
    (forger.run.journals / "disk.log").write_text(POWER_ON * (cuts + 1))
    forger.seal()


@pytest.mark.real
def test_each_forgery_turns_its_test_red(judged: Any, judge_alone: Callable[..., list[Judged]], tmp_path: Path) -> None:
    """Numbers and checksums made right, the seal as it was and the seal forged too; the untouched run with its disk is green."""
    with_a_disk(judged)
    write_tests(judged.run)
    folders = {(None, False): judged.run.root}
    for forge in FORGERIES:
        for sealed in (True,) if forge in WITH_THE_SEAL else (False, True):
            copy = tmp_path / forge.__name__ / str(sealed) / judged.run.run_id
            shutil.copytree(judged.run.root, copy)
            forger = type(judged)(RunFolder(copy))
            forge(forger)
            if sealed:
                forger.seal()
            folders[forge, sealed] = copy
    said = dict(zip(folders, judge_alone(*folders.values()), strict=True))
    assert said[None, False].red == set(), said[None, False].text
    for forge, sealed in list(folders)[1:]:
        red = said[forge, sealed].red
        assert {FORGERIES[forge], VERDICT} <= red, (forge.__name__, sealed)
        assert (UNALTERED in red) != sealed, (forge.__name__, sealed)
    text = said[another_final_state, True].text
    assert "critical: The final state hash equals the baseline's" in text or "high: The final state hash equals the baseline's" in text
    assert re.search(r"results/journal/device-recovery-1\.journal#\d+: final state 000000000000, baseline", text)


def observed(run: RunFolder) -> None:
    config = read_json(run.run_config)
    config["test_parameters"]["scenarios"]["recovery"]["judge"] = "observe"
    write_json(run.run_config, config)


def blocked(forger: Any) -> None:
    forger.change(forger.run.coordinator_journal, "run_ended", ending="lab", error="pi-04 did not answer within 60 s")


def killed(forger: Any) -> None:
    forger.drop(forger.run.coordinator_journal, "run_ended")
    forger.drop(forger.run.coordinator_journal, "sealed")


@pytest.mark.real
def test_observed_blocked_interrupted_damaged(forger: Any, judge_alone: Callable[..., list[Judged]], tmp_path: Path) -> None:
    """What else a run can be: an observed failure is green as recorded, nothing judged says so, damage is one red test."""

    def of(name: str, *acts: Callable[[Any], Any]) -> Any:
        copy = tmp_path / name / forger.run.run_id
        shutil.copytree(forger.run.root, copy)
        one = type(forger)(RunFolder(copy))
        for act in acts:
            act(one)
        return one

    failing = (lambda one: observed(one.run), another_final_state, lambda one: one.seal())
    runs = {
        "observed": of("observed", *failing, lambda one: write_tests(one.run)),
        "hidden": of("hidden", *failing, lambda one: write_tests(one.run), lambda one: without_findings(one.run)),
        "blocked": of("blocked", blocked, lambda one: write_tests(one.run)),
        "killed": of("killed", killed, lambda one: write_tests(one.run)),
        "torn": of(
            "torn", lambda one: write_tests(one.run), lambda one: one.run.coordinator_journal.write_bytes(b"RJNL\x01\x00\x00\x00torn")
        ),
    }
    said = dict(zip(runs, judge_alone(*(one.run.root for one in runs.values())), strict=True))
    name = "test_correctness.py::test_promise[recovery-state_equal-observed]"
    assert (said["observed"][name], said["observed"].red) == ("PASSED", set()), said["observed"].text
    assert said["hidden"][name] == "FAILED"
    assert "test_observability.py::test_the_findings_are_exactly_the_checks_that_failed" in said["hidden"].red
    for ending in ("blocked", "killed"):
        assert said[ending].red == set(), said[ending].text
        assert said[ending]["test_observability.py::test_nothing_was_judged_and_findings_json_says_so"] == "PASSED"
        assert said[ending]["test_reliability.py::test_promise[none]"] == "SKIPPED"
    assert "nothing was judged, the run was blocked: pi-04 did not answer within 60 s" in said["blocked"].text
    assert said["blocked"][UNALTERED] == "PASSED"
    assert "test_observability.py::test_the_evidence_can_be_judged" in said["torn"].red
    assert "is damaged behind record" in said["torn"].text


def without_findings(run: RunFolder) -> None:
    """Somebody took the findings out."""
    write_json(run.findings, {**read_json(run.findings), "findings": []})
