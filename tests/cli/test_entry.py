"""`runner entry`: the roadmap listed, the next one chosen, a new one made, checked, run and briefed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Runner = Callable[..., Any]
SCENARIOS = ["baseline", "stress", "adversarial", "chaos", "recovery"]


@pytest.fixture
def lab(make_lab: Callable[..., Path]) -> str:
    return str(make_lab({}))


def ids(runner: Runner, lab: str, *words: str) -> list[str]:
    return [row["id"] for row in runner("--json", "--lab", lab, "entry", "list", *words).json["entries"]]


def test_the_list_is_the_roadmap_and_its_filters_narrow_it(runner: Runner, lab: str) -> None:
    """308 rows; each filter alone and together; an entry's folder refines its industry."""
    assert len(ids(runner, lab)) == 308
    assert len(ids(runner, lab, "--untested")) == 308
    assert "EDGE-002" in ids(runner, lab, "--here")
    assert set(ids(runner, lab, "--tier", "3", "--priority", "p0")) == {
        "EDGE-002", "AIRGAP-001", "AIRGAP-003", "AIRGAP-005", "MULTIREGION-001",
    }  # fmt: skip
    assert len(ids(runner, lab, "--phase", "1")) == 22 - 6
    energy = ids(runner, lab, "--industry", "energy")
    assert "ENERGY-001" in energy
    assert "EDGE-002" in energy
    text = runner("--lab", lab, "entry", "list", "--here").out
    assert "EDGE-002  3      P0        Severe  untested  yes   Power failure recovery" in text
    assert "of 308 entries" in text


def test_an_entry_of_the_labs_own_is_listed_behind_the_roadmap(runner: Runner, make_lab: Callable[..., Path]) -> None:
    """Without phase and tier; it can be shown and checked, and check says that the roadmap does not know it."""
    root = make_lab({})
    assert runner("--lab", str(root), "entry", "new", "FIN-001").exit_code == 0
    (root / "pipelines" / "fin_001").rename(root / "pipelines" / "mine_001")
    path = root / "pipelines" / "mine_001" / "entry.yaml"
    path.write_text(path.read_text().replace("id: FIN-001", "id: MINE-001"))
    row = runner("--json", "--lab", str(root), "entry", "list").json["entries"][-1]
    assert (row["id"], row["phase"], row["here"], row["scenarios"]) == ("MINE-001", None, True, SCENARIOS)
    assert runner("--json", "--lab", str(root), "entry", "show", "mine-001").json["roadmap"] is None
    assert "MINE-001 is not in the roadmap" in runner("--lab", str(root), "entry", "show", "mine-001").out
    assert "is not in the roadmap: nothing to compare with" in runner("--lab", str(root), "entry", "check", "mine-001").out


def test_a_wrong_filter_is_answered_with_what_there_is(runner: Runner, lab: str) -> None:
    """Exit 2, and the nearest industry."""
    said = runner("--json", "--lab", lab, "entry", "list", "--industry", "Telecomunications")
    assert said.exit_code == 2
    assert "(did you mean 'Telecommunications'?)" in said.json["error"]["found"]
    assert runner("--lab", lab, "entry", "list", "--phase", "6").exit_code == 2


def test_an_entry_without_a_folder_is_shown_too(runner: Runner, lab: str) -> None:
    """Its row, its state, and how to make a folder."""
    value = runner("--json", "--lab", lab, "entry", "show", "bio-003").json
    assert (value["roadmap"]["phase"], value["state"], value["runs"], value["entry"]) == (4, "untested", [], None)
    assert "runner entry new BIO-003" in runner("--lab", lab, "entry", "show", "BIO-003").out


def test_the_next_entry_is_told_with_its_reason(runner: Runner, lab: str) -> None:
    """Of the whole roadmap, or of those that can be run here; with the command that begins it."""
    value = runner("--json", "--lab", lab, "entry", "next").json
    assert (value["entry"]["id"], value["do"]) == ("CORE-001", "runner entry new CORE-001")
    runnable = runner("--json", "--lab", lab, "entry", "next", "--runnable").json
    assert runnable["entry"]["here"]
    assert runnable["do"] == f"runner exec {runnable['entry']['id']}"
    assert "why: untested; no open entry comes before phase 1, P0, Catastrophic" in runner("--lab", lab, "entry", "next").out


def test_a_run_changes_what_is_next(runner: Runner, lab: str) -> None:
    """Nothing is stored: a folder in runs/ is enough, and without it the entry is untested again."""
    folder = Path(lab) / "runs" / "CORE-001" / "run-2026-11-21-001"
    (folder / "config").mkdir(parents=True)
    (folder / "findings.json").write_text(json.dumps({"metadata": {"status": "completed"}, "findings": []}))
    assert runner("--json", "--lab", lab, "entry", "next").json["entry"]["id"] == "CORE-008"
    assert "CORE-001" not in ids(runner, lab, "--untested")
    (folder / "findings.json").write_text("{")
    assert runner("--json", "--lab", lab, "entry", "next").json["entry"]["state"] == "attempted"


