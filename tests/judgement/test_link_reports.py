"""What a run says of its data link: a made run with one execution under a narrow link, and one that is offline twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runner.errors import AskError
from runner.judgement import report
from runner.judgement.conclude import Conclusion
from runner.judgement.export.points import streams_of
from runner.judgement.integrity import faults_as_planned
from runner.judgement.report import events, final_report, html, link_page, links, metrics, traces
from runner.judgement.report.charts import Axis
from runner.judgement.report.link_courses import LinkCourse, chance, figures, link_courses
from runner.judgement.timeline import Timeline
from runner.judgement.verify import RULES, verify
from runner.ondevice import journal
from tests.judgement.made_run import TOKEN, MadeRun
from tests.judgement.test_html import HOSTILE, Page

PLANNED: dict[str, Any] = {"module": "recovery", "durability": "journaled", "stages": ["send"], "cuts": []}
NARROW = {
    "fault": "bandwidth", "at_s": 0.0, "for_s": None, "stage": "",
    "up": {"rate_kbit_s": 26.8, "delay_ms": 500.0, "loss_percent": 0.0}, "down": {"rate_kbit_s": 53.6, "delay_ms": 500.0},
}  # fmt: skip
AWAY = {"fault": "offline", "how": "drop", "at_s": 10.0, "for_s": 10.0, "every_s": 20.0, "times": 2, "stage": ""}
FOG = {"fault": "external", "name": "fog", "settings": {}}
GOOD = {"sent": 200, "received": 200, "bursts": {}, "rate_kbit_s": None}
BEFORE = {"up": GOOD, "down": GOOD, "echoes": 200, "rtt_p50_ms": 5.0, "rtt_p95_ms": 9.0}
DURING = {
    "up": {**GOOD, "rate_kbit_s": 26.1}, "down": {**GOOD, "rate_kbit_s": 52.0}, "echoes": 200, "rtt_p50_ms": 1040.0, "rtt_p95_ms": 1100.0,
}  # fmt: skip


class MadeLinkRun(MadeRun):
    """A made run with a guard, a light probe and a far end. Times are seconds of the run, as everywhere in it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.light: list[dict[str, Any]] = []
        self.arrived: list[dict[str, Any]] = []
        self.numbers: dict[str, int] = {}

    def link_began(
        self, at_s: float, execution: str, *faults: dict[str, Any], during: dict[str, Any] | None = None, ours: bool = False
    ) -> None:
        """The execution is planned with these faults; what it needs of the kernel is netem's or nft's, or our own shaper is there."""
        self.plan["executions"].append({"name": execution, "scenario": "recovery", **PLANNED, "links": list(faults)})
        needs = {"bandwidth": ["nft", "tun"] if ours else ["netem", "ifb"], "offline": ["nft"]}
        shaper = {"bandwidth": "ours" if ours else "netem", "offline": ""}
        programs = [
            {"name": f"{execution}.{f['fault']}-1", "needs": needs[f["fault"]], "shaper": shaper[f["fault"]], "steps": []} for f in faults
        ]
        self.note(at_s, "link_began", execution=execution, who=self.who(execution), programs=programs, before=BEFORE)
        if during:
            self.note(at_s, "link_proof", execution=execution, rows=[], during=during)

    def link_lifted(self, at_s: float, execution: str) -> None:
        self.note(at_s, "link_lifted", execution=execution, rows=[], after=BEFORE, light={})

    def who(self, execution: str) -> str:
        return execution.encode().hex()[-16:]

    def guard(self, when_s: float, kind: str, **payload: Any) -> None:
        """A record of the guard; its first one is as every journal's."""
        began = [] if "guard" in self.journals else [("began", {"run": TOKEN, "stages": [], "holds": []})]
        for said, words in [*began, (kind, payload)]:
            self._write("guard", self.boot_id, when_s - self.boot_s[-1], said, words)

    def on(self, execution: str, fault: str, word: str, from_s: float, to_s: float | None) -> None:
        """One program's life: armed, on, reverted. None: nothing says that it was taken back."""
        name = f"{execution}.{fault}-1"
        self.guard(from_s, "armed", program=name, fault=fault, holder="ada", renew_s=60.0, cap_s=900.0, undo=[])
        self.guard(from_s, "step", program=name, number=0, at_s=0.0, word=word, on=True, took_s=0.1, failed=[])
        if to_s is not None:
            self.guard(to_s, "reverting", program=name, why="asked")
            self.guard(to_s, "reverted", program=name, why="asked", took_s=0.1, tries=1)

    def probe(
        self, execution: str, from_s: float, to_s: float, came: Callable[[float], bool] = lambda at_s: True, rtt_ms: float = 5.0
    ) -> None:
        """A light packet each half second; those that did not come leave a hole in the numbers."""
        echoes = 0
        for step in range(int((to_s - from_s) * 2)):
            at_s, number = from_s + step / 2, self.numbers.get(execution, 0)
            self.numbers[execution] = number + 1
            if came(at_s):
                sent_ns = int((at_s - self.boot_s[-1]) * 1e9)
                line = {"who": self.who(execution), "boot": self.boot_id[:16], "started_ms": int((from_s - self.boot_s[-1]) * 1000)}
                line |= {"sequence": number, "sent_ns": sent_ns, "received_ns": int((1000 + at_s) * 1e9)}
                self.light.append({**line, "echoes": echoes, "rtt_us": int(rtt_ms * 1000)})
                echoes += 1

    def receipt(self, at_s: float, execution: str, service: str = "http") -> None:
        self.arrived.append({"service": service, "execution": execution, "boottime_ns": int((1000 + at_s) * 1e9)})

    def conclusion(self, row: str = "all_held", reason: str = "every check held", **more: Any) -> Conclusion:
        self.folder.journals.mkdir(parents=True, exist_ok=True)
        for path, lines in ((self.folder.link_log, self.light), (self.folder.receipts, self.arrived)):
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return super().conclusion(row, reason, **more)


