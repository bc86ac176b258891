"""Heat over an execution, and the proof that it really made the device slower.

    rest ─► told: cores in groups, sensors mounted ─► full ─► warm ─► … the execution; at each clock that is held, once: as slow as asked? …
         ─► cool ─► after: as fast as before, nothing left            after a power cut: the sensors again; the board has cooled meanwhile

Whatever acts for us from outside heats a device that it can slow down (the keeper of an emulated board); it ends that by itself when
nobody renews it. What the device does for it is a program of its own guard, like every fault's. Runs and `profile try` both go by this.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from runner.errors import LabError, RunnerError
from runner.faults import thermal
from runner.judgement import side_by_side, slowed
from runner.model.device import DeviceType
from runner.model.plan import ExecutionPlan, HeatPlan
from runner.model.program import Program
from runner.ondevice import work
from runner.ondevice.journal import Record, boottime_ns
from runner.story.arming import RENEW_S, arm, begin
from runner.story.ground import Ground
from runner.story.left import mirror_guard
from runner.story.links import cap_s, look
from runner.story.run import Run
from runner.story.scarcity import revert
from runner.story.steps import step
from runner.target.power.base import Power
from runner.target.session import Session

Row = dict[str, Any]
LOG = "heat.jsonl"  # what whoever heats notes of it, as evidence
EDGES = {"stage_started": "start", "stage_finished": "end"}
WORK_LIMIT_S = 300.0
LOOK_S = 1.0
TIMES = 3  # so often is the work timed at each clock, at most
CALM, CALM_TRIES = 1.15, 4  # times of two measurements that are alike
AFTER_TRIES = 12
OWN_EVERY_S = 5.0  # so often this machine's own speed is looked at, while nothing is heated that something heated is held against


@dataclass
class Heating:
    """Heat over one device at hand. `name` is that of its program, `state` its supervisor's folder there.

    `own`: nobody outside can slow it down, so it does that by itself: by its own clocks, where `clocks` is what they were before
    (`look_at_clocks`), else by a quota, to its pipelines alone.
    """

    power: Power
    session: Session
    plan: HeatPlan
    name: str
    state: str
    own: bool
    cap_s: float
    token: str
    execution: str
    samples: list[Row] = field(default_factory=list)
    looks: list[list[int]] = field(default_factory=list)  # when each began and ended, by this machine's clock, whatever came of it
    clocks: Row = field(default_factory=dict)
    _warming: asyncio.Future[None] | None = None

    @property
    def by(self) -> str:
        """What the device's work is timed in: processors that are slowed down from outside do not know, and count on, and those whose
        clock is lower work for longer."""
        return "duration_s" if self.confined else "cpu_s"

    @property
    def confined(self) -> bool:
        """Whether only the pipelines' group is slow."""
        return self.own and not self.clocks

    @property
    def beside(self) -> bool:
        """Whether the device's processors are this machine's, so that how fast this is by itself says something of them."""
        return not self.clocks

    async def look_at_clocks(self, type: DeviceType) -> None:
        """Whether the device has clocks that may be limited, and what they are before anything is done. Not on machines of others.

        Raises LabError where its firmware has no such limit as its type declares.
        """
        can = "cpufreq" in (self.session.hello.get("capabilities") or ())
        if not self.own or not can or type.shared:
            return
        firmware = type.thermal and type.thermal.firmware_limit
        self.clocks = await self.session.ask("frequency", firmware=firmware and firmware.model_dump())
        if firmware and firmware.file not in self.clocks["before"]:
            found = f"its type declares a limit of its firmware's, and {firmware.file} says no number on it"
            raise LabError(found, do="name the file in which its firmware takes one as the type's `firmware_limit`, or leave that out")

    @property
    def _limits(self) -> Row:
        renew_s = self.cap_s if self.own else RENEW_S  # a program's renewal is its guard's business
        return {"renew_s": renew_s, "cap_s": self.cap_s, "run": self.token, "execution": self.execution}

    @property
    def program(self) -> Program:
        if self.own:
            return thermal.own_program(self.plan, self.name, self.state, self._limits, self.clocks)
        return thermal.sensors_program(self.plan, self.name)

    @property
    def paths(self) -> dict[str, str]:
        """Where the device reads temperature, clock and flags."""
        return thermal.own_paths(self.state) if self.own else thermal.paths(self.plan.body)

    async def tell(self) -> None:
        """The device can be slowed down, is at its full clock, and reads its sensors. Raises LabError; nothing is slower then."""
        if self.confined:
            asked: Row = {"confined": True, "disk": None}
            await self.session.ask("prepare_scarcity", run=self.token, execution=self.execution, scarcity=asked, timeout_s=120)
        elif not self.own:
            await self.power.heat({**self.plan.told, "waits": True, **self._limits})
        await self.begin()

    async def begin(self) -> None:
        """What the device itself does for it, by its guard; once more after a restart."""
        await arm(self.session, self.token, (self.program,), self.cap_s)
        await begin(self.session, (self.program,))

    async def warm(self) -> None:
        if self.own:
            await self.session.ask("heat", warm=True)
        else:
            await self.power.warm()

    def warm_soon(self) -> None:
        """The same, of which nobody waits for the end; where it fails the heat never comes on, and that is seen."""

        async def quietly() -> None:
            with contextlib.suppress(RunnerError, OSError):
                await self.warm()

        self._warming = self._warming or asyncio.ensure_future(quietly())

    async def said(self) -> Row:
        """What the loop says of itself right now. Raises LabError where there is no heat any more."""
        found: Row = await self.session.ask("heat") if self.own else (await self.power.facts()).get("heat") or {}
        if not found.get("on"):
            why = found.get("ended") or "nobody knows why"
            raise LabError(f"there is no heat over the device any more: {why}", expected="heat until it is taken back", do="run it again")
        return found

    async def cool(self, ground: Ground) -> list[str]:
        """Nothing slows the device down when this returns, or what does: of pipelines alone by the kernel's word, because work that is
        timed afterwards is in no group. Raises LabError, and quarantines, where its program stays."""
        left = [str(path) for path in (await self.power.cool()).get("left") or ()]
        await revert(ground, (self.program,))
        if self.confined:
            group = (await self.session.ask("clear_scarcity", timeout_s=60)).get("confined") or {}
            if "cpu_quota_us" in group:
                left.append(f"a quota of the pipelines' group: {group['cpu_quota_us']} µs of {group.get('cpu_period_us', 'each period')}")
        return left

    async def sample(self) -> Row:
        """The fixed work there and here, and what the device reads of itself beside what the model says."""
        before = await self.said()
        read = await self.session.ask("sensed", paths=self.paths, timeout_s=60)
        behind = await self.said()
        timed = await timed_work(self.session, confined=self.confined, beside=self.beside)
        then = await self.said()
        clocks = {each["mhz"] for each in (before, behind, then)}
        said = [{key: each[key] for key in ("die_c", "mhz", "flags", "model_s")} for each in (before, behind)]
        found = {**timed, "mhz": then["mhz"], "steady": len(clocks) == 1 and then["powered"], "nr_throttled": then["nr_throttled"]}
        counted = timed["device"].get("counted") if self.confined else most_held_up(before.get("cores") or {}, then.get("cores") or {})
        return {**found, "counted": counted, "sensed": read, "said": said}

    async def full(self) -> Row:
        """The fastest of a few samples at the full clock: a host may be busy for a moment. Meanwhile every core works, as they will when it
        is lower: of a host's processors that all work, each is slower for that alone."""
        await self.session.ask("burn", for_s=TIMES * WORK_LIMIT_S, confined=self.confined)
        try:
            return min([await self.sample() for _ in range(TIMES)], key=lambda sample: float(sample["device"][self.by]))
        finally:
            with contextlib.suppress(RunnerError):  # the work ends with its time, or with the supervisor
                await self.session.ask("burn", for_s=0)

    async def look(self) -> Row | None:
        """One more sample, if this clock was not timed often enough yet; kept."""
        mhz = (await self.said())["mhz"]
        if sum(each["steady"] and each["mhz"] == mhz for each in self.samples) >= (1 if mhz == self.plan.body.full_mhz else TIMES):
            return None
        began_ns = boottime_ns()
        try:
            self.samples.append(await self.sample())
        finally:
            self.looks.append([began_ns, boottime_ns()])
        return self.samples[-1]


