"""report.html: the whole run on one page that opens offline, with or without JavaScript, on paper too.

    summary     the verdict, its reason, the numbers that matter
    timeline    power, telemetry and stages on one axis, every cut marked     (over_time.py, charts.py, series.py, bodies.py)
    restarts    the three clocks and the table of cuts, each with the record that says so
    link        asked against measured, where there were link faults     (link_page.py, link_courses.py)
    checks      findings (quotes.py)      repeat      environment

Pure: the same conclusion gives the same bytes. Nothing is fetched: the policy in the page's head forbids it, and allows
the one style sheet and the one script by their hashes. Everything that came from a device is escaped (markup.py).
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files as package_files

from runner.errors import AskError
from runner.judgement.conclude import Conclusion, cut_rows, profile_of
from runner.judgement.evidence import Evidence
from runner.judgement.findings import command_again
from runner.judgement.judge import CheckResult
from runner.judgement.report import link_page
from runner.judgement.report.bodies import courses
from runner.judgement.report.charts import moment
from runner.judgement.report.link_courses import link_courses
from runner.judgement.report.markdown import NOT_MEASURED, verdict_words
from runner.judgement.report.markup import Child, Markup, commands, details, facts, join, table, tag
from runner.judgement.report.over_time import over_time, restarts
from runner.judgement.report.quotes import code, finding_article, plain
from runner.judgement.timeline import Timeline
from runner.lab.folder import read_json
from runner.model.outcome import SEVERITIES, failure_rate_bound

SECTIONS = ("Summary", "Timeline", "Restarts", "Checks", "Findings", "Repeat", "Environment")
LINK_SECTION = "Link"  # behind Restarts, where there were link faults
_SIGNS = {"PASS": "✓", "PASS_WITH_CONCERNS": "!", "NEEDS_WORK": "✕", "FAIL": "✕"}  # said beside the word, for who sees no colour


def files(conclusion: Conclusion) -> dict[str, str]:
    return {"report.html": _page(conclusion)}


def _page(conclusion: Conclusion) -> str:
    config = conclusion.evidence.config
    contents = _contents(conclusion)
    style, script = _asset("report.css"), _asset("report.js")
    if LINK_SECTION in contents:
        style = join(style, _asset("report-links.css"))
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    title = f"{config['roadmap_entry_id']} {config['roadmap_entry_title']}"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{verdict_words(conclusion)}: {title}, {conclusion.folder.run_id}"),
        tag("style", style),
    ]
    sections = [_section(name, content) for name, content in contents.items()]
    body = [
        tag("a", "Skip to the summary", href="#summary", class_="skip"),
        tag("header", tag("div", tag("p", _subtitle(conclusion), class_="over"), tag("h1", title)), _theme()),
        tag("nav", tag("ul", [tag("li", tag("a", name, href=f"#{name.lower()}")) for name in contents]), aria_label="Sections"),
        tag("main", sections),
        tag("footer", "Computed from the journals; no figure on this page was entered by hand."),
        tag("script", script),
    ]
    return f"<!DOCTYPE html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n"


@cache
def _asset(name: str) -> Markup:
    return Markup(package_files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _contents(conclusion: Conclusion) -> dict[str, Child]:
    """Each section and what stands in it, in order."""
    timeline = Timeline(conclusion.evidence)
    ran = courses(conclusion.evidence, timeline)
    rows = cut_rows(conclusion.evidence)
    on_the_link = link_courses(conclusion.evidence, timeline)
    found: list[Child] = [
        _summary(conclusion, timeline),
        over_time(conclusion.evidence, timeline, ran, rows, on_the_link)
        if conclusion.evidence.coordinator
        else tag("p", "The coordinator recorded nothing."),
        restarts(conclusion.evidence, ran, rows),
        _checks(conclusion),
        [finding_article(conclusion.evidence, finding) for finding in conclusion.findings] or tag("p", "None."),
        _repeat(conclusion),
        _environment(conclusion),
    ]
    sections = list(zip(SECTIONS, found, strict=True))
    if on_the_link:
        sections.insert(SECTIONS.index("Restarts") + 1, (LINK_SECTION, link_page.section(on_the_link, conclusion.evidence.plan["seed"])))
    return dict(sections)


def _section(name: str, content: Child) -> Markup:
    place = name.lower()
    return tag("section", tag("h2", name, id=f"{place}-title"), content, id=place, aria_labelledby=f"{place}-title")


def _theme() -> Markup:
    """Works without JavaScript: the style sheet looks at which one is chosen. The script only remembers it."""
    choices = [
        tag("label", tag("input", type="radio", name="theme", value=name, checked=name == "auto", id=f"theme-{name}"), tag("span", name))
        for name in ("auto", "light", "dark")
    ]
    return tag("fieldset", tag("legend", "Colours"), choices, class_="theme")


def _subtitle(conclusion: Conclusion) -> str:
    plan = conclusion.evidence.plan
    return f"{conclusion.folder.run_id} · {plan['device']} · Stageflow {conclusion.evidence.config['stageflow_version']}"


def _cut_words(evidence: Evidence) -> str:
    return "a power loss" if _power_loss(evidence) else "a process crash, never a power cut"


def _power_loss(evidence: Evidence) -> bool:
    return bool(evidence.plan["type"]["loss"] == "power_loss")


def _summary(conclusion: Conclusion, timeline: Timeline) -> Child:
    evidence, cuts = conclusion.evidence, conclusion.cuts
    verdict, results = conclusion.outcome.verdict, conclusion.results
    failed = sum(not result.held for result in results)
    required = [result for result in results if result.judge == "must_hold"]
    bound = failure_rate_bound(sum(not result.held for result in required), cuts["counted"]) if required else None
    others = len(evidence.cuts) - cuts["made"]
    aside = f"; {others} more only observed, or with damage done" if others else ""
    counts = {severity: sum(finding.severity == severity for finding in conclusion.findings) for severity in SEVERITIES}
    found = ", ".join(f"{number} {severity}" for severity, number in counts.items() if number)
    numbers: list[tuple[str, Child, str]] = [
        ("Cuts asked", cuts["asked"], f"a cut here is {_cut_words(evidence)}"),
        ("Cuts made", cuts["made"], f"{cuts['vacuous']} vacuous: they cost nothing{aside}"),
        ("Cuts counted", cuts["counted"], f"the entry's bar is {evidence.plan['cuts']['bar']}"),
        ("Failure rate", f"≤ {bound:.1%}" if bound else "–", "upper bound, 95 % sure" if bound else "no bound: a failure, or too few cuts"),
        ("Checks held", f"{len(results) - failed} of {len(results)}", f"{failed} failed" if results else "nothing was judged"),
        ("Findings", len(conclusion.findings), found or "none"),
    ]
    return [
        tag(
            "p",
            tag(
                "strong", tag("span", _SIGNS.get(verdict or "", "–"), aria_hidden="true"), " ", verdict_words(conclusion), class_="verdict"
            ),
            tag("span", conclusion.reason, class_="reason"),
            class_=f"outcome {conclusion.row}",
        ),
        tag("dl", [tag("div", tag("dt", n), tag("dd", v, class_="figure"), tag("dd", note)) for n, v, note in numbers], class_="numbers"),
        facts(
            [
                ("Device", f"{evidence.plan['device']}: {evidence.plan['type']['title']}"),
                ("Status", f"{conclusion.outcome.status}, exit code {conclusion.outcome.exit_code}"),
                ("Began", evidence.config["started_at"]),
                ("Ended", evidence.completed_at or "never: the coordinator was killed"),
                ("Took", moment(timeline.end_s) if evidence.coordinator else "–"),
                ("Made by", evidence.config["agent_model"]),
            ]
        ),
    ]


def _checks(conclusion: Conclusion) -> Child:
    if not conclusion.results:
        return tag("p", f"Nothing was judged: {conclusion.reason}.")
    scenarios = conclusion.evidence.plan["scenarios"]
    parts: list[Child] = []
    for scenario in dict.fromkeys(result.scenario for result in conclusion.results):
        planned = scenarios.get(scenario, {})
        head = ("check", "result", "severity", "judge", "category", "what it promises")
        mine = [result for result in conclusion.results if result.scenario == scenario]
        rows = [(r.check.replace("_", " "), _held(r), r.severity, r.judge.replace("_", " "), r.category, r.promise) for r in mine]
        said = {**planned, "profile": profile_of(planned)} if "profile" in planned else planned
        about = " · ".join(f"{key} {said[key]}" for key in ("pipeline", "profile", "durability") if key in said)
        parts += [tag("h3", scenario), table(f"Checks of {scenario}: {about}" if about else f"Checks of {scenario}", head, rows)]
    return parts


def _held(result: CheckResult) -> Markup:
    if result.held:
        return tag("span", "✓ held", class_="held")
    more = f" (+{len(result.problems) - 1})" if len(result.problems) > 1 else ""
    return join(tag("strong", "✕ failed", class_="not-held"), f": {result.problems[0][0]}{more}")


def _repeat(conclusion: Conclusion) -> Child:
    evidence, folder = conclusion.evidence, conclusion.folder
    here = f"{conclusion.evidence.plan['entry']}/{folder.run_id}"
    sealed = (evidence.note("sealed") or {}).get("files", {})
    seals = [(code(name), said["bytes"], code(said["sha256"])) for name, said in sealed.items()]
    return [
        tag("p", "Believe nothing here: judge the evidence again. It needs this folder, Python and pytest, and no device."),
        commands(f"cd runs/{here}", "pip install -r requirements.txt", "pytest tests/ -v"),
        tag("p", "Make every derived file again, this page too, from this folder alone:"),
        commands(f"runner report {here}"),
        tag("p", f"Make the same run once more, with the same cuts (seed {evidence.plan['seed']}):"),
        commands(command_again(evidence.plan)),
        details(
            f"{len(seals)} sealed pieces of evidence",
            table("What the evidence was when the run ended", ("file", "bytes", "SHA-256"), seals),
        ),
    ]


def _environment(conclusion: Conclusion) -> Child:
    evidence, proof = conclusion.evidence, conclusion.evidence.note("disk_proof")
    try:
        found = read_json(conclusion.folder.environment)
    except AskError:
        found = {}
    said = found if isinstance(found, dict) else {}
    flat = [(name, plain(value)) for name, value in said.items() if not isinstance(value, dict)]
    nested = [(name, value) for name, value in said.items() if isinstance(value, dict) and value]
    proven = [(key, str(value), str(proof["expected"].get(key))) for key, value in proof["found"].items()] if proof else []
    slowdown = evidence.slowdown
    slow = NOT_MEASURED if slowdown is None else f"{slowdown:g} times as slow as the coordinator's machine, by a fixed piece of work"
    return [
        facts([*flat, ("slowdown", slow)]),
        [tag("p", "Before the first cut the disk was proven to lose what is not flushed, and only that:")] if proof else None,
        table("Proof of the disk", ("proof", "found", "expected"), proven) if proof else None,
        [
            details(
                f"{name.replace('_', ' ')}: {len(value)}",
                table(name, ("name", "value"), [(key, plain(one)) for key, one in value.items()]),
            )
            for name, value in nested
        ],
    ]