def made(root: Path, word: str = "offline", service: str = "http", back: bool = True) -> MadeLinkRun:
    """recovery-1 is narrow from 2 s to 40 s; recovery-2 offline from 60 to 70 and from 80 to 90 s."""
    run = MadeLinkRun(root)
    run.begin("recovery-1")
    run.link_began(2, "recovery-1", NARROW, during=DURING)
    run.on("recovery-1", "bandwidth", "53.6/26.8 kbit/s, 500 ms (down/up)", 2, 40)
    run.probe("recovery-1", 2, 40, rtt_ms=1040)
    run.stage("recovery-1", "send", 3, 39)
    run.receipt(20, "recovery-1", service)
    run.link_lifted(41, "recovery-1")
    run.end(42, "recovery-1")
    run.begin("recovery-2", 50)
    run.link_began(51, "recovery-2", AWAY)
    name = "recovery-2.offline-1"
    run.guard(52, "armed", program=name, fault="offline", holder="ada", renew_s=60.0, cap_s=900.0, undo=[])
    for number, (at_s, on) in enumerate(((60, True), (70, False), (80, True))):
        said = word if on else "as before"
        run.guard(at_s, "step", program=name, number=number, at_s=at_s - 50.0, word=said, on=on, took_s=0.1, failed=[])
    if back:
        run.guard(90, "reverting", program=name, why="asked")
        run.guard(90, "reverted", program=name, why="asked", took_s=0.1, tries=1)
    run.stage("recovery-2", "send", 55, 89)
    run.probe("recovery-2", 52, 100, came=lambda at_s: not (60 <= at_s < 70 or 80 <= at_s < 90))
    run.receipt(55, "recovery-2", service)
    run.receipt(75, "recovery-2", "mqtt")
    run.link_lifted(101, "recovery-2")
    run.end(102, "recovery-2")
    run.end(105)
    return run


def courses(run: MadeLinkRun) -> list[LinkCourse]:
    evidence = run.conclusion().evidence
    return link_courses(evidence, Timeline(evidence))


def section(text: str) -> str:
    """What FINAL_REPORT.md says of the data link."""
    return text.partition("#### The data link")[2].partition("\n### ")[0]


@pytest.fixture
def run(tmp_path: Path) -> MadeLinkRun:
    return made(tmp_path)


# ---- what is known --------------------------------------------------------------------------------------------------------


def test_windows_are_placed_on_the_runs_own_clock(run: MadeLinkRun) -> None:
    """The guard wrote on the device's boot-time clock; each time that it was on, from then to then, and why it came off."""
    narrow, away = courses(run)
    assert [(w.began_s, w.ended_s, w.ended_by) for w in narrow.windows] == [(2.0, 40.0, "reverted: asked")]
    assert [(w.began_s, w.ended_s, w.ended_by) for w in away.windows] == [(60.0, 70.0, "as before"), (80.0, 90.0, "reverted: asked")]
    assert away.on_s("recovery-2.offline-1") == 20.0