def most_held_up(before: Row, then: Row) -> Row | None:
    """What was counted between two looks of the core that was held up most, of those that were there all the while."""
    each = [{key: round(then[core][key] - before[core][key], 4) for key in then[core]} for core in then if core in before]
    return max(each, key=lambda core: core["held_s"], default=None)


async def timed_work(session: Session, *, confined: bool = False, beside: bool = True) -> Row:
    """{"device", "own"}: the fixed work there, with the quota of its pipelines if so told; right behind it here, if that is `beside`."""
    device = await session.ask("work", confined=confined, timeout_s=WORK_LIMIT_S)
    return {"device": device, "own": await own_work() if beside else None}


async def own_work() -> Row:
    """The fixed work here, and when it ended by this machine's clock."""
    return {**await asyncio.to_thread(work.measure), "at_ns": boottime_ns()}


async def at_rest(session: Session, by: str, *, beside: bool = True) -> Row:
    """The fastest of a few measurements, until two are alike: a board that has just started, or a host, may be busy for a moment."""
    found = [await timed_work(session, beside=beside)]
    while len(found) < CALM_TRIES:
        found.append(await timed_work(session, beside=beside))
        two = sorted(each["device"][by] for each in found)[:2]
        if two[1] <= two[0] * CALM:
            break
    return min(found, key=lambda each: float(each["device"][by]))


