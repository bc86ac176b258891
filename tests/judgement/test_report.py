"""Derived files: made again from the folder alone they are the same, and a run without a verdict shows none."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.judgement import report
from runner.judgement.conclude import conclude
from runner.judgement.report import events, final_report, junit, logs, metrics, not_part, readme, traces
from runner.judgement.report.markdown import link, words
from runner.lab.folder import RunFolder, read_json
from runner.model.finding import Findings
from tests.judgement.made_run import MadeRun

pytestmark = pytest.mark.real


def derived(run: RunFolder) -> list[str]:
    """The path of each derived file."""
    return list(report.derived(conclude(run, "now")))


def without_times(run: RunFolder) -> dict[str, str]:
    """Each derived file, the moment of its generation left out."""
    return {name: re.sub(r"\| Generated \| \S+ \|", "", (run.root / name).read_text()) for name in derived(run)}


def test_reporting_again_on_a_copy_gives_the_same_files(real_run: RunFolder, runner: Callable[..., Any], real_lab: Path) -> None:
    """Byte for byte, apart from the time of generation; nothing else in the folder is touched; it exits as the run did."""
    before = without_times(real_run)
    for name in before:
        (real_run.root / name).unlink()
    others = {path: path.read_bytes() for path in real_run.root.rglob("*") if path.is_file()}
    said = runner("--lab", str(real_lab), "report", str(real_run.root))
    assert said.exit_code == 0
    assert without_times(real_run) == before
    assert {path: path.read_bytes() for path in others} == others
    assert "__pycache__" not in {path.name for path in real_run.root.rglob("*")}


def test_only_the_time_differs_between_two_reports(real_run: RunFolder) -> None:
    """The negative control of the above: without leaving the time out, one file does differ."""
    first, second = (report.derived(conclude(real_run, now)) for now in ("2026-11-21T20:00:00.000Z", "2026-11-21T21:00:00.000Z"))
    assert {name for name in first if first[name] != second[name]} == {"FINAL_REPORT.md"}
    assert list(first) == list(second)


def test_findings_are_as_the_schema_has_them(forger: Any) -> None:
    """Valid by our own model, absent objects left out, counted in the metadata."""
    forger.change(forger.recovery, "finished", 0, state_sha256="0" * 64)
    forger.seal()
    report.write(forger.run, conclude(forger.run, "2026-11-21T20:00:00.000Z"))
    written = read_json(forger.run.findings)
    assert Findings.model_validate(written).metadata.total_findings == len(written["findings"]) >= 1
    assert "null" not in json.dumps(written)
    text = forger.run.final_report.read_text()
    assert all(finding["id"] in text for finding in written["findings"])


def test_a_blocked_run_shows_no_finding_and_no_verdict(forger: Any) -> None:
    """Blocked is not failed: the words PASS and FAIL do not appear as its verdict."""
    forger.change(forger.run.coordinator_journal, "run_ended", ending="lab", error="pi-04 did not answer within 60 s")
    conclusion = conclude(forger.run, "now")
    report.write(forger.run, conclusion)
    written = read_json(forger.run.findings)
    assert (written["metadata"]["status"], written["findings"]) == ("blocked", [])
    assert not re.search(r"\*\*(PASS|FAIL|NEEDS_WORK)", forger.run.final_report.read_text())
    assert "no verdict (blocked)" in forger.run.readme.read_text()
    assert "pi-04 did not answer within 60 s" in forger.run.final_report.read_text()


@pytest.mark.parametrize(
    ("measured", "said"),
    [({}, "was not measured."), ({"slowdown": 1.0}, "took 1 times as long"), ({"slowdown": 15.5}, "took 15.5 times as long")],
    ids=str,
)
def test_a_benchmark_that_was_not_made_has_no_figure(tmp_path: Path, measured: dict[str, float], said: str) -> None:
    """A run that was blocked before it says so, and one in which both were equally fast says that."""
    made = MadeRun(tmp_path)
    if measured:
        made.note(1.0, "benchmark", **measured)
    text = report.derived(made.conclusion("lab", "pi-04 did not answer within 60 s"))["FINAL_REPORT.md"]
    (line,) = [line for line in text.splitlines() if "fixed-work benchmark" in line]
    assert said in line
    assert ("times as long" in line, "environment.json" in line) == (bool(measured), bool(measured))


def test_a_run_under_way_says_so(real_run: RunFolder) -> None:
    """What a killed coordinator leaves behind is marked as in progress, and valid."""
    report.write_in_progress(real_run)
    assert Findings.model_validate(read_json(real_run.findings)).metadata.status == "in_progress"
    assert "in progress" in real_run.final_report.read_text()


def test_what_a_device_wrote_cannot_break_out_of_a_table(forger: Any) -> None:
    """A stage's error with pipes and line feeds stays in its cell."""
    forger.change(forger.run.coordinator_journal, "execution_ended", 1, ending="failed | **PASS** |\n| x")
    report.write(forger.run, conclude(forger.run, "now"))
    rows = [line for line in forger.run.final_report.read_text().splitlines() if "recovery-1 |" in line]
    assert rows
    assert all("failed \\| \\*\\*PASS\\*\\* \\| \\| x" in row for row in rows if "failed" in row)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("[here](javascript:x)", "\\[here\\](javascript:x)"),
        ("`code` **bold** \\", "\\`code\\` \\*\\*bold\\*\\* \\\\"),
        ("\x1b[2J\n# heading", " \\[2J # heading"),
    ],
)
def test_words_stay_words(hostile: str, shown: str) -> None:
    """Nothing that a device says becomes a tag, a link, emphasis or a heading."""
    assert words(hostile) == shown


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("results/journal/device-a.journal#12", "[`results/journal/device-a.journal#12`](results/journal/device-a.journal)"),
        ("results/journal/witness.jsonl:3", "[`results/journal/witness.jsonl:3`](results/journal/witness.jsonl)"),
        ("../../etc/passwd:1", "`../../etc/passwd:1`"),
        ("/etc/passwd", "`/etc/passwd`"),
        ("javascript:alert(1)", "`javascript:alert(1)`"),
        ("a`b", "``a`b``"),
    ],
)
def test_evidence_is_a_link_only_inside_the_folder(where: str, shown: str) -> None:
    """A place in the run folder can be followed; anything else is shown and leads nowhere."""
    assert link(where) == shown