def test_what_the_power_took_was_on_until_then(tmp_path: Path) -> None:
    """A boot that ends takes everything with it; the guard of the next one says so later."""
    run = MadeLinkRun(tmp_path)
    run.begin("recovery-1")
    run.link_began(2, "recovery-1", AWAY)
    run.on("recovery-1", "offline", "offline", 5, None)
    run.cut(8, "recovery-1", "send", back_s=9)
    run.guard(12, "reverting", program="recovery-1.offline-1", why="another boot")
    run.guard(12, "reverted", program="recovery-1.offline-1", why="another boot", took_s=0.1, tries=1)
    run.end(20)
    (course,) = courses(run)
    assert [(w.began_s, w.ended_s, w.ended_by) for w in course.windows] == [(5.0, 8.0, "the power went")]


def test_packets_that_never_came_are_known_by_their_numbers(run: MadeLinkRun) -> None:
    """Twenty seconds of two packets each are missing; the rest came."""
    _, away = courses(run)
    assert (away.sent, away.came) == (96, 56)
    trips, losses = away.series()
    assert (trips.unit, trips.highest, len(trips.stretches)) == ("ms", 5.0, 3)
    assert (losses.lowest, losses.highest) == (0.0, 100.0)


def test_receipts_are_counted_by_service_and_by_whether_anything_should_pass(tmp_path: Path) -> None:
    """One that arrived in the middle of an outage is the far end's word against the guard's."""
    run = made(tmp_path)
    run.receipt(65, "recovery-2", "mqtt")
    _, away = courses(run)
    assert away.services == {"http": (1, 0), "mqtt": (2, 1)}


def test_asked_and_measured_are_numbers_where_they_can_be_drawn(run: MadeLinkRun) -> None:
    """Rates, losses and the round trip, each with the tolerance that the judge has; an outage has no such numbers."""
    narrow, away = courses(run)
    found = {one.what: (one.low, one.measured, one.within) for one in narrow.figures}
    assert found["rate up"] == (26.8, 26.1, True)
    assert found["round trip"] == (1000.0, 1040.0, True)
    assert found["loss down"] == (0.0, 0.0, True)
    assert narrow.figures[0].tolerance == (21.44, 32.16)
    assert away.figures == []


def test_a_traces_range_is_asked_and_a_duty_cycle_taken_off() -> None:
    """Two ends of a trace; a tenth of the time is a tenth of the rate."""
    asked = {"up": {"rate_kbit_s": 10, "duty_cycle_percent": 10}, "down": {"trace": [{"delay_ms": 16}, {"delay_ms": 70}]}}
    row = {"tolerance": "", "within": True}
    rows = [{**row, "what": what} for what in ("rate up", "round trip")]
    rate, trip = figures([{"fault": "bandwidth", **asked}], {"up": {"rate_kbit_s": 1.0}}, rows)
    assert (rate.low, rate.high) == (1.0, 1.0)
    assert (trip.low, trip.high, trip.measured) == (16.0, 70.0, None)


# ---- FINAL_REPORT.md ------------------------------------------------------------------------------------------------------


def test_the_report_says_what_was_on_when_and_what_was_measured(run: MadeLinkRun) -> None:
    """In 4.2, execution by execution: windows, means, asked and measured, what arrived; and whose the chance was."""
    text = final_report.files(run.conclusion())["FINAL_REPORT.md"]
    assert text.index("### 4.2 Reliability") < text.index("#### The data link") < text.index("### 4.3 Performance")
    said = section(text)
    assert "| `recovery-2.offline-1` | offline | 60.0 | 70.0 | as before |" in said
    assert "`recovery-1.bandwidth-1` by netem, ifb" in said
    assert "| rate up | 26.8 kbit/s | 26.1 kbit/s | 21.44 to 32.16 | yes |" in said
    assert re.search(r"recovery-2\.offline-1, while it was on \| nothing passes \| \d+ of \d+ lost, 100 %", said)
    assert "Only the timeline follows the seed" in said
    assert "| mqtt | 1 | 0 |" in said


@pytest.mark.parametrize("ours", [True, False])
def test_a_report_says_which_shaper_it_was_and_whose_its_chance(tmp_path: Path, ours: bool) -> None:
    """Packet for packet only where it was our own."""
    run = MadeLinkRun(tmp_path)
    run.begin("recovery-1")
    run.link_began(2, "recovery-1", NARROW, ours=ours)
    run.end(20)
    said = section(final_report.files(run.conclusion())["FINAL_REPORT.md"])
    assert ("`recovery-1.bandwidth-1` by our own shaper (nft, tun)" in said) == ours
    assert ("What our own shaper did follows the seed packet for packet" in said) == ours
    assert ("Only the timeline follows the seed" in said) != ours