async def as_before(session: Session, by: str, rest: Row) -> Row:
    """The first measurement that is as fast as `rest`, else the fastest of many: a host's own speed comes and goes, what stays is slow."""
    found: list[Row] = []
    while len(found) < AFTER_TRIES:
        found.append(await timed_work(session, beside=rest["own"] is not None))
        if all(row["within"] for row in slowed.restored(rest, found[-1], [], by)):
            return found[-1]
    return min(found, key=lambda each: float(each["device"][by]))


# ---- a run's ------------------------------------------------------------------------------------------------------------


@step("impose")
async def impose(run: Run, plan: ExecutionPlan) -> None:
    """The heat of an execution over the device; on, if it is from the beginning. May be done again.

    Raises LabError where the device cannot be slowed down here: never a pretence.
    """
    if plan.heat is None:
        return
    assert run.session
    heating = heating_of(run, plan)
    await heating.cool(run.ground)
    await heating.look_at_clocks(run.plan.type)
    if not (plan.links or plan.scarcities):  # else it was looked at before those came on
        await look(run, plan)
    rest = await at_rest(run.session, heating.by, beside=heating.beside)
    programs = [heating.program.model_dump(mode="json")]
    run.note("heat_began", execution=plan.name, told=plan.heat.told, by=heating.by, programs=programs, rest=rest)
    await heating.tell()
    full = await heating.full()
    run.note("heat_full", execution=plan.name, sample=full)
    if plan.heat.constant:
        await heating.warm()
    run.heating = heating
    run.say(f"heat: {thermal.figures(plan.heat)}")


async def impose_again(run: Run, plan: ExecutionPlan) -> None:
    """After a restart of the device: its sensors again. The heat itself went on outside, and the body has cooled meanwhile."""
    if plan.heat is None:
        return
    assert run.session and run.heating
    run.heating.session = run.session
    standing = {str(each.get("name")) for each in await run.ground.standing() if each.get("state") in ("armed", "begun")}
    if run.heating.name not in standing:  # else a process was killed, and not the device
        if not (plan.links or plan.scarcities):
            await look(run, plan)
        await run.heating.begin()
    await run.heating.said()


@contextlib.asynccontextmanager
async def watched(run: Run, plan: ExecutionPlan) -> AsyncIterator[None]:
    """While an execution runs, the device is timed at each clock that it comes to; what was measured is noted behind it. Beside one
    without heat, in a run that has some, only this machine is: it may itself be faster now than later.

    Raises what the timing itself made wrong, unless the execution was worse off.
    """
    own: list[Row] = []
    if plan.heat is not None and run.heating is not None:
        watching = asyncio.ensure_future(_watch(run, run.heating))
    elif plan.heat is None and any(execution.heat for execution in run.plan.executions):
        watching = asyncio.ensure_future(_watch_own(run, own))
    else:
        yield
        return
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        mistake = None if watching.cancelled() else watching.exception()
    if own:
        run.note("own_speed", execution=plan.name, own=own)
    if mistake is not None:
        raise mistake


async def _watch_own(run: Run, own: list[Row]) -> None:
    while True:
        own.append(await own_work())
        await run.clock.sleep(OWN_EVERY_S)


async def _watch(run: Run, heating: Heating) -> None:
    while True:
        await run.clock.sleep(LOOK_S)
        if run.session is None or str(run.session.hello["boot_id"]) != run.imposed_in:
            continue  # just restarted: its sensors are not there again
        heating.session = run.session
        with contextlib.suppress(RunnerError, OSError):  # it is being cut, or linked again, or somebody ended the work: the next time
            await heating.look()