SECTIONS = """Executive summary|1 Research|2 Environment simulation|3 Pipelines built|4 Results|4.1 Correctness|4.2 Reliability|
4.3 Performance|4.4 Security|4.5 Scalability|4.6 Observability|4.7 Silent failures|5 Findings|5.5 Log analysis|6 Developer experience|
7 Recommendations|8 Framework feedback|9 Appendices|10 Sign-off""".replace("\n", "").split("|")


def sections(text: str) -> dict[str, str]:
    """Heading → what stands below it, down to the next heading of any depth (cuts belong to their section)."""
    parts = re.split(r"^#{2,3} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_section_of_the_format_is_there_in_order(whole_run: RunFolder) -> None:
    """With nothing behind it, it says so; none is left out."""
    found = sections(final_report.files(conclude(whole_run, "now"))["FINAL_REPORT.md"])
    assert list(found) == SECTIONS
    assert [name for name, text in found.items() if text.strip() == "Not part of this run."] == ["1 Research", "6 Developer experience"]


def test_a_category_without_a_check_is_not_part_of_the_run(real_run: RunFolder) -> None:
    """Nor is feedback to a framework that no scenario ran as it is."""
    conclusion = conclude(real_run, "now")
    scenarios = conclusion.evidence.plan["scenarios"]
    for scenario in scenarios.values():
        scenario["durability"] = "journaled"
    without = dataclasses.replace(conclusion, results=[r for r in conclusion.results if r.category not in ("security", "scalability")])
    found = sections(final_report.files(without)["FINAL_REPORT.md"])
    for name in ("4.4 Security", "4.5 Scalability", "8 Framework feedback"):
        assert found[name].strip() == "Not part of this run."


def test_fourteen_metrics_and_no_invented_one(real_run: RunFolder) -> None:
    """What was not measured says so; a run that was not judged has no findings to count."""
    conclusion = conclude(real_run, "now")
    found = final_report.fourteen_metrics(conclusion, logs.read_logs(conclusion))
    assert len(found) == 14
    assert {found[key] for key in ("strengths", "DX issues", "improvements", "Stageflow Plus suggestions", "DX score")} == {"not measured"}
    assert (found["total findings"], found["critical"]) == (
        len(conclusion.findings),
        sum(f.severity == "critical" for f in conclusion.findings),
    )
    assert isinstance(found["silent failures"], int)
    blocked = dataclasses.replace(conclusion, row="lab", results=[], findings=[])
    unknown = final_report.fourteen_metrics(blocked, [])
    assert {unknown[key] for key in ("total findings", "bugs", "critical", "high", "silent failures", "log lines captured")} == {
        "not measured"
    }


def test_each_check_sits_in_its_category(real_run: RunFolder) -> None:
    """Every check of the run in exactly one of 4.1 to 4.6; cuts in 4.2, percentiles with their number of samples in 4.3."""
    conclusion = conclude(real_run, "now")
    found = sections(final_report.files(conclusion)["FINAL_REPORT.md"])
    for name, text in found.items():
        if re.match(r"4\.[1-6]", name):
            category = name.split()[1].lower()
            assert text.count("| held |") == sum(result.category == category and result.held for result in conclusion.results)
    assert "#### Cuts" in found["4.2 Reliability"]
    assert re.search(r"\| baseline \| `ingest` \| 1 \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|", found["4.3 Performance"])


def test_a_silent_failure_is_counted_and_named(forger: Any) -> None:
    """Finished, and the state is another one than the baseline's: the golden output knows better."""
    before = final_report.fourteen_metrics(conclude(forger.run, "now"), [])["silent failures"]
    forger.change(forger.recovery, "finished", 0, state_sha256="0" * 64)
    forger.seal()
    conclusion = conclude(forger.run, "now")
    found = sections(final_report.files(conclusion)["FINAL_REPORT.md"])["4.7 Silent failures"]
    assert re.search(r"golden output \| state_equal \| recovery: final state 0000", found)
    assert final_report.fourteen_metrics(conclusion, [])["silent failures"] == before + 1


def test_every_link_of_the_report_leads_to_a_file(forger: Any) -> None:
    """Evidence of findings, too; relative to the folder."""
    forger.change(forger.recovery, "finished", 0, state_sha256="0" * 64)
    forger.seal()
    conclusion = conclude(forger.run, "now")
    made = {path for part in (final_report, logs, events) for path in part.files(conclusion)}
    targets = re.findall(r"\]\(([^)]+)\)", final_report.files(conclusion)["FINAL_REPORT.md"])
    assert any("device-recovery-1" in target for target in targets)
    assert [target for target in targets if target not in made and not (forger.run.root / target).is_file()] == []


def test_what_the_framework_itself_lost_is_feedback_to_it(whole_run: RunFolder) -> None:
    """Observed scenarios with native durability: what failed there stands in section 8 by its id, and nothing else does."""
    conclusion = conclude(whole_run, "now")
    native = {name for name, s in conclusion.evidence.plan["scenarios"].items() if (s["durability"], s["judge"]) == ("native", "observe")}
    assert native == {"chaos"}
    section = sections(final_report.files(conclusion)["FINAL_REPORT.md"])["8 Framework feedback"]
    lost = [finding.id for finding in conclusion.findings if finding.title.startswith("chaos")]
    assert lost
    assert re.findall(r"EDGE-002-\w+-\d+", section) == lost
    well = dataclasses.replace(conclusion, results=[result for result in conclusion.results if result.held], findings=[])
    assert "nothing was found" in sections(final_report.files(well)["FINAL_REPORT.md"])["8 Framework feedback"]


def test_a_cut_that_does_not_count_says_why(whole_run: RunFolder) -> None:
    """As many yes as the bar is compared with; observed scenarios and damaged disks never count."""
    conclusion = conclude(whole_run, "now")
    cuts = [row.split(" | ") for row in final_report.cut_table(conclusion)[2:-3]]
    said = {row[0].removeprefix("| "): row[5] for row in cuts}
    assert list(said.values()).count("yes") == conclusion.cuts["counted"]
    assert {why for hold, why in said.items() if hold.startswith("chaos")} <= {"no: observed", "no: vacuous"}
    assert {why for hold, why in said.items() if hold.startswith("adversarial")} == {"no: the disk was damaged"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            '{"overall_score": 3.5, "categories": {"clarity": {"score": 4, "notes": "<b>good</b>"}}}',
            "| clarity | 4 | &lt;b&gt;good&lt;/b&gt; |",
        ),
        ('{"overall_score": NaN, "categories": {"clarity": {"score": 400}}}', "| clarity | not measured |  |"),
        ('{"categories": []}', "| overall | not measured |  |"),
        ("[1, 2]", "not one JSON object"),
        ("{", "no JSON"),
        ("[" * 60000, "no JSON"),
        (" " * 70000, "not one JSON object"),
    ],
    ids=["good", "absurd", "empty", "list", "broken", "deep", "huge"],
)
def test_scores_that_somebody_gave_are_shown_as_theirs(real_run: RunFolder, text: str, shown: str) -> None:
    """Attributed to the file; what is no score from 0 to 5 is not measured; nothing in it can break the report."""
    (real_run.dx / "scores.json").write_text(text)
    found = sections(final_report.files(conclude(real_run, "now"))["FINAL_REPORT.md"])
    assert shown in found["6 Developer experience"]
    assert "dx_evaluation/scores.json" in found["6 Developer experience"]
    assert ("3.5 / 5 (by dx_evaluation/scores.json)" in found["Executive summary"]) == ("3.5" in text)


