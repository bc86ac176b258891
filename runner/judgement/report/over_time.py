"""Two sections of the page: everything over time on one axis, and what each restart took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.judgement.checks import running_again_limit
from runner.judgement.evidence import Cut, Evidence
from runner.judgement.report import charts, link_page
from runner.judgement.report.bodies import Course
from runner.judgement.report.charts import moment
from runner.judgement.report.clocks import Bar, clock_panel
from runner.judgement.report.link_courses import LinkCourse
from runner.judgement.report.markup import MAX_ROWS, Child, Markup, details, table, tag
from runner.judgement.report.quotes import code, quote
from runner.judgement.report.series import telemetry
from runner.judgement.timeline import Timeline


def over_time(
    evidence: Evidence, timeline: Timeline, ran: list[Course], rows: list[dict[str, Any]], on_the_link: Sequence[LinkCourse] = ()
) -> Child:
    axis, power_loss = charts.Axis(timeline.end_s), bool(evidence.plan["type"]["loss"] == "power_loss")
    off_s = {change.hold: change.at_s for change in timeline.power if not change.on and change.hold}
    cuts = [(off_s[row["hold"]], row["hold"]) for row in rows if row["hold"] in off_s]
    found = telemetry(evidence, timeline)
    lines = [charts.series_row(number, one) for number, one in enumerate(found.series, start=1)]
    main, more = lines[: sum(one.known for one in found.series)], lines[sum(one.known for one in found.series) :]
    with_stages = sum(len(course.stages) for course in ran) <= charts.MAX_STAGE_ROWS
    return [
        tag("p", f"Seconds since the run began; device times are right to ± {timeline.error_s * 1000:,.1f} ms."),
        _legend(power_loss),
        charts.shared(axis, cuts),
        tag(
            "div",
            charts.axis_row(axis, cuts, numbers=True),
            charts.power_row(axis, timeline, rows, power_loss=power_loss),
            charts.sample_row(axis, found),
            main or tag("p", "No telemetry was sampled.", class_="note"),
            details(f"{len(more)} more series", tag("div", more, class_="rows")) if more else None,
            [tag("h3", "The data link"), list(link_page.rows(axis, on_the_link, len(lines) + 1))] if on_the_link else None,
            tag("h3", "Stages"),
            [charts.course_rows(axis, course, with_stages=with_stages) for course in ran] or tag("p", "No execution began.", class_="note"),
            charts.axis_row(axis, cuts, numbers=False),
            class_="timeline rows",
            data_end=f"{axis.end_s:.6g}",
        ),
        _body_table(ran),
        details("Power as a table", _power_table(timeline)),
        details("Telemetry as tables", [charts.series_table(axis, one) for one in found.series]) if found.series else None,
        _link_tables(axis, on_the_link),
        tag("p", f"{found.left_out} more series are in the journals.", class_="note") if found.left_out else None,
    ]


def _link_tables(axis: charts.Axis, on_the_link: Sequence[LinkCourse]) -> Markup | None:
    tables = [charts.series_table(axis, one) for course in on_the_link for one in course.series()]
    return details("The data link as tables", tables) if tables else None


def _legend(power_loss: bool) -> Markup:
    keys = (
        ("cut", "a cut"),
        ("on", "power on" if power_loss else "process runs"),
        ("boot", "board boot"),
        ("restore", "restoring"),
        ("resume", "until running again"),
        ("finished", "stage finished"),
        ("killed", "killed by a cut"),
        ("lost", "killed, its record lost: seen by the witness"),
        ("failed", "ended otherwise"),
    )
    swatch = [
        tag("li", tag("svg", tag("rect", width="100%", height="100%", class_=f"body {key}"), aria_hidden="true"), says)
        for key, says in keys
    ]
    return tag("ul", swatch, tag("li", tag("span", "◇", class_="replayed", aria_hidden="true"), "replayed, not run again"), class_="legend")


def _body_table(ran: list[Course]) -> Markup:
    rows = [
        (
            course.execution.name,
            body.stage,
            body.life,
            moment(body.began_s),
            moment(body.ended_s),
            body.said,
            code(body.where),
        )
        for course in ran
        for body in course.bodies
    ]
    head = ("execution", "stage", "life", "began", "ended", "how it ended", "evidence")
    return details(f"{len(rows)} beginnings of stage bodies", table("Every beginning of a stage's body", head, rows))


def _power_table(timeline: Timeline) -> Markup:
    rows = [(moment(at_s), "on" if on else "off", hold or "–") for at_s, on, hold in timeline.power]
    return table("Every change of power", ("time", "power", "cut"), rows)


def restarts(evidence: Evidence, ran: list[Course], rows: list[dict[str, Any]]) -> Child:
    if not rows:
        return tag("p", "No cut was made.")
    quoted = [
        tag("p", tag("strong", f"{number} {cut.hold}"), " ", quote(evidence, cut.where), id=f"cut-{number}", class_="quote")
        for number, cut in enumerate(evidence.cuts[:MAX_ROWS], start=1)
    ]
    return [
        tag("p", "Board boot: from power on to the supervisor's start. The others: from that start on. Host wait, hatched, is not judged."),
        tag("div", _clocks(evidence, rows), class_="panels"),
        _cut_table(evidence, rows),
        tag("p", "A dash: not reached, because this restart was itself cut; or the device cannot say.", class_="note"),
        details("What each restart restored", _lives_table(ran)),
        details("The records of the cuts", quoted),
    ]


def _clocks(evidence: Evidence, rows: list[dict[str, Any]]) -> list[Markup]:
    limits, again_s = evidence.plan["limits"], running_again_limit(evidence)
    slowdown = evidence.slowdown
    scaled = f" ({limits['running_again_s']:g} s × {slowdown:g} slowdown)" if slowdown and again_s != limits["running_again_s"] else ""
    panels = (
        ("Board boot", "board_boot", f"not judged, waited for at most {evidence.plan['type']['boot_limit_s']:g} s", None),
        ("State restored", "restored", f"limit {limits['restored_s']:g} s", float(limits["restored_s"])),
        ("Running again", "running_again", f"limit {again_s:g} s{scaled}", again_s),
    )
    return [
        clock_panel(title, limit, limit_s, [Bar(row["hold"], row[f"{clock}_s"], row.get(f"{clock}_host_wait_s") or 0.0) for row in rows])
        for title, clock, limit, limit_s in panels
    ]


def _cut_table(evidence: Evidence, rows: list[dict[str, Any]]) -> Markup:
    limit, again = f"{evidence.plan['limits']['restored_s']:g}", f"{running_again_limit(evidence):g}"
    head = ["cut", "#", "stage", "point", "writes lost", "records lost", "vacuous", "counted"]
    head += ["board boot, s", f"restored, s (limit {limit})", "of that, host wait, s"]
    head += [f"running again, s (limit {again})", "of that, host wait, s", "coordinator's record"]
    keys = ["stage", "point", "writes_lost", "records_lost", "vacuous", "counted"]
    keys += ["board_boot_s", "restored_s", "restored_host_wait_s", "running_again_s", "running_again_host_wait_s"]
    damaged = any(cut.damage for cut in evidence.cuts)
    cells = [
        [row["hold"], number, *(row[key] for key in keys), _reference(number, cut), *([cut.damage or "–"] if damaged else [])]
        for number, (row, cut) in enumerate(zip(rows, evidence.cuts, strict=True), start=1)
    ]
    return table("Cuts, and what each one cost", [*head, *(["damage done meanwhile"] if damaged else [])], cells, id="cuts-table")


def _lives_table(ran: list[Course]) -> Markup:
    rows = [
        (
            course.execution.name,
            life.number,
            moment(life.began_s),
            life.cut.hold if life.cut else "–",
            ", ".join(life.replayed) or "–",
            "; ".join(f"{stage}: {reason}" for stage, reason in life.rejected.items()) or "–",
            code(life.where),
        )
        for course in ran
        for life in course.lives[1:]
    ]
    return table("Restarts", ("execution", "life", "restored at", "after the cut", "replayed", "rejected", "evidence"), rows)


def _reference(number: int, cut: Cut) -> Markup:
    words = code("#" + cut.where.rpartition("#")[2])
    return tag("a", words, href=f"#cut-{number}") if number <= MAX_ROWS else words