def test_where_there_was_another_shaper_too_our_own_is_named() -> None:
    """What is no shaper's chance, an offline link, is nobody's."""
    ours, others, silent = ({"name": name, "shaper": name} for name in ("ours", "netem", ""))
    course = cast(LinkCourse, SimpleNamespace(programs=[ours, others, silent]))
    assert chance([course]).startswith("Only the timeline") and "(ours) follows the seed packet for packet" in chance([course])
    assert chance([cast(LinkCourse, SimpleNamespace(programs=[ours, silent]))]).startswith("What our own shaper did follows")


def test_a_fault_that_was_not_reached_says_no(tmp_path: Path) -> None:
    """The rate is that of an open link: the row says so, in words."""
    run = MadeLinkRun(tmp_path)
    run.begin("recovery-1")
    run.link_began(2, "recovery-1", NARROW, during={**DURING, "up": {**GOOD, "rate_kbit_s": 900.0}})
    run.end(20)
    said = section(final_report.files(run.conclusion())["FINAL_REPORT.md"])
    assert "| rate up | 26.8 kbit/s | 900 kbit/s | 21.44 to 32.16 | **no** |" in said


def test_no_section_of_the_format_is_added(run: MadeLinkRun) -> None:
    """Headings of the second and third depth are the format's; the link's are deeper."""
    plain = final_report.files(MadeRun(run.folder.root.parent.parent / "plain").conclusion())["FINAL_REPORT.md"]
    text = final_report.files(run.conclusion())["FINAL_REPORT.md"]
    assert re.findall(r"^#{2,3} .+$", text, re.MULTILINE) == re.findall(r"^#{2,3} .+$", plain, re.MULTILINE)


# ---- report.html ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(run: MadeLinkRun) -> Page:
    return Page(html.files(run.conclusion())["report.html"])


def test_every_fault_is_a_band_that_says_what_it_is(page: Page) -> None:
    """A title on each, its word inside where there is room; never colour alone."""
    bands = page.all("rect", **{"class": "fault-on"})
    assert len(bands) == 3
    notes = [page.said[child] for band in bands for child in page.all("title", inside=band)]
    assert "offline, 60.00 s to 70.00 s; then: as before" in notes
    first = page.all("svg", **{"class": "fault-word"})[0]
    assert page.said[first] == "53.6/26.8 kbit/s, 500 ms (down/up)"


def test_the_links_lines_are_on_the_common_axis(page: Page) -> None:
    """Round trip and losses of both executions are series as all others, each with a number of its own and a table."""
    (timeline,) = page.all("div", **{"class": "timeline rows"})
    rows = page.all("div", inside=timeline, **{"class": "row series"})
    assert len({page.elements[row][1]["id"] for row in rows}) == len(rows) == 4
    names = " ".join(page.said[row] for row in rows)
    assert all(f"recovery-{number}: {what}" in names for number in (1, 2) for what in ("round trip", "packets lost"))
    assert len(page.all("line", inside=timeline, **{"class": "receipt"})) == 3


def test_asked_against_measured_is_a_chart_beside_a_table(page: Page) -> None:
    """Each chart says in words what it draws, and has a description; the figures stand in the table, too."""
    (link,) = page.all("section", id="link")
    charts = page.all("svg", inside=link, **{"class": "measure"})
    titles = [page.said[page.all("title", inside=chart)[0]] for chart in charts]
    assert "rate up: asked 26.8 kbit/s, tolerance 21.4 to 32.2, measured 26.1 kbit/s" in titles
    assert all(page.elements[chart][1]["role"] == "img" and page.all("desc", inside=chart) for chart in charts)
    assert any("26.1 kbit/s" in page.said[cell] for table in page.all("table", inside=link) for cell in page.all("td", inside=table))
    assert page.all("a", href="#link")


def test_a_figure_outside_of_its_tolerance_says_so_in_words(tmp_path: Path) -> None:
    """In the caption and in the title, beside the colour of failure."""
    run = MadeLinkRun(tmp_path)
    run.begin("recovery-1")
    run.link_began(2, "recovery-1", NARROW, during={**DURING, "up": {**GOOD, "rate_kbit_s": 900.0}})
    run.end(20)
    page = Page(html.files(run.conclusion())["report.html"])
    (over,) = page.all("rect", **{"class": "over"})
    assert "measured 900 kbit/s ✕ outside" in page.text
    assert "measured 900 kbit/s, which is outside" in page.text
    assert page.elements[over][1]["width"]


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    """What a guard's journal and a far end's log hold came from a device: nothing of it becomes markup, in any file."""
    run = made(tmp_path, word=HOSTILE, service=HOSTILE)
    conclusion = run.conclusion()
    page = Page(html.files(conclusion)["report.html"])
    assert not page.all("img") and len(page.all("script")) == 1
    text = section(final_report.files(conclusion)["FINAL_REPORT.md"])
    assert "<img" not in text and "&lt;img" in text
    for name, words in report.derived(conclusion).items():
        assert "\x1b" not in words and "\u202e" not in words, name