def test_an_empty_folder_says_that_it_is_not_part(real_run: RunFolder) -> None:
    """Each of the format's folders that nothing here fills."""
    found = not_part.files(conclude(real_run, "now"))
    assert {path: text.split(":")[0].strip() for path, text in found.items()} == {
        f"{name}/README.md": "not part of this run" for name in ("research", "mocks", "results/screenshots", "dx_evaluation")
    }


def test_what_people_put_there_is_neither_overwritten_nor_contradicted(real_run: RunFolder) -> None:
    """Their README stays; ours stops saying that there is nothing, and says it again when there is nothing again."""
    research = real_run.root / "research"
    report.write_text(research / "README.md", not_part.files(conclude(real_run, "now"))["research/README.md"])
    (research / "hypotheses.md").write_text("mine")
    conclusion = conclude(real_run, "now")
    assert not_part.files(conclusion)["research/README.md"] == not_part.FILLED
    assert "(research/hypotheses.md)" in final_report.files(conclusion)["FINAL_REPORT.md"]
    (research / "README.md").write_text("my own words")
    assert "research/README.md" not in not_part.files(conclusion)
    (research / "README.md").unlink()
    assert "research/README.md" not in not_part.files(conclusion)
    (research / "hypotheses.md").unlink()
    assert not_part.files(conclusion)["research/README.md"].startswith("not part")