def test_a_new_entry_is_sound_at_once_and_made_once(runner: Runner, lab: str) -> None:
    """Made, checked, planned; a second time it is refused."""
    made = runner("--json", "--lab", lab, "entry", "new", "fin-001").json
    assert made["folder"] == f"{lab}/pipelines/fin_001"
    assert runner("--json", "--lab", lab, "entry", "check", "FIN-001").json["checked"]["scenarios"] == SCENARIOS
    assert runner("--lab", lab, "exec", "FIN-001", "--dry-run").exit_code == 0
    again = runner("--json", "--lab", lab, "entry", "new", "FIN-001")
    assert (again.exit_code, again.json["error"]["found"]) == (2, "FIN-001 has a folder already")


def test_only_entries_of_the_roadmap_are_made(runner: Runner, lab: str) -> None:
    """Another name is answered with the nearest, and no path is made of it."""
    for name in ("FIN-099", "../FIN-001", ""):
        assert runner("--json", "--lab", lab, "entry", "new", name).exit_code == 2
    assert not (Path(lab) / "pipelines").exists()


def test_check_tells_everything_at_once(runner: Runner, lab: str) -> None:
    """A wrong title, an unknown check, an unknown profile and a broken stage: four complaints, each once, with file and line."""
    runner("--lab", lab, "entry", "new", "FIN-001")
    folder = Path(lab) / "pipelines" / "fin_001"
    text = (folder / "entry.yaml").read_text()
    for before, after in (('title: "High', 'title: "Low'), ("check: finished", "check: finishd"), ("profile: steady", "profile: stedy")):
        text = text.replace(before, after, 1)
    (folder / "entry.yaml").write_text(text)
    (folder / "stages" / "records.py").write_text("class Load\n")
    said = runner("--json", "--lab", lab, "entry", "check", "FIN-001")
    assert said.exit_code == 2
    assert all(":" in one["where"] for one in said.json["error"]["all"])
    found = sorted(one["found"][:24] for one in said.json["error"]["all"])
    assert [text.split("'")[0] for text in found] == ["no check is called ", "no profile is called ", "not Python: expected ", "title is "]


def test_check_tells_of_each_kind_though_there_are_others(runner: Runner, lab: str) -> None:
    """A key that stands there twice, one that nobody knows, words that are not the roadmap's, a version, a `build` that is not there and
    an import: none of them hides another."""
    runner("--lab", lab, "entry", "new", "FIN-001")
    folder = Path(lab) / "pipelines" / "fin_001"
    text = (folder / "entry.yaml").read_text()
    for before, after in (
        ("risk: Catastrophic", "risk: Low\nrisk: High"),
        ("stageflow: 1.2.0", "stageflow: 1.2.9\nwether: 1"),
        ("durability: journaled", "durability: jornaled"),
    ):
        text = text.replace(before, after, 1)
    (folder / "entry.yaml").write_text(text)
    (folder / "baseline.py").write_text("import runner\n")
    told = runner("--json", "--lab", lab, "entry", "check", "FIN-001", "--device", "locl").json["error"]["all"]
    wanted = (
        ("entry.yaml:12", "'risk' a second time"), ("entry.yaml:11", "risk is 'Low'"), ("entry.yaml:16", "unknown key 'wether'"),
        ("entry.yaml:15", "Stageflow '1.2.9' is not pinned"), ("entry.yaml:", "scenarios.baseline.durability is 'jornaled'"),
        ("entry.yaml:", "pipeline 'baseline' has no `build`"), ("baseline.py:1", "imports `runner`"), ("--device", "no device is called"),
    )  # fmt: skip
    found = [next((one for one in told if where in one["where"] and one["found"].startswith(said)), None) for where, said in wanted]
    assert (len(told), None in found) == (len(wanted), False), told


def test_a_word_that_nobody_knows_is_told_once(runner: Runner, lab: str) -> None:
    """A risk that is none is not the roadmap's either."""
    runner("--lab", lab, "entry", "new", "FIN-001")
    path = Path(lab) / "pipelines" / "fin_001" / "entry.yaml"
    path.write_text(path.read_text().replace("risk: Catastrophic", "risk: Mild", 1))
    assert len(runner("--json", "--lab", lab, "entry", "check", "FIN-001").json["error"]["all"]) == 1


@pytest.mark.parametrize("words", [("entry", "check", "FIN-001"), ("exec", "FIN-001")], ids=["check", "exec"])
def test_a_folder_without_its_entry_is_not_called_none(runner: Runner, lab: str, words: tuple[str, ...]) -> None:
    """`entry new` would refuse it: the file that is missing is named."""
    runner("--lab", lab, "entry", "new", "FIN-001")
    (Path(lab) / "pipelines" / "fin_001" / "entry.yaml").unlink()
    said = runner("--lab", lab, *words)
    assert (said.exit_code, "fin_001 has no entry.yaml" in said.err) == (2, True)


def test_what_is_not_python_is_never_executed(runner: Runner, lab: str) -> None:
    """It is a mistake of the lab's files, and no finding about the software: no run is made."""
    runner("--lab", lab, "entry", "new", "FIN-001")
    (Path(lab) / "pipelines" / "fin_001" / "stages" / "records.py").write_text("class Load\n")
    said = runner("--lab", lab, "exec", "FIN-001", "--scenario", "baseline")
    assert (said.exit_code, "records.py:1: not Python" in said.err) == (2, True)
    assert not (Path(lab) / "runs").exists()


