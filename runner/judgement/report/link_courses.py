"""What the data link of each execution went through: when what was on, how the link was meanwhile, and what came through it.

    held.py           ──► windows        what was on, from when to when, and why it came off
    link.jsonl        ──► round trips and losses of the light probe, over time
    receipts.jsonl    ──► what the far end received, by service
    judgement/links   ──► asked and measured

Seconds since the run began. An execution without link faults has no course, whatever else the guard held of it, so nothing of this
is in the files of a run without any.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from runner.judgement import light_log, links
from runner.judgement.asked import asked_loss, delays, mean_rates, named
from runner.judgement.evidence import Evidence, Execution
from runner.judgement.judge import one_line
from runner.judgement.link_notes import measured_of
from runner.judgement.report.held import Held, Row, windows_of
from runner.judgement.report.series import Series, drawn
from runner.judgement.timed import SILENCING
from runner.judgement.timeline import Timeline

OURS = "ours"  # a program's shaper (runner/model/program.py)
LEAST_BIN_S, BINS = 2.0, 100  # a loss is one of so many packets: those of a hundredth of the run, or of two seconds
CHANCE = "Only the timeline follows the seed; packet by packet it is the kernel's chance, and another one in each run."
OUR_CHANCE = "follows the seed packet for packet: the same packets in the same order are lost again."


def chance(courses: Sequence[LinkCourse]) -> str:
    """Whose chance it was: the kernel's, or that of a shaper of our own, or the one here and the other there."""
    shaped = [each for course in courses for each in course.programs if each.get("shaper")]
    ours = [one_line(str(each.get("name"))) for each in shaped if each["shaper"] == OURS]
    if not ours:
        return CHANCE
    if len(ours) == len(shaped):
        return f"What our own shaper did {OUR_CHANCE}"
    return f"{CHANCE} But what our own shaper did ({', '.join(ours)}) {OUR_CHANCE}"


def means(course: LinkCourse) -> list[tuple[str, str]]:
    """Each program's name, and what of the device's kernel it used: netem or tbf, ifb, nft."""
    found = []
    for each in course.programs:
        needs = ", ".join(map(str, each.get("needs") or ()))
        found.append(
            (str(each.get("name")), f"our own shaper ({needs})" if each.get("shaper") == OURS else needs or "the interface itself")
        )
    return found


class Asked(NamedTuple):
    """One figure that was asked for and measured, as numbers."""

    what: str
    unit: str
    low: float
    high: float  # the same as `low`, but for a trace or a ramp
    tolerance: tuple[float, float] | None
    measured: float | None
    within: bool


