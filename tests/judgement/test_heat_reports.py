"""What a run says of its heat: on the page, in FINAL_REPORT.md and in a file of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from runner.judgement import report
from runner.judgement.report import html
from runner.judgement.report.heat_courses import HeatCourse, StageTime, heat_courses
from runner.judgement.timeline import Timeline
from tests.judgement.made_heat import HOT, STRAIGHT, Bent, MadeHeatRun
from tests.judgement.made_run import MadeRun
from tests.judgement.test_html import HOSTILE, Page

STAGES = [(f"{word}_{number}", cool_s) for number in (1, 2, 3) for word, cool_s in (("look", 3.0), ("flow", 5.0))]
PLANNED = {"stages": [], "cuts": [], "module": "recovery", "durability": "journaled"}


def made(root: Path, bent: Bent = STRAIGHT, *, cut_in: str = "") -> MadeHeatRun:
    run = MadeHeatRun(root)
    planned = {"stages": [], "cuts": [], "module": "baseline", "durability": "native"}
    run.plan["executions"].append({"name": "baseline-1", "scenario": "baseline", **planned})
    run.plan["scenarios"]["baseline"] = {**run.plan["scenarios"]["recovery"], "pipeline": "baseline", "profile": "steady"}
    run.begin("baseline-1", scenario="baseline")
    at_s = run.cool(2.0, "baseline-1", STAGES)
    run.begin("recovery-1", at_s + 1)
    run.end(run.heated(at_s + 2, "recovery-1", STAGES, HOT, bent, cut_in=cut_in))
    return run


def course(run: MadeHeatRun) -> HeatCourse:
    evidence = run.conclusion().evidence
    (found,) = heat_courses(evidence, Timeline(evidence))
    return found


def test_a_course_has_lines_of_temperatures_and_clock(tmp_path: Path) -> None:
    """Four of them; where the board had no power the clock has a gap, and its body has none."""
    lines = {one.title: one for one in course(made(tmp_path, cut_in="flow_2")).series()}
    assert list(lines) == [f"recovery-1: {what}" for what in ("die", "board", "air", "clock")]
    assert [len(one.stretches) for one in lines.values()] == [1, 1, 1, 2]
    assert (lines["recovery-1: clock"].lowest, lines["recovery-1: clock"].highest) == (600.0, 1500.0)


def test_stage_times_stand_beside_those_of_the_run_without_heat(tmp_path: Path) -> None:
    """What a stage used of the full clock is what it took without heat, however long it took."""
    times = {each.stage: each for each in course(made(tmp_path)).stages}
    assert list(times) == [name for name, _ in STAGES]
    slow = times["flow_1"]
    assert slow.cool_s and slow.explained_s and slow.took_s > 1.4 * slow.cool_s
    assert all(each.used_s == pytest.approx(each.cool_s, rel=0.15) for each in times.values())
    assert slow.took_s == pytest.approx(slow.explained_s, rel=0.15)


def test_time_at_each_clock_is_all_the_time_that_it_had_power(tmp_path: Path) -> None:
    """It adds up; without power there is no clock."""
    whole = course(made(tmp_path / "whole"))
    assert sum(seconds for _, seconds in whole.at_each_clock()) == pytest.approx(whole.ticks[-1][0] - whole.ticks[0][0])
    cut = course(made(tmp_path / "cut", cut_in="flow_2"))
    assert sum(seconds for _, seconds in cut.at_each_clock()) < cut.ticks[-1][0] - cut.ticks[0][0] - 2


def test_the_page_draws_heat_and_judges_it(tmp_path: Path) -> None:
    """A section behind Restarts, rows on the common axis, a bar for each stage; what is not within says so in words."""
    text = html.files(made(tmp_path).conclusion())["report.html"]
    assert Page(text)  # every element is closed
    for words in ("<h3>Heat</h3>", "recovery-1: die", "recovery-1: clock", "recovery-1: capped", 'id="heat"', "of the full clock, s"):
        assert words in text, words
    assert text.count('class="stage-time"') == len(STAGES)
    assert "✕ longer than its clock explains" not in text
    assert "✕ longer than its clock explains" in html.files(made(tmp_path / "slow", Bent(slower=1.5)).conclusion())["report.html"]


def test_a_clock_steps(tmp_path: Path) -> None:
    """It is drawn as it is: upright where it changes, and level between; it never slides from one clock to the next."""
    found = course(made(tmp_path))
    (line,) = [one for one in found.series() if one.unit == "MHz"]
    clocks = {tick.mhz for _, tick in found.ticks}
    assert len(clocks) > 1 and {value for column in line.columns for value in (column.first, column.then)} == clocks
    (stretch,) = line.stretches
    before = [column.then for column in stretch]
    assert all(after.first == was for was, after in zip(before, stretch[1:], strict=False))


def test_the_throttles_steps_stand_where_the_die_reaches_them(tmp_path: Path) -> None:
    """Each at its temperature, with its clock, in the die's row and in no other."""
    page = Page(html.files(made(tmp_path).conclusion())["report.html"])
    rows = {page.said[row].split("°C")[0]: row for row in page.all("div", **{"class": "row series"})}
    (die,) = [row for said, row in rows.items() if "recovery-1: die" in said]
    assert len(page.all("line", **{"class": "level"})) == 2 == len(page.all("line", inside=die, **{"class": "level"}))
    assert {"80 °C: 1000 MHz", "84 °C: 600 MHz"} <= {page.said[text] for text in page.all("text", inside=die)}