def test_a_page_of_thousands_of_windows_still_opens(tmp_path: Path) -> None:
    """A link that flaps for a day: bands are bounded, and the report says how many more there were."""
    run = MadeLinkRun(tmp_path)
    run.begin("recovery-1")
    run.link_began(2, "recovery-1", AWAY)
    for number in range(1500):
        run.on("recovery-1", "offline", "offline", 2 + number, 2.5 + number)
    run.end(1600)
    conclusion = run.conclusion()
    (course,) = link_courses(conclusion.evidence, Timeline(conclusion.evidence))
    drawn = "".join(link_page.rows(Axis(course.end_s), [course], 1))
    assert drawn.count("fault-on") == 1000
    assert "1460 more times" in section(final_report.files(conclusion)["FINAL_REPORT.md"])


# ---- the other files ------------------------------------------------------------------------------------------------------


def test_what_was_measured_is_json(run: MadeLinkRun) -> None:
    """Per execution: programs, round trips in seconds, the share that was lost, receipts, asked and measured."""
    found = json.loads(links.files(run.conclusion())["results/metrics/link.json"])
    narrow, away = found["executions"]["recovery-1"], found["executions"]["recovery-2"]
    assert narrow["stageflow_runner.link.rtt"]["p50"] == 1.04
    assert away["programs"]["recovery-2.offline-1"] == {"fault": "offline", "times_on": 2, "on_s": 20.0}
    assert away["light_packets"] == {"sent": 96, "came": 56}
    assert away["stageflow_runner.link.receipts"] == {"http": 1, "mqtt": 1}
    assert set(found["metrics"]) == {f"stageflow_runner.link.{name}" for name in ("rtt", "loss", "fault", "receipts")}


def test_the_guards_journal_can_be_read_as_lines(run: MadeLinkRun) -> None:
    """Record by record, in seconds of the run."""
    lines = events.files(run.conclusion())["results/logs/guard_events.txt"].splitlines()
    assert any(re.match(r" +60\.000 +\d+  step +\{.*\"on\": true", line) for line in lines)


def test_a_trace_has_the_link_in_threads_of_its_own(run: MadeLinkRun) -> None:
    """A span for each time that a fault was on, a counter of round trips, an instant for each receipt."""
    whole = traces.trace(run.conclusion().evidence, "recovery")
    spans = [(e["name"], e["ts"], e["dur"]) for e in whole["traceEvents"] if e.get("cat") == "link fault"]
    assert ("offline", 60_000_000, 10_000_000) in spans
    assert any(e["ph"] == "C" and e["name"] == "link round trip, ms" and e["args"]["value"] == 1040.0 for e in whole["traceEvents"])
    assert sum(e.get("cat") == "receipt" for e in whole["traceEvents"]) == 3


def test_the_link_is_exported_as_streams(run: MadeLinkRun) -> None:
    """Four metrics, each known to the table; a fault is 1 while it is on, receipts add up."""
    found = [stream for stream in streams_of(run.conclusion()) if ".link." in stream.metric_name]
    assert {stream.metric_name for stream in found} == {f"stageflow_runner.link.{name}" for name in ("rtt", "loss", "fault", "receipts")}
    (fault,) = [s for s in found if s.metric_name.endswith("fault") and s.attributes["stageflow_runner.execution"] == "recovery-2"]
    assert [point.value for point in fault.points()] == [1.0, 0.0, 1.0, 0.0]


def test_a_run_without_link_faults_has_nothing_of_it(tmp_path: Path) -> None:
    """No file, no section, no style, no thread: as it was before there were any. The negative control of all the above."""
    run = MadeRun(tmp_path)
    run.plan["executions"].append({"name": "recovery-1", "scenario": "recovery", **PLANNED})
    run.begin("recovery-1")
    run.stage("recovery-1", "ingest", 2, 3)
    run.end(4, "recovery-1")
    run.end(5)
    conclusion = run.conclusion()
    made_files = report.derived(conclusion)
    assert not [name for name in made_files if "link" in name and not name.startswith("tests/judge/")]
    assert set(metrics.files(conclusion)) <= set(made_files)
    for name in ("FINAL_REPORT.md", "report.html"):
        assert not re.search(r"data link|fault-on|id=\"link\"", made_files[name], re.IGNORECASE)
    assert not [stream for stream in streams_of(conclusion) if ".link." in stream.metric_name]