@dataclass(frozen=True)
class LinkCourse(Held):
    """The data link of one execution."""

    programs: list[Row]  # as they were armed, by the coordinator's note
    packets: list[tuple[float, str, bool]]  # of the light probe: when it was sent, in which boot, whether it came
    round_trips: list[tuple[float, str, float]]  # when, boot, ms
    receipts: list[tuple[float, str]]  # when, service
    figures: list[Asked]

    @property
    def sent(self) -> int:
        return len(self.packets)

    @property
    def came(self) -> int:
        return sum(came for _, _, came in self.packets)

    def silenced(self, at_s: float) -> bool:
        """Whether something that lets nothing pass was on at that moment."""
        return any(
            w.fault in SILENCING and w.began_s is not None and w.began_s <= at_s < (self.end_s if w.ended_s is None else w.ended_s)
            for w in self.windows
        )

    @cached_property
    def services(self) -> dict[str, tuple[int, int]]:
        """Service → how many receipts, and how many of them while nothing should pass."""
        every = Counter(service for _, service in self.receipts)
        meanwhile = Counter(service for at_s, service in self.receipts if self.silenced(at_s))
        return {service: (count, meanwhile[service]) for service, count in sorted(every.items())}

    def series(self) -> list[Series]:
        """Round trips, and what share of the light packets was lost."""
        made = (
            drawn(f"{self.name} link.rtt", f"{self.name}: round trip", "ms", self.round_trips, self._gap_s, self.end_s),
            drawn(f"{self.name} link.loss", f"{self.name}: packets lost", "%", list(self.losses()), 2 * self._bin_s + 1.0, self.end_s),
        )
        return [one for one in made if one.stretches]

    @property
    def _gap_s(self) -> float:
        """Silence from here on is a gap: three times the probe's usual pace."""
        steps = sorted(b[0] - a[0] for a, b in zip(self.packets, self.packets[1:], strict=False) if b[1] == a[1])
        return max(LEAST_BIN_S, 3 * steps[len(steps) // 2]) if steps else LEAST_BIN_S

    @property
    def _bin_s(self) -> float:
        return max(LEAST_BIN_S, self.end_s / BINS)

    def losses(self) -> Iterator[tuple[float, str, float]]:
        """When, boot, and how many percent of the light packets of that time were lost."""
        bins: dict[tuple[str, int], list[bool]] = {}
        for at_s, boot, came in self.packets:
            bins.setdefault((boot, int(at_s // self._bin_s)), []).append(came)
        for (boot, number), came_all in sorted(bins.items(), key=lambda item: item[0][1]):
            yield (number + 0.5) * self._bin_s, boot, 100 * (1 - sum(came_all) / len(came_all))


def link_courses(evidence: Evidence, timeline: Timeline) -> list[LinkCourse]:
    """The course of each execution that had link faults, in the order in which they began."""
    found = (_course(evidence, timeline, execution) for execution in evidence.executions)
    return [course for course in found if course is not None]


def _course(evidence: Evidence, timeline: Timeline, execution: Execution) -> LinkCourse | None:
    asked = links.planned(evidence, execution)
    began = links.note(evidence, "link_began", execution.name)
    if not asked and began is None:
        return None
    rows = links.rows(evidence, execution)
    lines = evidence.link(execution.name)
    received = [(timeline.coordinator_s(line["boottime_ns"]), line["service"]) for line in evidence.receipts(execution.name)]
    programs = [each for each in (began or {}).get("programs", []) if isinstance(each, dict)]
    proof = links.note(evidence, "link_proof", execution.name)
    return LinkCourse(
        execution,
        windows_of(evidence, timeline, execution, named(asked, execution.name)),
        rows,
        timeline.end_s,
        programs,
        _packets(lines, timeline),
        _round_trips(lines, timeline),
        received,
        list(figures(asked, measured_of(proof["during"]) if proof else {}, rows)),
    )


def _packets(lines: list[Row], timeline: Timeline) -> list[tuple[float, str, bool]]:
    placed = []
    for beginning, sent_ns, came in light_log.packets_sent(lines):
        boot = timeline.boot_of(beginning)
        at_s = timeline.device_s(boot, sent_ns) if boot else None
        if at_s is not None and _in_the_run(at_s, timeline):
            placed.append((at_s, boot, came))
    return sorted(placed)


def _round_trips(lines: list[Row], timeline: Timeline) -> list[tuple[float, str, float]]:
    """Each packet says how long the last round trip took; it is a new one where more of them have come back."""
    placed, echoes = [], dict[tuple[str, int], int]()
    for line in sorted(lines, key=lambda line: (line["started_ms"], line["sequence"])):
        life, boot = (line["boot"], line["started_ms"]), timeline.boot_of(line["boot"])
        at_s = timeline.device_s(boot, line["sent_ns"]) if boot else None
        if line["echoes"] > echoes.get(life, 0) and line["rtt_us"] >= 0 and at_s is not None and _in_the_run(at_s, timeline):
            placed.append((at_s, boot, line["rtt_us"] / 1000))
        echoes[life] = max(echoes.get(life, 0), line["echoes"])
    return sorted(placed)


def _in_the_run(at_s: float, timeline: Timeline) -> bool:
    """What is outside of the run, by more than the clocks' error, is not believed."""
    return -(timeline.error_s + 1.0) <= at_s <= timeline.end_s + timeline.error_s + 1.0


def figures(asked: list[Row], during: Row, rows: list[Row]) -> Iterator[Asked]:
    """What can be drawn as numbers: rates, losses and the round trip of links that were on while it was measured."""
    judged = {row["what"]: row for row in rows}
    shaped = [link for link in asked if link.get("fault") == "bandwidth"]
    for way in ("up", "down"):
        measured = during.get(way) or {}
        for link in shaped:
            if (rate := mean_rates(link[way])) and (row := judged.get(f"rate {way}")):
                yield Asked(f"rate {way}", "kbit/s", *rate, _between(row), measured.get("rate_kbit_s"), row["within"])
            if row := judged.get(f"loss {way}"):
                sent, received = int(measured.get("sent") or 0), int(measured.get("received") or 0)
                lost = 100 * (sent - received) / sent if sent else None
                share = 100 * asked_loss(link[way])
                yield Asked(f"loss {way}", "%", share, share, _between(row), lost, row["within"])
    if (row := judged.get("round trip")) and shaped:
        low, high = (sum(bounds) for bounds in zip(*(delays(link[way]) for link in shaped for way in ("up", "down")), strict=True))
        yield Asked("round trip", "ms", low, high, _between(row), during.get("rtt_p50_ms"), row["within"])


def _between(row: Row) -> tuple[float, float] | None:
    """The two ends of a tolerance, where it has two."""
    match = re.match(r"([\d.]+(?:e[+-]?\d+)?) to ([\d.]+(?:e[+-]?\d+)?)\b", str(row["tolerance"]))
    return (float(match[1]), float(match[2])) if match else None
