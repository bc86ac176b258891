"""What a run says of scarcity: on the page, in FINAL_REPORT.md and in a file of its own; and that no link is made of what is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runner.judgement import report
from runner.judgement.export.points import streams_of
from runner.judgement.report import html, traces
from runner.judgement.report.link_courses import link_courses
from runner.judgement.report.scarcity_courses import ScarcityCourse, scarcity_courses
from runner.judgement.timeline import Timeline
from tests.judgement.made_heat import HOT, MadeHeatRun
from tests.judgement.made_run import MadeRun
from tests.judgement.test_html import HOSTILE, Page
from tests.judgement.test_link_reports import AWAY, BEFORE, MadeLinkRun, section

PLANNED: dict[str, Any] = {"module": "recovery", "durability": "journaled", "stages": ["sort"], "cuts": [], "links": []}
MIB = 1 << 20
SMALL = {"fault": "resources", "memory_mib": 64, "cpu_share": None, "processes": None, "at_s": 0.0, "for_s": None, "stage": ""}
LIMIT = {"memory_limit_bytes": 64 * MIB}
CLOCK = {"wall_ns": 1_790_000_100_000_000_000, "boottime_ns": 100_000_000_000}
STATE: dict[str, Any] = {"boot_id": "", "confined": {}, "disk": {}, "clock": CLOCK}
TRIED = {"memory": {"memory_limit_bytes": 64 * MIB, "memory_peak_bytes": 64 * MIB, "oom_kills": 1, "killed": True}}


def small(run: MadeLinkRun, execution: str, word: str = "64 MiB", *, had: int = 64, again: bool = True, links: Any = ()) -> None:
    """An execution from 1 s to 20 s whose group may have 64 MiB, and was found to have `had`."""
    run.plan["executions"].append({"name": execution, "scenario": "recovery", **PLANNED, "links": list(links), "scarcities": [SMALL]})
    run.begin(execution)
    run.note(2, "scarcity_began", execution=execution, programs=[], before=STATE)
    run.note(2, "scarcity_proof", execution=execution, rows=[], during={**STATE, "confined": LIMIT, "tried": TRIED})
    run.on(execution, "resources", word, 2, 18)
    run.stage(execution, "sort", 3, 17)
    figures = {"memory_limit_bytes": had * MIB, "memory_bytes": 30 * MIB, "memory_peak_bytes": 40 * MIB, "oom_kills": 0}
    run.device(9, execution, "sample", metrics={}, confined=figures)
    if again:
        run.note(19, "scarcity_lifted", execution=execution, rows=[], after=STATE)
    run.end(20, execution)


def made(root: Path, word: str = "64 MiB", **more: Any) -> MadeLinkRun:
    run = MadeLinkRun(root)
    small(run, "recovery-1", word, **more)
    run.end(21)
    return run


def scarce(text: str) -> str:
    """What FINAL_REPORT.md says of scarcity."""
    return text.partition("#### Scarcity")[2].partition("\n### ")[0].partition("\n#### ")[0]


def courses(run: MadeRun) -> list[ScarcityCourse]:
    evidence = run.conclusion().evidence
    return scarcity_courses(evidence, Timeline(evidence))


def test_the_report_says_what_was_scarce_and_what_was_found_of_it(tmp_path: Path) -> None:
    """In 4.2: windows, every row of asked and measured, memory against its cap; the guard's journal as lines is named, and there."""
    files = report.derived(made(tmp_path).conclusion())
    said = scarce(files["FINAL_REPORT.md"])
    assert "| `recovery-1.resources-1` | 64 MiB | 2.0 | 18.0 | reverted: asked |" in said
    assert "| recovery-1.resources-1, limit of memory | 64.0 MiB | in 1 readings | - | yes |" in said
    assert "| who wants more memory | killed at 64.0 MiB | killed 1 times, peak 64.0 MiB | - | yes |" in said
    assert "| the group | gone | gone | - | yes |" in said
    assert "| recovery-1 | 64 | 40.0 | 62 % | 0 |" in said
    assert "results/logs/guard_events.txt" in said and re.search(r" 2\.000 +\d+  armed ", files["results/logs/guard_events.txt"])


