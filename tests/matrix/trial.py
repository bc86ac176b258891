"""One cell on the bench: the fault is armed and brought into its phase, proven, somebody is struck, and the board must be as it was.

    armed ─► in its phase? ─► proven present ─► struck, in that phase? ─► nothing armed, no sign ─► fingerprint, an exchange, nothing armed

A cell is green only if all of it holds. Missed: the strike did not fall into its phase, so nothing is known.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from runner.errors import LabError
from runner.farm import health
from runner.model.plan import HeatPlan
from runner.model.program import Program
from runner.story import arming

from .bench import BOOT_LIMIT_S, Bench, Gone
from .cells import (
    APPLYING,
    ARMING,
    BOTH_GUARDS,
    CAP,
    COORDINATOR,
    FAULTS,
    GUARD,
    HOLDING,
    LINK,
    ONLY_PATH,
    ONLY_PATH_S,
    POWER,
    RENEW_S,
    REVERTING,
    SILENT,
    SUPERVISOR,
    WIDER_S,
    Cell,
    looks_at,
    made_for,
    program_of,
)

GREEN, NOT_AS_BEFORE, BROKEN = "green", "not as it was before", "broken"
PHASE_LIMIT_S = 20.0
PATIENCE_S = 20.0  # beyond what a program's own times need
TRIES = 3
HEATED_S = 600.0  # longer than any cell
HOT_SCALE = 2.0  # a board in heat has less than half of its clock
MOST_SCALE = 2.25  # an act is given up after 30 s
_numbers = itertools.count(1)


class Missed(Exception):
    """The phase was not there, or was over when it was to be struck."""


class NotAsBefore(AssertionError):
    """What the guard promises does not hold."""


@dataclass
class Found:
    """What became of one cell. `clean_s`: from the strike until nothing of the fault was in effect."""

    fault: str
    victim: str
    phase: str
    outcome: str = BROKEN
    clean_s: float | None = None
    took_s: float = 0.0
    why: str = ""  # the guard's own reason
    seen: str = ""  # what proved the fault present
    wrong: str = ""
    tries: int = 1
    scale: float = 1.0  # of all times in it, on a busy machine

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def try_cell(bench: Bench, cell: Cell) -> Found:
    """The cell's outcome. Never raises but when it is cancelled; the board is as it was, or was booted anew, when this returns."""
    found, began = Found(*cell), time.monotonic()
    for found.tries in range(1, TRIES + 1):
        found.scale = min(bench.scale * (HOT_SCALE if cell.fault == "heat" else 1.0), MOST_SCALE)
        trial = Trial(bench, cell, found, found.scale)
        try:
            await trial.carry_out()
            found.outcome, found.wrong = GREEN, ""
        except NotAsBefore as error:
            found.outcome, found.wrong = NOT_AS_BEFORE, str(error)
        except Missed as error:
            found.outcome, found.wrong, bench.scale = BROKEN, f"missed: {error}", min(bench.scale * 1.5, MOST_SCALE)
        except Exception as error:
            found.outcome, found.wrong = BROKEN, f"{type(error).__name__}: {error}"
        if found.outcome != GREEN:
            await trial.begin_anew()
        if not found.wrong.startswith("missed"):
            break
    found.took_s = round(time.monotonic() - began, 1)
    return found