def test_what_is_too_short_to_tell_is_not_accused(tmp_path: Path) -> None:
    """A stage of a tenth of a second is mostly begun and flushed; one of three seconds that took as many times as long is."""
    told = StageTime("settle", 0.3, 0.3, 0.1)
    assert told.explained_s == pytest.approx(0.1) and not told.longer
    slow = told._replace(took_s=9.0, used_s=9.0, cool_s=3.0)
    assert slow.longer and not told._replace(cool_s=None).longer and not slow._replace(timed=True).longer


@pytest.mark.parametrize("beside", ["one", "each"])
def test_a_stage_beside_which_the_device_was_timed_is_not_accused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str) -> None:
    """It had half of the core. Where it was so beside each that is long enough to tell, all are held to their clock, as EDGE-001 does."""
    monkeypatch.setattr(f"{__name__}.STAGES", [*STAGES, ("blink", 0.05)])
    evidence = made(tmp_path, Bent(slower=1.5)).conclusion().evidence
    (proof,) = [record for record in evidence.coordinator if record.kind == "heat_proof"]
    (heated,) = evidence.of("recovery")

    def longer() -> list[str]:
        (found,) = heat_courses(evidence, Timeline(evidence))
        return [each.stage for each in found.stages if each.longer]

    proof.payload["looks"] = []
    accused = longer()
    spans = {
        end.payload["stage"]: [record.boottime_ns + evidence.clock_anchors[record.boot_id][0] for record in (start, end)]
        for start, end in zip(heated.of_kind("stage_started"), heated.of_kind("stage_finished"), strict=True)
    }
    inside = {stage: [began_ns + 1000, began_ns + 2000] for stage, (began_ns, _) in spans.items() if stage != "blink"}
    assert accused and "blink" not in accused
    proof.payload["looks"] = [inside[accused[0]]] if beside == "one" else list(inside.values())
    assert longer() == (accused[1:] if beside == "one" else accused)


def test_a_part_in_which_nobody_looked_is_as_it_was(tmp_path: Path) -> None:
    """A heat of a few ticks has fewer of them than the drawing has characters: that is no time without power."""
    run = MadeHeatRun(tmp_path)
    run.begin("recovery-1")
    run.end(run.heated(2.0, "recovery-1", [("look", 1.0)], HOT))
    assert len(course(run).ticks) < 60
    drawn = re.search(r"```text\n(.*?)```", report.derived(run.conclusion())["FINAL_REPORT.md"], re.DOTALL)
    assert drawn and not [line for line in drawn[1].splitlines()[:3] if " " in line[27:]]


def test_the_time_before_the_pipeline_is_told(tmp_path: Path) -> None:
    """The model stands still until then, and so do its temperatures."""
    found = course(made(tmp_path))
    assert found.waited_s == pytest.approx(next(at_s for at_s, tick in found.ticks if tick.model_s > 0) - found.ticks[0][0], abs=0.3)


def test_the_report_draws_the_course_in_characters(tmp_path: Path) -> None:
    """As wide for each line; flags by letters, no power as a gap; and the stages beside those without heat."""
    text = report.derived(made(tmp_path, cut_in="flow_2").conclusion())["FINAL_REPORT.md"]
    drawn = re.search(r"```text\n(.*?)```", text, re.DOTALL)
    assert drawn
    lines = drawn[1].splitlines()
    assert [line.split()[0] for line in lines] == ["die,", "air,", "clock,", "flags"] and len({len(line) for line in lines}) == 1
    assert {"c", "t", "·"} <= set(lines[3][27:]) and " " in lines[2][27:].strip()
    assert "| flow_1 |" in text and "#### Heat" in text


def test_everything_measured_is_in_a_file(tmp_path: Path) -> None:
    """In figures, for whoever draws it otherwise."""
    found = json.loads(report.derived(made(tmp_path).conclusion())["results/metrics/heat.json"])
    one = found["executions"]["recovery-1"]
    assert one["pace"] == 5.0 and one["ended"] == "asked" and set(one["seconds_at_mhz"]) == {"1500", "1000", "600"}
    assert 79 < one["die_c"]["highest"] < 95 and [each["stage"] for each in one["stages"]] == [name for name, _ in STAGES]


def test_a_run_without_heat_has_nothing_of_it(tmp_path: Path) -> None:
    """No file, no section, no style: as it was before there was any. The negative control of all the above."""
    run = MadeRun(tmp_path)
    run.plan["executions"].append({"name": "recovery-1", "scenario": "recovery", **PLANNED})
    run.begin("recovery-1")
    run.stage("recovery-1", "ingest", 2, 3)
    run.end(4, "recovery-1")
    run.end(5)
    made_files = report.derived(run.conclusion())
    assert "results/metrics/heat.json" not in made_files
    for name in ("FINAL_REPORT.md", "report.html"):
        assert not re.search(r"#### Heat|stage-time|id=\"heat\"|<h3>Heat", made_files[name])


def test_words_of_a_device_stay_words(tmp_path: Path) -> None:
    """A stage that is called like markup, and an ending that is."""
    run = MadeHeatRun(tmp_path)
    run.begin("recovery-1")
    run.end(run.heated(2.0, "recovery-1", [(HOSTILE, 3.0)], HOT))
    run.lines[-1]["ended"] = HOSTILE
    files = report.derived(run.conclusion())
    assert HOSTILE not in files["report.html"] and "<script>alert" not in files["FINAL_REPORT.md"]


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    """Derived files are pure."""
    conclusion = made(tmp_path).conclusion()
    assert report.derived(conclusion) == report.derived(conclusion)