def test_what_is_not_within_says_no(tmp_path: Path) -> None:
    """It had twice as much, and nobody looked afterwards: in words, in both reports."""
    files = report.derived(made(tmp_path, had=128, again=False).conclusion())
    said = scarce(files["FINAL_REPORT.md"])
    assert "| recovery-1.resources-1, limit of memory | 64.0 MiB | 128.0 MiB in 1 of 1 readings | - | **no** |" in said
    assert "| afterwards | as before | nobody looked | - | **no** |" in said
    assert files["report.html"].count("✕ no") == 2


def test_the_page_draws_when_it_was_on_and_judges_it(tmp_path: Path) -> None:
    """A section behind Restarts, a band and memory on the common axis; every row a table's."""
    page = Page(html.files(made(tmp_path).conclusion())["report.html"])
    (scarcity,) = page.all("section", id="scarcity")
    cells = [page.said[cell] for cell in page.all("td", inside=scarcity)]
    assert "killed 1 times, peak 64.0 MiB" in cells and "✕ no" not in " ".join(cells)
    (timeline,) = page.all("div", **{"class": "timeline rows"})
    (band,) = page.all("rect", inside=timeline, **{"class": "fault-on"})
    assert page.said[page.all("title", inside=band)[0]] == "64 MiB, 2.00 s to 18.00 s; then: reverted: asked"
    assert "memory, of its cap of 64 MiB" in page.text and page.all("a", href="#scarcity")


def test_what_was_measured_is_json(tmp_path: Path) -> None:
    """In figures, for whoever draws it otherwise."""
    found = json.loads(report.derived(made(tmp_path).conclusion())["results/metrics/scarcity.json"])["executions"]["recovery-1"]
    assert found["programs"] == {"recovery-1.resources-1": {"fault": "resources", "times_on": 1, "on_s": 16.0}}
    assert found["memory"] == {"cap_bytes": 64 * MIB, "peak_bytes": 40 * MIB, "oom_kills": 0}
    assert all(row["within"] for row in found["asked_and_measured"]) and len(found["asked_and_measured"]) == 9


def test_no_link_is_made_of_it(tmp_path: Path) -> None:
    """No section of the data link, no file, no stream, and no thread of that name: there was no link fault."""
    conclusion = made(tmp_path).conclusion()
    files = report.derived(conclusion)
    assert not [name for name in files if "link" in name and not name.startswith("tests/judge/")]
    for name in ("FINAL_REPORT.md", "report.html"):
        assert not re.search(r"data link|light packet|far end|id=\"link\"", files[name], re.IGNORECASE), name
    assert not [stream for stream in streams_of(conclusion) if ".link." in stream.metric_name]
    events = traces.trace(conclusion.evidence, "recovery")["traceEvents"]
    spans = [(e["name"], e["cat"], e["ts"], e["dur"]) for e in events if str(e.get("cat")).endswith("fault")]
    assert spans == [("64 MiB", "scarcity fault", 2_000_000, 16_000_000)]


def test_heat_says_when_its_program_was_on_and_makes_no_link_of_it(tmp_path: Path) -> None:
    """Its window stands in the section of heat, in words and as a band."""
    run = MadeHeatRun(tmp_path)
    run.begin("recovery-1")
    ended_s = run.heated(2.0, "recovery-1", [("look_1", 3.0)], HOT)
    for at_s, kind, words in (
        (2.0, "armed", {"fault": "thermal"}),
        (2.0, "step", {"word": "air of 55 °C", "on": True}),
        (ended_s, "reverting", {"why": "asked"}),
    ):
        run._write("guard", run.boot_id, at_s - run.boot_s[-1], kind, {"program": "recovery-1.thermal-1", **words})
    run.end(ended_s + 1)
    files = report.derived(run.conclusion())
    heat = files["FINAL_REPORT.md"].partition("#### Heat")[2]
    assert f"| `recovery-1.thermal-1` | air of 55 °C | 2.0 | {ended_s:.1f} | reverted: asked |" in heat
    assert 'class="fault-on"' in files["report.html"] and "results/logs/guard_events.txt" in files
    for name in ("FINAL_REPORT.md", "report.html"):
        assert not re.search(r"data link|id=\"link\"|#### Scarcity|id=\"scarcity\"", files[name], re.IGNORECASE), name