async def _late(heating: Heating) -> None:
    """A clock that was never held for as long as the work takes is timed now that the pipeline is at its end, while it is still low."""
    full_mhz = heating.plan.body.full_mhz
    with contextlib.suppress(RunnerError):
        for _ in range(TIMES):
            below = any(each["steady"] and each["mhz"] < full_mhz for each in heating.samples)
            if below or not 0 < (await heating.said())["mhz"] < full_mhz:
                return
            heating.samples.append(await heating.sample())


@step("lift")
async def lift(run: Run, plan: ExecutionPlan) -> None:
    """Everything cool again, proven. May be done again. Raises LabError where the heat was not as asked, or something stays."""
    if plan.heat is None:
        return
    assert run.session
    heating = run.heating or heating_of(run, plan)
    heating.session = run.session
    notes = [record for record in run.log.records if record.payload.get("execution") == plan.name]
    began = next(record.payload for record in reversed(notes) if record.kind == "heat_began")
    full = next((record.payload["sample"] for record in reversed(notes) if record.kind == "heat_full"), None)
    if full is not None and not any(record.kind == "heat_proof" for record in notes):
        await _late(heating)
        rows = slowed.compare(began["told"], full, heating.samples, str(began["by"]))
        run.note("heat_proof", execution=plan.name, rows=rows, samples=heating.samples, looks=heating.looks)
        run.emit("heat_proof", rows=rows)
    try:
        left = await heating.cool(run.ground)
    finally:
        run.heating = None
        with contextlib.suppress(RunnerError):
            await mirror_guard(run.session, run.token, run.folder, run.log)
    after = await as_before(run.session, str(began["by"]), began["rest"])
    rows = slowed.restored(began["rest"], after, left, str(began["by"]))
    run.note("heat_lifted", execution=plan.name, rows=rows, after=after, left=left)
    if left:
        run.ground.quarantine([f"it is slowed down by {path}" for path in left])
    if not (plan.links or plan.scarcities) and run.as_found is not None:  # else it is compared when those are taken back
        await run.ground.compare(run.as_found)
    wrong = [row for row in rows if not row["within"]]
    if wrong:
        raise LabError(f"the device is not as fast as it was: {side_by_side.said(wrong[0])}", do="a less busy machine")


async def clear(run: Run) -> None:
    """What a run that was killed left is cool before anything new begins, and what was noted of it none of this run's evidence."""
    assert run.target
    standing = (await run.target.power.facts()).get("heat") or {}
    left = (await run.target.power.cool()).get("left")
    if left:
        raise LabError(f"{run.plan.device} is slowed down by what a dead run left: {left[0]}", do="remove that control group")
    if standing.get("on"):
        run.say("cooled: heat that a run which is dead had left over the device")
    log = run.target.power.evidence().get(LOG)
    if log is not None and run.past.marks is None and log.new_bytes():  # it may have ended by itself since the marks were made
        log.from_now()
        run.note("evidence_from", marks={LOG: log.mark})


async def let_go(run: Run) -> None:
    """Whatever ended the run: no heat stays, if whoever heats can still be told. It ends by itself otherwise."""
    if run.target is not None and any(execution.heat for execution in run.plan.executions):
        with contextlib.suppress(RunnerError):
            await run.target.power.cool()


def hear(run: Run, plan: ExecutionPlan, record: Record) -> None:
    """A record of the execution: the time of its heat begins with a stage's, the first one's start where its profile names none."""
    if plan.heat is None or plan.heat.constant or run.heating is None or record.kind not in EDGES:
        return
    asked, here = plan.heat.asked, (str(record.payload["stage"]).partition("@")[0], EDGES[record.kind])
    if here == ((asked.stage, asked.edge) if asked.stage else (plan.stages[0].partition("@")[0], "start")):
        run.heating.warm_soon()


def heating_of(run: Run, plan: ExecutionPlan) -> Heating:
    assert plan.heat and run.target and run.session
    own, state = not run.target.power.heats, run.target.home.state
    return Heating(run.target.power, run.session, plan.heat, f"{plan.name}.thermal-1", state, own, cap_s(plan), run.token, plan.name)


def spec_of(run: Run, plan: ExecutionPlan, spec: Row) -> Row:
    """The spec of an execution, with where it finds its sensors; and in the pipelines' group where that is what is slowed down."""
    if plan.heat is None:
        return spec
    heating = run.heating or heating_of(run, plan)
    spec = {**spec, "settings": {**spec["settings"], **thermal.settings(heating.paths)}}
    return {**spec, "scarcity": {"disk": None, **spec.get("scarcity", {}), "confined": True}} if heating.confined else spec