# ---- run verify -----------------------------------------------------------------------------------------------------------


def broken(run: MadeLinkRun, rule: str) -> list[tuple[str, str]] | None:
    (chosen,) = [each for each in RULES if each.name == rule]
    (held,) = verify(run.folder, "2026-01-31T12:00:00.000Z", [chosen])
    return None if held.problems is None else list(held.problems)


RULE_NAMES = ("guard_records", "guard_let_go", "far_end_lines", "faults_as_planned")


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_a_whole_run_breaks_no_rule(run: MadeLinkRun, rule: str) -> None:
    """The negative control of those below."""
    run.conclusion()
    assert broken(run, rule) == []


def test_a_guard_that_never_let_go_is_found(tmp_path: Path) -> None:
    """Something stays on at the end of the journal of a run that came to its end."""
    run = made(tmp_path, back=False)
    run.conclusion()
    ((said, where),) = broken(run, "guard_let_go") or []
    assert said == "recovery-2.offline-1 was armed, and nothing says that it was taken back"
    assert re.fullmatch(r"results/journal/device-guard\.journal#\d+", where)


def test_a_run_that_was_cut_short_may_lack_the_guards_end(tmp_path: Path) -> None:
    """Its coordinator was killed: the rest lies on the device."""
    run = made(tmp_path, back=False)
    run.journals["coordinator"].pop()
    run.conclusion()
    assert broken(run, "guard_let_go") == []


def test_a_step_that_nothing_armed_is_found(run: MadeLinkRun) -> None:
    """No undo was on the disk when it was carried out; even of a run that was cut short."""
    run.guard(95, "step", program="recovery-2.offline-1", number=9, at_s=45.0, word="offline", on=True, took_s=0.1, failed=[])
    run.conclusion()
    ((said, _),) = broken(run, "guard_let_go") or []
    assert said == "recovery-2.offline-1 was carried out, and nothing armed it before"


def test_a_record_without_what_it_must_say_is_found(run: MadeLinkRun) -> None:
    """Nothing is concluded from it, so nobody else would notice."""
    run.guard(95, "reverted", program=7)
    run.conclusion()
    ((said, _),) = broken(run, "guard_records") or []
    assert said == "this 'reverted' lacks what such a record says"


LINES = {"text": "garbage", "list": "[]", "shape": '{"who": 5}', "when it was is not said": '{"not_logged": 3}', "deep": "[" * 60_000}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@pytest.mark.parametrize("name", ["link.jsonl", "receipts.jsonl"])
def test_a_line_that_no_far_end_writes_is_found(run: MadeLinkRun, name: str, line: str) -> None:
    """With its number."""
    run.conclusion()
    path = run.folder.journals / name
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, *lines[1:], ""]))
    assert broken(run, "far_end_lines") == [("is no line that the far end writes", f"results/journal/{name}:2")]


def contradicted(run: MadeLinkRun) -> list[str]:
    """What the judge says of the plan and the guard's journal; `run verify` says the same."""
    found = [said for said, _ in faults_as_planned(run.folder, run.conclusion().evidence)]
    assert found == [said for said, _ in broken(run, "faults_as_planned") or []]
    return found


def without_links(run: MadeLinkRun) -> None:
    """As a forger would: no execution of the plan has a link fault."""
    for each in run.plan["executions"]:
        each["links"] = []


def test_link_faults_that_were_taken_out_of_the_plan_are_found(run: MadeLinkRun) -> None:
    """The guard's journal shows them on, and the coordinator that they began."""
    assert contradicted(run) == []
    without_links(run)
    began = [f"{name}: link faults began, and none was planned" for name in ("recovery-1", "recovery-2")]
    armed = [f"{name} is in the guard's journal, and was never planned" for name in ("recovery-1.bandwidth-1", "recovery-2.offline-1")]
    assert contradicted(run) == began + armed