def test_of_two_kinds_at_once_each_has_its_own(tmp_path: Path) -> None:
    """The link's windows are the link's, those of scarcity are scarcity's."""
    run = MadeLinkRun(tmp_path)
    small(run, "recovery-1", links=[AWAY])
    run.note(2, "link_began", execution="recovery-1", who=run.who("recovery-1"), programs=[], before=BEFORE)
    run.on("recovery-1", "offline", "offline", 10, 15)
    run.end(21)
    conclusion = run.conclusion()
    timeline = Timeline(conclusion.evidence)
    (link,), (few,) = link_courses(conclusion.evidence, timeline), scarcity_courses(conclusion.evidence, timeline)
    assert [w.program for w in link.windows] == ["recovery-1.offline-1"]
    assert [w.program for w in few.windows] == ["recovery-1.resources-1"]
    text = report.derived(conclusion)["FINAL_REPORT.md"]
    assert "resources-1" not in section(text).partition("#### Scarcity")[0] and "offline-1" not in scarce(text)
    assert text.index("#### The data link") < text.index("#### Scarcity")


def test_memory_has_its_cap_as_the_upper_edge(tmp_path: Path) -> None:
    """In percent of it; the peak and who was killed are the kernel's last word. A cap that no plan has is shown, too."""
    run = MadeRun(tmp_path)
    run.plan["executions"].append({"name": "recovery-1", "scenario": "recovery", **PLANNED})
    run.begin("recovery-1")
    for number in range(6):
        figures = {**LIMIT, "memory_bytes": (10 + 9 * number) * MIB, "memory_peak_bytes": (12 + 10 * number) * MIB}
        run.device(2.0 + number, "recovery-1", "sample", metrics={}, confined=figures)
    run.device(9.0, "recovery-1", "confined", confined={**LIMIT, "memory_peak_bytes": 64 * MIB, "oom_kills": 1})
    run.end(10.0, "recovery-1")
    run.end(11.0)
    (course,) = courses(run)
    assert course.memory and course.memory[:3] == (64 * MIB, 64 * MIB, 1) and course.rows == [] == course.windows
    (line,) = course.series()
    assert line.unit == "%" and line.highest == pytest.approx(100 * 55 / 64)
    files = report.derived(run.conclusion())
    assert "| recovery-1 | 64 | 64.0 | 100 % | 1 |" in scarce(files["FINAL_REPORT.md"])
    assert "memory, of its cap of 64 MiB" in files["report.html"]


def test_a_run_in_which_nothing_was_scarce_has_nothing_of_it(tmp_path: Path) -> None:
    """No file, no section, no style. The negative control of all the above."""
    run = MadeRun(tmp_path)
    run.plan["executions"].append({"name": "recovery-1", "scenario": "recovery", **PLANNED, "scarcities": []})
    run.begin("recovery-1")
    run.stage("recovery-1", "sort", 2, 3)
    run.end(4, "recovery-1")
    run.end(5)
    files = report.derived(run.conclusion())
    assert not {"results/metrics/scarcity.json", "results/logs/guard_events.txt"} & files.keys()
    for name in ("FINAL_REPORT.md", "report.html"):
        assert not re.search(r"#### Scarcity|id=\"scarcity\"|fault-on|Memory against its cap", files[name])


def test_words_of_a_guard_stay_words(tmp_path: Path) -> None:
    """What it says that is on came from a device."""
    files = report.derived(made(tmp_path, word=HOSTILE).conclusion())
    page = Page(files["report.html"])
    assert not page.all("img") and len(page.all("script")) == 1
    assert "<img" not in files["FINAL_REPORT.md"] and "&lt;img" in scarce(files["FINAL_REPORT.md"])


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    """Derived files are pure."""
    conclusion = made(tmp_path).conclusion()
    assert report.derived(conclusion) == report.derived(conclusion)