def test_how_to_reproduce_works_as_written(real_run: RunFolder, runner: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """`cd` from the lab's folder leads into the run; each runner command parses there, the second is the first run's own."""
    text = readme.files(conclude(real_run, "now"))["README.md"]
    blocks = [block.strip().splitlines() for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)]
    assert blocks[0] == [f"cd runs/EDGE-002/{real_run.run_id}", "pip install -r requirements.txt", "pytest tests/ -v"]
    lab = real_run.root.parents[2]
    assert (lab / blocks[0][0].removeprefix("cd ")).is_dir()
    monkeypatch.chdir(lab)
    again, whole = (shlex.split(line)[1:] for line in blocks[1])
    assert runner(*again).exit_code == 0
    assert runner(*whole, "--dry-run").exit_code == 0


def test_a_killed_run_is_made_again_the_same(forger: Any) -> None:
    """Its end is not known, and not said to be now: only the report names the time of its making."""
    forger.drop(forger.run.coordinator_journal, "run_ended")
    parts = (readme, metrics, logs, traces, events, junit, not_part)
    first, second = ([part.files(conclude(forger.run, now)) for part in parts] for now in ("2026-11-21T20:00:00Z", "2026-11-21T21:00:00Z"))
    assert first == second
    assert "never: the coordinator was killed" in first[0]["README.md"]


def test_the_report_never_calls_a_crash_a_power_cut(real_run: RunFolder) -> None:
    """The local device's cuts are process crashes, and each report says so."""
    assert "process crash (never a power cut)" in real_run.final_report.read_text()