def test_an_entry_without_a_folder_cannot_be_checked(runner: Runner, lab: str) -> None:
    """The answer is how to make one."""
    assert runner("--json", "--lab", lab, "entry", "check", "BIO-003").json["error"]["do"] == "runner entry new BIO-003"


def test_the_brief_is_markdown_or_one_object(runner: Runner, lab: str) -> None:
    """Nothing but the brief on standard output, so that it can be piped into an agent."""
    said = runner("--lab", lab, "entry", "brief", "edge-002")
    assert said.out.startswith("# Brief: EDGE-002 Power failure recovery on local\n")
    value = runner("--json", "--lab", lab, "entry", "brief", "EDGE-002").json["brief"]
    assert value["variables"]["RISK_CLASS"] == "Severe"
    assert [section["title"] for section in value["sections"]][1] == "Phase 0: Resumption check"


def test_a_settled_finding_is_open_no_more(runner: Runner, lab: str) -> None:
    """Show and brief tell what is open today: what people decided counts, not only what a run once wrote."""
    folder = Path(lab) / "runs" / "CORE-001" / "run-2026-11-21-001"
    (folder / "config").mkdir(parents=True)
    about = {
        "roadmap_entry_id": "CORE-001",
        "agent_run_id": "r",
        "started_at": "2026-11-21T00:00:00Z",
        "completed_at": "2026-11-21T00:00:01Z",
    }
    about |= {"roadmap_entry_title": "t", "status": "completed", "stageflow_version": "1.2.0", "total_findings": 1, "summary": "s"}
    found = {"id": "CORE-001-REL-001", "type": "reliability", "severity": "high", "title": "lost", "description": "d", "status": "open"}
    found |= {
        "created_at": "2026-11-21T00:00:01Z",
        "component": "c",
        "device": "local",
        "evidence": ["results/x#1"],
        "fingerprint": "0" * 16,
    }
    (folder / "findings.json").write_text(json.dumps({"metadata": about, "findings": [found]}))
    assert "`CORE-001-REL-001` (`high`): `lost`" in runner("--lab", lab, "entry", "brief", "CORE-001").out
    assert [one["id"] for one in runner("--json", "--lab", lab, "entry", "show", "CORE-001").json["open_findings"]] == ["CORE-001-REL-001"]
    settled = runner("--lab", lab, "finding", "resolve", "CORE-001-REL-001", "--as", "fixed", "--details", "mended")
    assert settled.exit_code == 0, settled.err
    assert "CORE-001-REL-001" not in runner("--lab", lab, "entry", "brief", "CORE-001").out
    assert runner("--json", "--lab", lab, "entry", "show", "CORE-001").json["open_findings"] == []


@pytest.mark.parametrize(
    ("words", "nearest"),
    [(("brief", "EDGE-002", "--device", "locl"), "'local'"), (("brief", "EGDE-002"), "'EDGE-002'"), (("check", "EDGE-20"), "'EDGE-")],
)
def test_an_unknown_name_is_a_complaint_with_the_nearest(runner: Runner, lab: str, words: tuple[str, ...], nearest: str) -> None:
    """Exit 2, for entries and devices alike."""
    said = runner("--json", "--lab", lab, "entry", *words)
    assert said.exit_code == 2
    assert f"(did you mean {nearest}" in said.json["error"]["found"]


@pytest.mark.real
def test_a_new_entry_is_checked_and_runs_at_once(runner_process: Callable[..., Any], tmp_path: Path) -> None:
    """From nothing: made, checked and its baseline run on the local device; then all five scenarios, with what Stageflow loses found."""
    lab, state = ("--lab", str(tmp_path)), {"RUNNER_STATE": str(tmp_path / "state"), "cwd": tmp_path}
    assert runner_process("init", str(tmp_path), **state).returncode == 0
    assert runner_process("--json", *lab, "exec", "EDGE-002", "--scenario", "baseline", **state).returncode == 0  # wheels are in the cache
    assert runner_process(*lab, "entry", "new", "FIN-001", **state).returncode == 0
    for words in (("entry", "check", "FIN-001"), ("exec", "FIN-001", "--scenario", "baseline")):
        done = runner_process(*lab, *words, **state)
        assert done.returncode == 0, done.stdout + done.stderr
    done = runner_process("--json", *lab, "exec", "FIN-001", "--quick", **state)
    assert done.returncode == 0, done.stdout + done.stderr
    findings = json.loads((Path(json.loads(done.stdout)["run_dir"]) / "findings.json").read_text())["findings"]
    assert [finding["title"].partition(":")[0] for finding in findings] == ["chaos"]


def test_the_phase_is_a_number_for_people_too(runner: Any) -> None:
    """1 is not yes."""
    said = runner("entry", "list", "--phase", "1").out
    row = next(line for line in said.splitlines() if line.startswith("CORE-001"))
    assert row.split()[1] == "1"
