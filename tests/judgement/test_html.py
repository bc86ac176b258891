"""report.html: what it shows is what the evidence says, it fetches nothing, and no device can write into it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from runner.judgement.conclude import Conclusion, conclude, cut_rows
from runner.judgement.judge import CheckResult
from runner.judgement.report import html
from runner.judgement.report.charts import MAX_STAGE_ROWS
from runner.judgement.report.markup import MAX_ROWS, shown
from runner.lab.folder import RunFolder
from runner.model.finding import Finding
from tests.judgement.made_run import GENERATED_AT, MadeRun

HOSTILE = "</script></style><img src=x onerror=alert(1)>\x1b[31m\u202e\x00\n<h2>'\"&amp;"
VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """A page as elements: each with its attributes, and the text that stands in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.said: dict[int, str] = {}
        self.parents: list[int | None] = []
        self._open: list[int] = []
        self.feed(text)
        assert self._open == [], "an element was never closed"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        self.parents.append(self._open[-1] if self._open else None)
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for index in self._open:
            self.said[index] = self.said.get(index, "") + data

    def all(self, tag: str = "", inside: int | None = None, **wanted: str) -> list[int]:
        """Numbers of the elements of a kind, with these attributes, inside of another."""
        return [
            index
            for index, (name, has) in enumerate(self.elements)
            if tag in ("", name) and all(has.get(key) == value for key, value in wanted.items()) and self._inside(index, inside)
        ]

    def _inside(self, index: int | None, outer: int | None) -> bool:
        while index is not None and outer is not None and index != outer:
            index = self.parents[index]
        return outer is None or index is not None

    def attributes(self, name: str) -> list[str]:
        return [has[name] for _, has in self.elements if name in has]

    def rows(self, table: int) -> list[list[str]]:
        """The cells of a table's body."""
        (body,) = self.all("tbody", inside=table)
        return [[self.said.get(i, "") for i in self.all(inside=row) if self.elements[i][0] in ("th", "td")] for row in self.all("tr", body)]


def page(conclusion: Conclusion) -> Page:
    return Page(html.files(conclusion)["report.html"])


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    """Forty seconds with two cuts: one kills a stage, of the other's victim only the witness knows."""
    made = MadeRun(tmp_path)
    made.begin("recovery-1")
    for second in range(2, 10):
        made.sample(second, "recovery-1", {"system.memory.usage{system.memory.state=used}": 2**20 * second})
    made.stage("recovery-1", "ingest", 3.0, 5.0)
    made.stage("recovery-1", "train", 6.0, None)
    made.cut(10.0, "recovery-1", "train", back_s=10.5, replay=("ingest",))
    made.stage("recovery-1", "train", 14.0, 16.0)
    made.witness(17.0, "recovery-1", "seal")
    made.cut(20.0, "recovery-1", "seal", back_s=20.5, replay=("ingest", "train"), host_wait_s=0.0)
    made.stage("recovery-1", "seal", 24.0, 26.0)
    made.end(30.0, "recovery-1")
    made.end(40.0)
    return made


def check(scenario: str = "recovery", problems: tuple[tuple[str, str], ...] = ()) -> CheckResult:
    return CheckResult(scenario, "state_equal", "correctness", "The state equals.", "critical", "must_hold", problems)


def finding(words: str = "it was lost", where: str = "results/journal/coordinator.journal#1") -> Finding:
    return Finding.model_validate(
        {
            "id": "EDGE-002-REL-001",
            "type": "reliability",
            "severity": "critical",
            "title": words,
            "description": words,
            "created_at": "2026-01-31T11:00:00.000Z",
            "evidence": [where],
            "fingerprint": "a1b2",
            "reproduction": {"steps": ["runner exec EDGE-002 --seed 1", words], "frequency": "always"},
            "impact": {"data_risk": "high"},
            "recommendation": {"summary": f"do not: {words}"},
        }
    )


