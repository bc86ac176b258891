"""Forgeries of evidence, with right checksums, numbers and seals: each contradicts something, and then there is no verdict."""

from __future__ import annotations

import py_compile
from collections.abc import Callable
from typing import Any

import pytest

from runner.errors import AskError
from runner.judgement.conclude import conclude
from runner.judgement.evidence import Cut
from runner.judgement.integrity import contradictions, evidence_unaltered
from runner.judgement.judge import entry_checks
from runner.judgement.report import write
from runner.lab.folder import RunFolder, read_json, seals, write_json
from runner.ondevice import journal

pytestmark = pytest.mark.real


def wrong(run: RunFolder) -> str:
    """The first contradiction, and that it leaves no verdict."""
    conclusion = conclude(run, "now")
    (first, _), *_ = contradictions(run, conclusion.evidence)
    assert (conclusion.outcome.status, conclusion.outcome.verdict, conclusion.findings) == ("blocked", None, [])
    assert first in conclusion.reason
    return first


def test_a_real_run_contradicts_nothing(real_run: RunFolder) -> None:
    """The negative control of all that follows."""
    assert contradictions(real_run, conclude(real_run, "now").evidence) == []


def without_the_cut(forger: Any, hold: str) -> None:
    forger.rewrite(
        forger.run.coordinator_journal,
        lambda r: None if r.kind in ("held", "cut", "recovered") and r.payload["hold"] == hold else r.payload,
    )


def repeated_cut(forger: Any) -> None:
    path = forger.run.coordinator_journal
    kept: list[bytes] = []
    for record in journal.read_file(str(path)):
        for _ in range(2 if record.kind == "cut" else 1):
            written = (record.boot_id, record.boottime_ns, record.wall_ns, record.kind)
            kept.append(journal.encode(len(kept) + 1, *written, record.payload).raw)
    path.write_bytes(journal.FILE_HEADER + b"".join(kept))


def another_baseline(forger: Any) -> None:
    forger.change(forger.run.device_journal("baseline-1"), "finished", 0, state_sha256="0" * 64)


FORGERIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a cut that never was": (lambda forger: without_the_cut(forger, "recovery-1/3"), "was planned, and neither cut nor missed"),
    "a cut told twice": (repeated_cut, "was cut twice"),
    "a hold that nobody reached": (lambda forger: forger.drop(forger.run.coordinator_journal, "held", 2), "the device never stood there"),
    "a promise nobody noted": (lambda forger: forger.drop(forger.run.coordinator_journal, "mirrored", 5), "nobody noted record"),
    "a journal that is another": (another_baseline, "its journal is not the one that was mirrored"),
    "no seal": (lambda forger: forger.drop(forger.run.coordinator_journal, "sealed"), "hashes of the evidence is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_that_is_sealed_again_still_contradicts_itself(forger: Any, name: str) -> None:
    """Whoever changes one place has to change another, and another."""
    forge, said = FORGERIES[name]
    forge(forger)
    forger.seal()
    assert said in wrong(forger.run)


def test_a_restart_that_nobody_caused_is_a_failure(forger: Any) -> None:
    """And no contradiction: a device that restarts by itself is a result, also where a forger took the cut away."""
    without_the_cut(forger, "recovery-1/3")
    forger.seal()
    assert "recovery: really_rebooted" in forger.red()


def test_what_a_run_is_judged_by_is_sealed_too(real_run: RunFolder) -> None:
    """A check dropped from the plan, or emptied in checks.py, leaves no verdict."""
    config = read_json(real_run.run_config)
    config["test_parameters"]["scenarios"]["recovery"]["checks"].pop()
    write_json(real_run.run_config, config)
    assert wrong(real_run) == "config/run_config.json is not what it was when the run ended"


@pytest.mark.parametrize("path", ["config/run_config.json", "pipelines/checks.py", "pipelines/recovery.py"])
def test_a_plan_that_was_changed_and_sealed_anew_is_not_what_the_run_began_with(forger: Any, path: str) -> None:
    """The record from before anything moved says so. Where that was made anew, too, nothing is left to contradict it."""
    changed = forger.run.root / path
    text = changed.read_text()
    changed.write_text(text.replace('"restored_s": ', '"restored_s": 1') if path.endswith(".json") else text + "\n# another one\n")
    assert changed.read_text() != text
    forger.seal(begun=False)
    assert wrong(forger.run) == f"{path} is not what it was when the run began"
    forger.seal()
    assert contradictions(forger.run, conclude(forger.run, "now").evidence) == []


def appended(forger: Any, *more: tuple[str, dict[str, Any]]) -> None:
    """More records behind the coordinator's last one; nothing that was there is changed."""
    path = forger.run.coordinator_journal
    kept = journal.read_file(str(path))
    clocks = (kept[-1].boot_id, kept[-1].boottime_ns, kept[-1].wall_ns)
    records = [journal.encode(number, *clocks, *each).raw for number, each in enumerate(more, len(kept) + 1)]
    path.write_bytes(path.read_bytes() + b"".join(records))


RAN: tuple[str, dict[str, Any]] = ("run_ended", {"ending": "ran"})
TRICKS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "another beginning": [],
    "and a coming back": [("resumed", {"runner_version": "0"})],
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_plan_that_was_changed_and_noted_again_behind_the_end_is_found(forger: Any, trick: str) -> None:
    """Nothing is rewritten: a beginning, a seal and an end that fit the changed plan are only appended."""
    text = forger.run.run_config.read_text()
    forger.run.run_config.write_text(text.replace('"restored_s": ', '"restored_s": 1'))
    files = seals(forger.run)
    planned = {name: said for name, said in files.items() if name.startswith(("pipelines/", "config/run_config.json"))}
    appended(forger, *TRICKS[trick], ("run_began", {"files": planned}), ("sealed", {"files": files}), RAN)
    wrong(forger.run)
    found = [said for said, _ in contradictions(forger.run, conclude(forger.run, "now").evidence)]
    assert found == [
        f"{(TRICKS[trick] or [('run_began',)])[0][0]} was noted behind the end",
        "the run is noted to have begun again",
        "config/run_config.json is not what it was when the run began",
    ]


@pytest.mark.parametrize("ending", ["ran", "lab"])
def test_a_seal_that_is_only_appended_covers_nothing(forger: Any, ending: str) -> None:
    """A witness line more, and a seal and an end that fit it; also where that end is to take a verdict away."""
    forger.run.witness.write_text(forger.run.witness.read_text() + "{}\n")
    appended(forger, ("sealed", {"files": seals(forger.run)}), ("run_ended", {"ending": ending}))
    evidence = conclude(forger.run, "now").evidence
    assert [said for said, _ in evidence_unaltered(forger.run, evidence)] == ["sealed was noted behind the end"]


def test_a_run_that_noted_no_plan_is_asked_for_none(forger: Any) -> None:
    """One of an older version; and one whose note leads out of its folder is named."""
    forger.change(forger.run.coordinator_journal, "run_began", files=None)
    assert contradictions(forger.run, conclude(forger.run, "now").evidence) == []
    forger.change(forger.run.coordinator_journal, "run_began", files={"pipelines/../../x": {}})
    assert wrong(forger.run) == "pipelines/../../x is noted as planned, and no plan lies there"


def test_a_compiled_check_is_never_run(real_run: RunFolder) -> None:
    """Checks are read from their text: a compiled file beside it, of whatever source, changes nothing."""
    checks = real_run.pipelines / "checks.py"
    other = real_run.root / "other.py"
    other.write_text("def ledger_adds_up(evidence, scenario):\n    return [('forged', 'here')]\n")
    cached = checks.parent / "__pycache__" / "checks.cpython-311.pyc"
    cached.parent.mkdir()
    py_compile.compile(str(other), str(cached), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    other.unlink()
    assert entry_checks(real_run.pipelines)["ledger_adds_up"].__doc__
    assert conclude(real_run, "now").outcome.verdict == "PASS_WITH_CONCERNS"


def test_a_report_is_never_written_through_a_link(real_run: RunFolder, tmp_path: Any) -> None:
    """A folder of the run that leads elsewhere is named, and nothing is written anywhere."""
    conclusion = conclude(real_run, "now")
    elsewhere = tmp_path / "elsewhere"
    (real_run.root / "results" / "traces").rename(elsewhere)
    (real_run.root / "results" / "traces").symlink_to(elsewhere)
    real_run.final_report.write_text("as it was")
    with pytest.raises(AskError, match="results/traces is a link"):
        write(real_run, conclusion)
    assert real_run.final_report.read_text() == "as it was"


def test_a_run_under_way_is_left_alone(real_run: RunFolder) -> None:
    """Two writers of one folder never meet: the second is told so."""
    with real_run.alone(), pytest.raises(AskError, match="is under way"), real_run.alone():
        raise AssertionError("two at once")
    with real_run.alone():
        pass


def test_a_killed_runs_torn_journal_is_read_to_its_last_whole_record(real_run: RunFolder) -> None:
    """Half a record behind it is what a kill leaves: the run ends as killed, and can be reported."""
    path = real_run.coordinator_journal
    data = path.read_bytes()
    last = journal.read(data)[-1].raw
    path.write_bytes(data[: -len(last) // 2])
    conclusion = conclude(real_run, "now")
    assert (conclusion.outcome.status, conclusion.reason) == ("failed", "the coordinator was killed")


@pytest.mark.parametrize("config", ["{}", "[]", '{"test_parameters": 5}'])
def test_a_folder_without_a_plan_is_the_users_and_not_our_bug(real_run: RunFolder, config: str) -> None:
    """Named, with what was expected."""
    real_run.run_config.write_text(config)
    with pytest.raises(AskError, match="no configuration of a run"):
        conclude(real_run, "now")


def test_a_note_that_lacks_something_is_named(forger: Any) -> None:
    """By file and record; nothing is concluded from it."""
    forger.rewrite(forger.run.coordinator_journal, lambda r: {} if r.kind == "cut" else r.payload)
    with pytest.raises(AskError, match="a note of kind cut lacks something"):
        conclude(forger.run, "now")


@pytest.mark.parametrize("number", [10**30, -1, 1e999])
def test_a_number_no_clock_shows_is_no_line_of_the_witness(real_run: RunFolder, number: float) -> None:
    """A hostile device fails its own run: such a line is not one, and what it should have said is missing."""
    lines = real_run.witness.read_text().splitlines(keepends=True)
    at = next(place for place, line in enumerate(lines) if "recovery-1" in line)
    name = '"boottime_ns": '
    before, _, rest = lines[at].partition(name)
    lines[at] = before + name + repr(number).replace("inf", "1e999") + "," + rest.partition(",")[2]
    real_run.witness.write_text("".join(lines))
    assert "nobody outside saw it" in str([r.problems for r in conclude(real_run, "now").results if r.check == "every_stage_witnessed"])


def test_cuts_that_cost_nothing_are_no_pass_whatever_was_observed(whole_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault not reached: said before what only was observed, and for each scenario of its own."""
    monkeypatch.setattr(Cut, "counted", property(lambda cut: "stress" not in cut.hold))
    conclusion = conclude(whole_run, "now")
    assert (conclusion.outcome.status, conclusion.outcome.verdict) == ("blocked", None)
    assert conclusion.reason == "no cut of stress cost anything: fault not reached"
