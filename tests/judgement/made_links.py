"""Link faults as a plan has them, and measurements of links that are made up, packet by packet."""

from __future__ import annotations

import random
from typing import Any

from runner.model.profile import Bandwidth, Direction, Jamming, Offline

Row = dict[str, Any]


def way(sent: int = 400, received: int = 400, rate_kbit_s: float | None = None, bursts: Row | None = None, **more: Any) -> Row:
    return {"sent": sent, "received": received, "rate_kbit_s": rate_kbit_s, "bursts": bursts or {}, **more}


def measured(up: Row | None = None, down: Row | None = None, p50: float | None = 1.0, p95: float | None = 2.0) -> Row:
    return {"up": up or way(), "down": down or way(), "echoes": 400, "rtt_p50_ms": p50, "rtt_p95_ms": p95}


BEFORE = measured()


def bandwidth(up: Row | None = None, down: Row | None = None, **when: Any) -> Row:
    """A fault as a run's plan has it: as JSON, every field of the model in it."""
    fault = Bandwidth(fault="bandwidth", up=Direction(rate_kbit_s=1), down=Direction(), **when).model_dump(mode="json")
    return {**fault, **{way: Direction(**(said or {})).model_dump(mode="json") for way, said in (("up", up), ("down", down))}}


def verdicts(rows: list[Row]) -> dict[str, bool]:
    return {row["what"]: row["within"] for row in rows}


SILENT = [
    Offline(fault="offline").model_dump(mode="json"),
    Jamming(fault="jamming", jammer="constant").model_dump(mode="json"),
    Jamming(fault="jamming", jammer="deceptive").model_dump(mode="json"),
]


def played(asked: Row, count: int, seed: int) -> list[bool]:
    """Which packets a link loses that is as asked."""
    chance, bad, lost = random.Random(seed), False, []
    burst = asked.get("burst")
    for _ in range(count):
        if burst:
            bad = chance.random() * 100 < burst["p_percent"] if not bad else chance.random() * 100 >= burst["r_percent"]
            lost.append(chance.random() * 100 < (burst["loss_in_bad_percent"] if bad else burst["loss_in_good_percent"]))
        else:
            lost.append(chance.random() * 100 < asked["loss_percent"])
    return lost


def runs_of(lost: list[bool]) -> dict[str, int]:
    found: dict[str, int] = {}
    run = 0
    for each in [*lost, False]:
        if each:
            run += 1
        elif run:
            found[str(run)] = found.get(str(run), 0) + 1
            run = 0
    return found


def as_played(asked: Row, count: int, seed: int) -> Row:
    lost = played(asked, count, seed)
    return way(count, count - sum(lost), bursts=runs_of(lost))