class Trial:
    def __init__(self, bench: Bench, cell: Cell, found: Found, scale: float) -> None:
        self._bench, self._cell, self._found, self._scale = bench, cell, found, scale
        self._run = f"matrix.{bench.who[:8]}.{next(_numbers)}"  # what the guard noted of an earlier try is none of this one's
        self._program: Program | None = None
        self._struck = 0.0

    async def carry_out(self) -> None:
        bench, cell = self._bench, self._cell
        coordinator = await bench.coordinator()
        clock_ns = int(bench.hello["wall_ns"]) - int(bench.hello["boottime_ns"])
        here = {"boot_id": bench.hello["boot_id"], "clock_ns": clock_ns}
        before = arming.before_of(bench.before, bench.link).model_copy(update=here)
        program = self._program = program_of(cell, bench.link, bench.capabilities, before, self._scale)
        words = {"renew_s": cell.renew_s(self._scale), "cap_s": cell.cap_s(self._scale)}
        await self._make_ready()
        await coordinator.ask("arm", program=program.model_dump(mode="json"), run=self._run, **words)
        await self._prove(program, await self._come_to_the_phase(program))
        await self._strike(program)
        await self._becomes_clean(program)
        await self._is_as_before()

    async def _make_ready(self) -> None:
        """What there is before anything is armed: a group or a small disk that the supervisor makes, heat that comes from outside."""
        made, fault = made_for(self._cell), FAULTS[self._cell.fault]()
        if made is not None:
            await (await self._bench.coordinator()).ask("prepare_scarcity", run=self._run, scarcity=made)
        if isinstance(fault, HeatPlan):
            await self._bench.target.power.heat({**fault.told, "renew_s": HEATED_S, "cap_s": HEATED_S})

    # ---- the phase --------------------------------------------------------------------------------------

    async def _come_to_the_phase(self, program: Program) -> dict[str, Any]:
        """What was seen in the phase."""
        coordinator = await self._bench.coordinator()
        if self._cell.phase == ARMING:
            return await self._until_in(ARMING, program)
        coordinator.tell("start_program", name=program.name)
        if self._cell.phase == APPLYING:
            return await self._until_in(APPLYING, program)
        look = await self._until_in(HOLDING, program)
        if self._cell.phase == HOLDING:
            return look
        coordinator.tell("revert")
        return await self._until_in(REVERTING, program)

    async def _until_in(self, phase: str, program: Program) -> dict[str, Any]:
        """Returns what is seen when the guard and the kernel say that it is in the phase."""
        deadline = time.monotonic() + PHASE_LIMIT_S
        while True:
            look = await self._bench.look()
            if phase_of(look, program) == phase:
                look = await self._bench.look(program.signs)
                if shows(look, phase, program):
                    return look
            if time.monotonic() > deadline or not look["armed"]:
                raise Missed(f"not {phase}: {look}")

    async def _prove(self, program: Program, look: dict[str, Any]) -> None:
        """The fault is there: by its signs, and where nothing may pass, by the far end, which hears nothing."""
        said = [", ".join(look["seen"]) or f"armed on the disk, {phase_of(look, program)}"]
        if self._cell.fault in SILENT and self._cell.phase != ARMING:
            sent, heard = await self._bench.heard_of()
            if not sent:
                raise Missed("the board did not come to send anything")
            if heard:
                raise self._missed_or_wrong(await self._bench.look(program.signs), program, f"the far end heard {heard} of {sent}")
            said.append(f"{sent} sent and none heard")
        self._found.seen = "; ".join(said)

    def _missed_or_wrong(self, look: dict[str, Any], program: Program, wrong: str) -> Exception:
        in_phase = phase_of(look, program) == self._cell.phase and shows(look, self._cell.phase, program)
        return AssertionError(f"the fault is not real: {wrong}") if in_phase else Missed(wrong)

    # ---- the strike -------------------------------------------------------------------------------------

    async def _strike(self, program: Program) -> None:
        """Whoever it is, is struck, and it fell into the phase. `_struck` is when."""
        strikes: dict[str, Callable[[Program], Awaitable[dict[str, Any] | None]]] = {
            COORDINATOR: self._kill_coordinator,
            SUPERVISOR: self._kill_on_the_board,
            GUARD: self._kill_on_the_board,
            BOTH_GUARDS: self._kill_on_the_board,
            LINK: self._cut_link,
            POWER: self._cut_power,
            CAP: self._let_the_cap_strike,
        }
        look = await strikes[self._cell.victim](program)
        if look is not None and phase_of(look, program) != self._cell.phase:
            raise Missed(f"struck when it was {phase_of(look, program)}")

    async def _kill_coordinator(self, program: Program) -> dict[str, Any]:
        self._struck = time.monotonic()
        await self._bench.kill_coordinator()
        return await self._bench.look()

    async def _kill_on_the_board(self, program: Program) -> dict[str, Any]:
        """Afterwards the coordinator is silent, and asks for nothing; without any guard it has renewed once more, which brings one."""
        coordinator = await self._bench.coordinator()
        coordinator.tell("let_go")
        self._struck = time.monotonic()
        killed = await (await self._bench.eye()).ask("kill", whom=self._cell.victim)
        if not killed["pids"]:
            raise Missed(f"there is no {self._cell.victim} to kill")
        if self._cell.victim == BOTH_GUARDS:
            await coordinator.ask("renew")
        elif self._cell.victim == SUPERVISOR:
            coordinator.connected = False
        return {"armed": ["?"], **killed}

    async def _cut_link(self, program: Program) -> dict[str, Any]:
        coordinator = await self._bench.coordinator()
        self._struck = time.monotonic()
        coordinator.connected = False
        await coordinator.ask("cut")
        return await self._bench.look()

    async def _cut_power(self, program: Program) -> None:
        self._struck = time.monotonic()
        await self._bench.cut_power()

    async def _let_the_cap_strike(self, program: Program) -> dict[str, Any] | None:
        """Renewals go on. Where an act is under way it is still so when the cap has struck: the deadline fell into it."""
        look = await self._bench.look()
        (mark,) = look["marks"].values()
        left_s = (mark["armed_ns"] - look["now_ns"]) / 1e9 + self._cell.cap_s(self._scale)
        if left_s < 0:
            raise Missed(f"the cap struck {-left_s:.1f} s before it was looked for")
        await asyncio.sleep(left_s)
        self._struck = time.monotonic()
        return await self._bench.look() if self._cell.phase in (APPLYING, REVERTING) else None

    # ---- as it was --------------------------------------------------------------------------------------

    def _limit_s(self) -> float:
        """Its own times, and patience."""
        own = RENEW_S + 2 * WIDER_S if self._cell.victim == CAP else RENEW_S + 2 * WIDER_S / 3
        own += ONLY_PATH_S if self._cell.fault == ONLY_PATH else 0.0
        return PATIENCE_S + own * self._scale + (BOOT_LIMIT_S if self._cell.victim == POWER else 0.0)

    async def _becomes_clean(self, program: Program) -> None:
        deadline = self._struck + self._limit_s()
        while True:
            look = await self._bench.look()
            look = look if look["armed"] else await self._bench.look(program.signs)
            if not look["armed"] and not look["seen"]:
                self._found.clean_s = round(time.monotonic() - self._struck, 1)
                break
            if time.monotonic() > deadline:
                look = await self._bench.look(program.signs)
                raise NotAsBefore(f"armed {look['armed']}, seen {look['seen']}, marks {look['marks']} after {self._limit_s():.0f} s")
            await asyncio.sleep(self._bench.look_every_s)
        said = (await (await self._bench.eye()).ask("journal", run=self._run))["records"]
        whys = [payload["why"] for kind, payload in said if kind == "reverting"]
        self._found.why = whys[-1] if whys else ""
        first = "asked" if self._cell.phase == REVERTING else "hard cap"
        if self._cell.victim == CAP and whys[:1] != [first]:
            raise Missed(f"it was not the cap: {whys}")

    async def _is_as_before(self) -> None:
        """The fingerprint is the one from before, packets go there and come back, and a coordinator that comes again is told of nothing."""
        await self._cool()
        changed = health.differences(self._bench.before, await self._bench.fingerprint())
        if changed:
            raise NotAsBefore("; ".join(changed))
        await self._until(self._echoed, "no packet came back over the data link")
        coordinator = await self._bench.coordinator()

        async def nothing_armed() -> bool:
            return not (await coordinator.ask("programs"))["programs"]

        await self._until(nothing_armed, "the supervisor still knows of a program")
        await coordinator.ask("forget", run=self._run)

    async def _cool(self) -> None:
        """What heated the board from outside holds nobody up any more."""
        left = (await self._bench.target.power.cool()).get("left") if self._cell.fault == "heat" else None
        if left:
            raise NotAsBefore(f"the board is slowed down by {left[0]}")

    async def _echoed(self) -> bool:
        sent, came = await self._bench.echoes()
        return 0 < sent == came

    async def _until(self, holds: Callable[[], Awaitable[bool]], wrong: str, limit_s: float = 15.0) -> None:
        deadline = time.monotonic() + limit_s
        while not await holds():
            if time.monotonic() > deadline:
                raise NotAsBefore(wrong)
            await asyncio.sleep(0.1)

    async def begin_anew(self) -> None:
        """By force, so that one cell's end is not the next one's beginning: undone by us, and a boot where that is not enough."""
        bench = self._bench
        try:
            if self._program is not None:
                undo = [act.model_dump() for act in self._program.undo if act.argv[0] != "sleep"]
                await (await bench.eye()).ask("scrub", undo=undo)
            await bench.target.power.cool()
            await bench.kill_coordinator()
            under_way = self._cell.phase == REVERTING  # the supervisor's own undo may sleep still, and knows nothing of ours
            if not under_way and not health.differences(bench.before, await bench.fingerprint()):
                return
        except (Gone, LabError):
            pass
        await bench.cut_power()
        await bench.eye()


# ---- what is read off a look ----------------------------------------------------------------------------------------------


def phase_of(look: dict[str, Any], program: Program) -> str:
    """The phase that the guard's marks name, "" for none."""
    mark = look["marks"].get(f"{program.name}.json")
    if mark is None or not look["armed"]:
        return ""
    if mark["state"] == "armed":
        return ARMING
    if mark["state"] == "reverting":
        return REVERTING
    if mark["state"] != "begun" or mark["asked"]:
        return ""
    return APPLYING if mark["doing"] and mark["done"] == 0 else HOLDING if mark["done"] else ""


def shows(look: dict[str, Any], phase: str, program: Program) -> bool:
    """Whether the kernel shows of the program what it must in this phase: nothing, something, or something by each of the looks at it.

    Signs that are seen by one and the same look may exclude one another.
    """
    seen = {sign.argv for sign in program.signs if sign.contains in look["seen"]}
    if not program.signs:
        return True
    return {ARMING: not seen, HOLDING: seen == looks_at(program)}.get(phase, bool(seen))