def test_either_journal_shows_link_faults_that_nobody_planned(tmp_path: Path) -> None:
    """The guard's alone, or the coordinator's alone."""
    of_guard = MadeLinkRun(tmp_path / "guard")
    of_guard.begin("recovery-1")
    of_guard.on("recovery-1", "offline", "offline", 5, 8)
    of_guard.end(20)
    assert contradicted(of_guard) == ["recovery-1.offline-1 is in the guard's journal, and was never planned"]
    noted = MadeLinkRun(tmp_path / "coordinator")
    noted.begin("recovery-1")
    noted.link_began(2, "recovery-1", AWAY)
    noted.end(20)
    without_links(noted)
    assert contradicted(noted) == ["recovery-1: link faults began, and none was planned"]


@pytest.mark.parametrize("name", ["recovery-1-again", "recovery-1-again-again", "recovery-extra1-1"])
def test_link_faults_of_executions_that_came_later_were_planned_too(name: str, tmp_path: Path) -> None:
    """One in place of another has that one's; an extra one has what its own note says."""
    run = MadeLinkRun(tmp_path)
    run.begin("recovery-1")
    run.link_began(2, "recovery-1", AWAY)
    run.note(3, "link_began", execution=name, who=run.who(name), programs=[], before=BEFORE)
    plan = {"links": [AWAY]} if "extra" in name else {}
    run.note(3, "execution_began", execution=name, scenario="recovery", plan=plan)
    run.on(name, "offline", "offline", 5, 8)
    run.end(20)
    assert contradicted(run) == []


@pytest.mark.parametrize("records", [{"run": "another"}, {}, None], ids=["another's", "nobody's", "no beginning"])
def test_another_runs_guard_is_found(run: MadeLinkRun, records: dict[str, Any] | None) -> None:
    """Its journal begins with the token of the run that it is of."""
    written = journal.read(journal.FILE_HEADER + b"".join(run.journals["guard"]))
    kept = [(record.kind, record.payload) for record in written]
    run.journals["guard"] = []
    for kind, payload in kept[1:] if records is None else [("began", {"stages": [], "holds": [], **records}), *kept[1:]]:
        run._write("guard", run.boot_id, 5.0, kind, payload)  # without a beginning of its own
    assert contradicted(run) == ["the guard's journal is another run's"]


def test_a_program_that_was_armed_as_another_fault_is_found(tmp_path: Path) -> None:
    """Its name says which of the plan's faults it is. What somebody else's fault calls itself is its own affair."""
    run = MadeLinkRun(tmp_path)
    run.begin("recovery-1")
    run.plan["executions"].append({"name": "recovery-1", **PLANNED, "scenario": "recovery", "links": [AWAY, FOG]})
    for name in ("recovery-1.offline-1", "recovery-1.fog-1"):
        run.guard(5, "armed", program=name, fault="bandwidth", holder="ada", renew_s=60.0, cap_s=900.0, undo=[])
    run.end(20)
    assert contradicted(run) == ["recovery-1.offline-1 was armed as bandwidth, and is offline"]


def rewrite(run: MadeLinkRun, kind: str, changes: dict[str, Any]) -> None:
    """Each note of this kind says something else."""
    written = journal.read(journal.FILE_HEADER + b"".join(run.journals["coordinator"]))
    run.journals["coordinator"] = []
    for record in written:
        payload = {**record.payload, **changes} if record.kind == kind else record.payload
        run._write("coordinator", record.boot_id, record.boottime_ns / 1e9, record.kind, payload)


def test_a_step_of_what_nobody_armed_contradicts_the_evidence(tmp_path: Path) -> None:
    """Without its arming nothing says which fault it was."""
    run = MadeLinkRun(tmp_path)
    run.begin("recovery-1")
    run.link_began(2, "recovery-1", AWAY)
    run.guard(5, "step", program="recovery-1.offline-1", number=0, at_s=0.0, word="offline", on=True, took_s=0.1, failed=[])
    run.end(20)
    assert contradicted(run) == ["recovery-1.offline-1 was carried out, and nothing armed it before"]


def test_a_step_behind_a_revert_contradicts_the_evidence(run: MadeLinkRun) -> None:
    """Armed once, and taken back: what is carried out then has no undo, and leaves no verdict either."""
    run.guard(95, "step", program="recovery-2.offline-1", number=9, at_s=45.0, word="offline", on=True, took_s=0.1, failed=[])
    assert contradicted(run) == ["recovery-2.offline-1 was carried out, and nothing armed it before"]