# ---- by itself ----------------------------------------------------------------------------------------------


def test_the_page_fetches_nothing(run: MadeRun) -> None:
    """Every reference stays in the page and meets an id there; the policy forbids the rest, and inline code but its own two."""
    found = page(run.conclusion(findings=[finding()], results=[check()]))
    ids = found.attributes("id")
    assert len(ids) == len(set(ids))
    for name in ("href", "aria-labelledby", "for"):
        assert {value.removeprefix("#") for value in found.attributes(name)} <= set(ids)
    assert all(value.startswith("#") for value in found.attributes("href"))
    assert not found.attributes("src") and not found.attributes("style")
    assert not [name for _, has in found.elements for name in has if name.startswith("on")]
    assert "http:" not in found.text and "https:" not in found.text and "@import" not in found.text
    assert set(re.findall(r"url\((.)", found.text)) == {"#"}
    (policy,) = [has["content"] for _, has in found.elements if has.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for name in ("style", "script"):
        (index,) = found.all(name)
        digest = base64.b64encode(hashlib.sha256(found.said[index].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


def test_the_same_conclusion_gives_the_same_bytes(run: MadeRun) -> None:
    """Whenever it is made: the time of generation stands in FINAL_REPORT.md alone."""
    conclusion = run.conclusion()
    text = html.files(conclusion)["report.html"]
    assert text == html.files(run.conclusion())["report.html"]
    conclusion.generated_at = "2026-02-01T00:00:00.000Z"
    assert html.files(conclusion)["report.html"] == text


def test_it_can_be_read_by_keyboard_and_screen_reader(run: MadeRun) -> None:
    """Landmarks, headings without a leap, headers with a scope, pictures with a title, a skip link, colours by radio buttons."""
    found = page(run.conclusion(findings=[finding()], results=[check()]))
    levels = [int(name[1]) for name, _ in found.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(len(found.all(name)) == 1 for name in ("header", "nav", "main", "footer"))
    assert found.elements[0] == ("html", {"lang": "en"})
    assert all(found.elements[index][1].get("scope") for index in found.all("th"))
    assert all(len(found.all("caption", inside=table)) == 1 for table in found.all("table"))
    for picture in found.all("svg"):
        has = found.elements[picture][1]
        nested = found.elements[found.parents[picture] or 0][0] == "svg"
        assert nested or has.get("aria-hidden") == "true" or (has.get("role") == "img" and found.all("title", inside=picture))
    assert found.elements[found.all("a")[0]][1] == {"href": "#summary", "class": "skip"}
    assert [found.elements[index][1]["value"] for index in found.all("input", type="radio")] == ["auto", "light", "dark"]
    assert {f":has(#theme-{name}:checked)" in found.text for name in ("light", "dark")} == {True}
    assert all(found.elements[i][1].get("tabindex") == "0" for i in found.all("div", role="region"))


# ---- what it shows ------------------------------------------------------------------------------------------


def test_every_cut_is_marked_in_every_plot(run: MadeRun) -> None:
    """Each at its moment, and every plot draws the same lines; the table of cuts has the same holds."""
    found = page(run.conclusion())
    (cuts,) = found.all("g", id="cuts")
    lines = [found.elements[index][1] for index in found.all("line", inside=cuts)]
    assert [(line["data-cut"], line["x1"]) for line in lines] == [("recovery-1/1", "25%"), ("recovery-1/2", "50%")]
    plots = [index for index in found.all("svg", role="img") if found.elements[index][1]["class"] == "plot"]
    assert len(plots) == 2 + 1 + 4  # power and telemetry, one series, the execution and three stages
    assert all(len(found.all("use", inside=plot, href="#cuts")) == 1 for plot in plots)


def test_the_table_of_cuts_says_what_each_cost(run: MadeRun) -> None:
    """Where, what was lost, the clocks and the host's wait; its last cell leads to the record."""
    found = page(run.conclusion())
    (table,) = found.all("table", id="cuts-table")
    cells = ["random", "2", "0", "no", "yes", "1.00", "0.50"]
    assert found.rows(table) == [
        ["recovery-1/1", "1", "train", *cells, "0.10", "2.50", "0.10", "#5"],
        ["recovery-1/2", "2", "seal", *cells, "0.00", "2.50", "0.00", "#7"],
    ]
    links = [found.elements[index][1]["href"] for index in found.all("a", inside=table)]
    assert links == ["#cut-1", "#cut-2"]
    (quoted,) = found.all(id="cut-2")
    assert '"hold": "recovery-1/2"' in found.said[quoted]


def test_stages_are_shown_across_restarts(run: MadeRun) -> None:
    """Killed bodies end with their cut, one that only the witness saw is there too, and replays are marked."""
    found = page(run.conclusion())
    bars = {found.elements[i][1].get("class"): found.elements[i][1] for i in found.all("rect") if "x" in found.elements[i][1]}
    assert (bars["body killed"]["x"], bars["body killed"]["width"]) == ("15%", "10%")
    assert (bars["body lost"]["x"], bars["body lost"]["width"]) == ("42.5%", "7.5%")
    titles = [found.said[index] for index in found.all("title")]
    assert "train: replayed, not run again" in titles
    assert "seal, life 1: killed by the cut at recovery-1/2, known from the witness alone, 17.00 s to 20.00 s" in titles
    assert "ingest in recovery-1: began 1 times, finished: ok; replayed 2 times" in titles


def test_checks_findings_and_how_to_repeat(run: MadeRun) -> None:
    """A failed check says what it found; a finding quotes its evidence; the commands are there as they are typed."""
    results = [check(), check(problems=(("lost", "x#1"), ("again", "x#2")))]
    conclusion = run.conclusion("must_hold_failed_badly", "1 of 2 checks failed", results=results, findings=[finding()])
    found = page(conclusion)
    tables = [found.rows(i) for i in found.all("table") if found.said[found.all("caption", inside=i)[0]].startswith("Checks of recovery")]
    assert [row[1] for row in tables[0]] == ["✓ held", "✕ failed: lost (+1)"]
    (article,) = found.all("article")
    for words in ("it was lost", '"run_began"', "runner exec EDGE-002 --seed 1", "always", "high", "do not: it was lost", "a1b2"):
        assert words in found.said[article]
    typed = [found.said[index] for index in found.all("pre")]
    assert "cd runs/EDGE-002/run-2026-01-31-001\npip install -r requirements.txt\npytest tests/ -v" in typed
    assert {"runner report EDGE-002/run-2026-01-31-001", run.plan["command"]} <= set(typed)
    (outcome,) = found.all("p", **{"class": "outcome must_hold_failed_badly"})
    assert found.said[outcome] == "✕ FAIL1 of 2 checks failed"


# ---- what may go wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("records", [0, 1, 3])
def test_a_run_that_was_cut_short_has_a_page(tmp_path: Path, records: int) -> None:
    """Blocked before anything, or killed at once: the reason is said, no verdict is, and nothing is invented."""
    made = MadeRun(tmp_path)
    made.begin("baseline-1", scenario="baseline")
    made.journals["coordinator"] = made.journals["coordinator"][:records]
    found = page(made.conclusion("lab", "pi-04 did not answer within 60 s"))
    (main,) = found.all("main")
    for words in ("no verdict (blocked)", "pi-04 did not answer within 60 s", "never: the coordinator was killed", "No cut was made."):
        assert words in found.said[main]
    assert "PASS" not in found.said[main] and "FAIL" not in found.said[main]
    assert "slowdownnot measured" in found.said[main] and "times as slow" not in found.said[main]


def test_nothing_that_a_device_wrote_becomes_markup(run: MadeRun) -> None:
    """Hostile scenarios, stages, metrics, endings, findings, environment and reason are words and nothing else."""
    run.begin("x-1", 26.5, HOSTILE)
    run.stage("recovery-1", HOSTILE, 27.0, None)
    run.witness(28.0, "recovery-1", HOSTILE + "!")
    run.sample(28.5, "recovery-1", {HOSTILE: 1.0, "a": "<b>", "b": 10**400, "c": None, "d": [HOSTILE], "e": True})
    run.environment = {HOSTILE: {HOSTILE: HOSTILE}, "os": [HOSTILE], "cpu": {"x": {"y": HOSTILE}}}
    run.plan["type"]["title"] = HOSTILE
    problems = ((HOSTILE, HOSTILE),)
    found = page(run.conclusion("lab", HOSTILE, results=[check(problems=problems)], findings=[finding(HOSTILE, HOSTILE)]))
    assert not found.all("img") and len(found.all("script")) == len(found.all("style")) == 1
    assert all(character.isprintable() or character == "\n" for character in found.text)
    assert "&lt;img src=x onerror=alert(1)&gt;" in found.text
    assert any(HOSTILE[:40] in found.said[index] for index in found.all("title"))


def test_a_page_opens_whatever_was_written(tmp_path: Path) -> None:
    """Thousands of stages, of metric names and of samples: tables and plots are bounded and say what they leave out."""
    made = MadeRun(tmp_path)
    made.begin("recovery-1")
    made.sample(2.0, "recovery-1", {f"{number} {'x' * 100}": 1.0 for number in range(3000)})
    for number in range(3 * MAX_ROWS):
        made.stage("recovery-1", f"stage {number} {'y' * 1000}", 3.0 + number / 1000, None)
    for second in range(3000):
        made.sample(10.0 + second, "recovery-1", {"hw.temperature{hw.id=0}": second % 7})
    made.end(4000.0)
    text = html.files(made.conclusion())["report.html"]
    assert len(text) < 2_000_000
    assert f"{2 * MAX_ROWS} more rows are in the journals." in text
    assert "2961 more series are in the journals." in text


@pytest.mark.real
def test_a_real_run_is_shown_as_it_was(real_run: RunFolder) -> None:
    """All cells of all cuts and checks, by the conclusion's own figures; every stage of every execution has its row."""
    conclusion = conclude(real_run, GENERATED_AT)
    found = page(conclusion)
    (table,) = found.all("table", id="cuts-table")
    clocks = ("board_boot_s", "restored_s", "restored_host_wait_s", "running_again_s", "running_again_host_wait_s")
    keys = ("stage", "point", "writes_lost", "records_lost", "vacuous", "counted", *clocks)
    rows = cut_rows(conclusion.evidence)
    wanted = [[row["hold"], str(n), *(shown(row[key]) for key in keys)] for n, row in enumerate(rows, 1)]
    assert [row[: 2 + len(keys)] for row in found.rows(table)] == wanted and wanted
    hatched = [(row["hold"], row[f"{clock}_s"], row[f"{clock}_host_wait_s"]) for row in rows for clock in ("restored", "running_again")]
    assert all(f"{hold}: {took_s:.2f} s, of that {wait_s:.2f} s host wait" in found.text for hold, took_s, wait_s in hatched if wait_s)
    (cuts,) = found.all("g", id="cuts")
    assert [found.elements[i][1]["data-cut"] for i in found.all("line", inside=cuts)] == [row[0] for row in wanted]
    said = [row[1][0] for index in found.all("table") for row in found.rows(index) if row[1:] and row[1][:1] in ("✓", "✕")]
    assert said == ["✓" if result.held else "✕" for result in conclusion.results]
    stages = sum(len({line.stage for line in execution.witnessed}) for execution in conclusion.evidence.executions)
    assert len(found.all("div", **{"class": "row stage"})) == stages <= MAX_STAGE_ROWS
    assert "a process crash, never a power cut" in found.text
    assert html.files(conclusion)["report.html"] == found.text