UP = {"up": GOOD, "down": GOOD}
FORGED: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing was measured": ("link_lifted", {"after": {}}),
    "one way": ("link_lifted", {"after": {"up": GOOD}}),
    "a way that is a word": ("link_began", {"before": {**UP, "down": "x"}}),
    "programs that are words": ("link_began", {"programs": ["x"]}),
    "needs that are a number": ("link_began", {"programs": [{"name": "x", "needs": 5}]}),
    "a plan that is a word": ("execution_began", {"plan": "x"}),
    "faults that are words": ("execution_began", {"plan": {"links": ["x"]}}),
    "a fault without a name": ("execution_began", {"plan": {"links": [{"fault": 5}]}}),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_note_of_a_link_that_nobody_can_judge_is_named(run: MadeLinkRun, name: str) -> None:
    """By file and record, as every note that lacks something; it is no bug of ours."""
    kind, changes = FORGED[name]
    rewrite(run, kind, changes)
    with pytest.raises(AskError, match=f"a note of kind {kind} says nothing that can be judged of a link") as told:
        run.conclusion()
    assert "coordinator.journal#" in str(told.value)


@pytest.mark.parametrize("figure", ["many", 2.0**80, {"rate_kbit_s": 26.0}])
@pytest.mark.parametrize("kind", ["link_began", "link_proof", "link_lifted"])
def test_what_is_no_number_was_not_measured(run: MadeLinkRun, kind: str, figure: Any) -> None:
    """Of whatever kind it is: the rows say so, and nothing breaks on it."""
    way = {**dict.fromkeys(("sent", "received", "duplicates", "reordered", "rate_kbit_s", "offered_kbit_s"), figure), "longer": figure}
    both: dict[str, Any] = {**way, "bursts": {"x": 1, "1": figure, "2": 3}}
    forged: dict[str, Any] = {"up": both, "down": both}
    forged |= dict.fromkeys(("echoes", "rtt_min_ms", "rtt_p50_ms", "rtt_p95_ms", "probe_bytes"), figure)
    key = {"link_began": "before", "link_proof": "during", "link_lifted": "after"}[kind]
    rewrite(run, kind, {key: forged})
    conclusion = run.conclusion()
    assert final_report.files(conclusion) and html.files(conclusion) and links.files(conclusion)
    said = [row["measured"] for course in courses(run) for row in course.rows if not row["within"]]
    assert any(measured.startswith("not measured") for measured in said)


BURST = {"p_percent": 5.0, "r_percent": 50.0}


@pytest.mark.parametrize(
    "way",
    [
        None, {"rate_kbit_s": 0}, {"rate_kbit_s": "x"}, {"loss_percent": 101}, {"duty_cycle_percent": 0}, {"trace": 5}, {"trace": [5]},
        {"trace": [{"rate_kbit_s": 0}]}, {"burst": 5}, {"burst": {**BURST, "r_percent": 0}}, {"burst": {"p_percent": 5.0}},
        {"loss_percent": 1e-300},
    ],
)  # fmt: skip
def test_faults_of_a_plan_that_nobody_can_judge_are_named(run: MadeLinkRun, way: Any) -> None:
    """What no profile may ask is no plan of ours."""
    run.plan["executions"][0]["links"] = [{**NARROW, "up": {"burst": BURST, "trace": [{"delay_ms": 5.0}]}}]
    run.conclusion()
    run.plan["executions"][0]["links"] = [{**NARROW, "up": way}]
    with pytest.raises(AskError, match="link faults that nobody can judge"):
        run.conclusion()


def test_half_a_line_is_found_in_a_run_that_ended(run: MadeLinkRun) -> None:
    """A killed far end may leave one; one that was ended does not."""
    run.conclusion()
    with run.folder.receipts.open("a") as file:
        file.write('{"service": "ht')
    ((said, _),) = broken(run, "far_end_lines") or []
    assert said == "ends in the middle of a line"
    run.journals["coordinator"].pop()
    conclusion = run.conclusion()
    with run.folder.receipts.open("a") as file:
        file.write('{"service": "ht')
    assert conclusion and broken(run, "far_end_lines") == []


def test_what_was_not_logged_is_a_line_of_the_far_end(run: MadeLinkRun) -> None:
    """It says itself how many packets it had no room for."""
    run.conclusion()
    with run.folder.link_log.open("a") as file:
        file.write(json.dumps({"not_logged": 12, "received_ns": 5}) + "\n")
    assert broken(run, "far_end_lines") == []


def test_the_rules_do_not_apply_to_a_run_without_a_guard(tmp_path: Path) -> None:
    """Nor is it said that they hold."""
    run = MadeRun(tmp_path)
    run.begin("recovery-1")
    run.end(2)
    run.conclusion()
    assert [broken(run, rule) for rule in RULE_NAMES] == [None] * len(RULE_NAMES)  # type: ignore[arg-type]
