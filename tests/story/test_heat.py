"""Heat over an execution, with a board that keeps books instead of getting warm: what is asked, in which order, and what becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runner.errors import LabError
from runner.farm.lease import Leases
from runner.faults import thermal
from runner.lab.load import Reader
from runner.lab.where import Lab, builtin_root
from runner.model.device import FirmwareLimit, ThrottleStep
from runner.model.device import Thermal as Body
from runner.model.plan import ExecutionPlan, HeatPlan
from runner.model.profile import Thermal
from runner.ondevice.journal import Journal, Record, boottime_ns
from runner.story import heat
from runner.story.heat import Heating
from runner.story.plan import heat_of
from runner.target.growing import GrowingFile
from tests.story.test_links import Device, FakeRun, notes

BODY = Body(
    die_j_k=3, board_j_k=40, die_to_board_k_w=4, board_to_air_k_w=6, idle_w=3, busy_w=3, full_mhz=1500, hysteresis_k=2, critical_c=95,
    steps=(ThrottleStep(at_c=70, mhz=600, word="throttled"),),
)  # fmt: skip
HOT = Thermal(fault="thermal", ambient_c=60.0, starts_at_c=80.0)


class Board(Device):
    """A device whose work takes as long as the power that heats it says."""

    def __init__(self, power: Power) -> None:
        super().__init__()
        self.power = power
        self.hello = {"capabilities": [], "boot_id": self.boot}  # type: ignore[dict-item]

    def _work(self, confined: bool) -> dict[str, Any]:
        took_s = 0.2 / self.power.quota
        return {"cpu_s": took_s, "duration_s": took_s}

    def _sensed(self, paths: dict[str, str]) -> dict[str, Any]:
        mhz = self.power.mhz
        return {"temperature": "80000", "clock": f"{mhz * 1000:.0f}", "throttled": "throttled=0x40004" if mhz < 1500 else "throttled=0x0"}

    def _revert(self, name: str) -> dict[str, Any]:
        gone = [self.armed.pop(name)["name"]] if self.lets_go and name in self.armed else []
        return {"reverted": gone, "left": [] if self.lets_go else [f"{name}: runner-sensors /sys/class/thermal"]}


class Power:
    """A keeper that heats at once, as far as it is told to; `left` is what it cannot take back."""

    heats = True

    def __init__(self) -> None:
        self.told: dict[str, Any] | None = None
        self.warmed, self.left, self.slows = False, list[str](), True
        self.ran_s = self.held_s = 0.0
        self.done: list[str] = []
        self.files: dict[str, GrowingFile] = {}

    @property
    def mhz(self) -> float:
        return 600.0 if self.warmed and self.told else 1500.0

    @property
    def quota(self) -> float:
        return self.mhz / 1500 if self.slows else 1.0

    async def heat(self, told: dict[str, Any]) -> dict[str, Any]:
        self.told = told
        self.done.append("heat")
        return {}

    async def warm(self) -> dict[str, Any]:
        self.warmed = True
        self.done.append("warm")
        return {}

    async def cool(self) -> dict[str, Any]:
        self.told, self.warmed = None, False
        self.done.append("cool")
        return {"left": self.left}

    async def facts(self) -> dict[str, Any]:
        flags = 0x40004 if self.mhz < 1500 else 0
        said = {"die_c": 80.0, "mhz": self.mhz, "flags": flags, "model_s": 1.0, "powered": True, "nr_throttled": 40 * self.warmed}
        self.ran_s, self.held_s = self.ran_s + self.quota, self.held_s + 1 - self.quota
        core = {"ran_s": self.ran_s, "held_s": self.held_s, "waited_s": 0.0}
        said["cores"] = {"8": core, "9": {**core, "held_s": 0.0}}
        return {"heat": {**said, "on": self.told is not None, "ended": "" if self.told else "nobody renewed it"}}

    def evidence(self) -> dict[str, GrowingFile]:
        return self.files


@pytest.fixture
def power() -> Power:
    return Power()


@pytest.fixture
def run(power: Power, tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    async def mirrored(*_: Any) -> None:
        return None

    monkeypatch.setattr(heat, "mirror_guard", mirrored)
    monkeypatch.setattr(heat.work, "measure", lambda: {"duration_s": 0.1, "cpu_s": 0.1})
    log = Journal.create(str(tmp_path / "coordinator.journal"), "run_began", {})
    lease = SimpleNamespace(leases=Leases(tmp_path / "state"))
    plan = SimpleNamespace(device="pi-04", identity="pi-04", type=SimpleNamespace(shared=False, thermal=None), data_link=None)
    target = SimpleNamespace(power=power, home=SimpleNamespace(state="/data/runner"))
    said: list[str] = []

    async def sleep(duration_s: float) -> None:  # lets others go on, as time does
        await asyncio.sleep(0)

    clock.sleep = sleep
    return FakeRun(
        session=Board(power), plan=plan, token="EDGE-001.x", target=target, heating=None, as_found=None, imposed_in="", clock=clock,
        lease=lease, log=log, folder=None, said=said, say=said.append, emit=lambda *_, **__: None,
        note=lambda kind, /, **facts: log.append(kind, facts), past=SimpleNamespace(marks=None),
    )  # fmt: skip


def execution(asked: Thermal | None = HOT) -> ExecutionPlan:
    plan = HeatPlan(asked=asked, body=BODY) if asked else None
    return ExecutionPlan(
        name="stress-1", scenario="stress", module="stress", durability="journaled", stages=("a", "b"), cuts=(), limit_s=60.0, heat=plan
    )


async def imposed(run: Any, plan: ExecutionPlan) -> None:
    """As a run does it."""
    await heat.impose(run, plan)
    run.imposed_in = run.session.hello["boot_id"]


async def lived(run: Any, plan: ExecutionPlan) -> None:
    """An execution under heat that lasts as long as a few looks."""
    await imposed(run, plan)
    async with heat.watched(run, plan):
        async with asyncio.timeout(30):
            while len(run.heating.samples) < heat.TIMES:
                await asyncio.sleep(0.001)
    await heat.lift(run, plan)


def test_nothing_is_asked_where_there_is_no_heat(run: Any, power: Power) -> None:
    """An entry without heat costs what it did before."""
    for act in (heat.impose, heat.lift, heat.impose_again):
        asyncio.run(act(run, execution(None)))
    assert run.session.asked == [] and power.done == []
    assert heat.spec_of(run, execution(None), {"settings": {}}) == {"settings": {}}


def test_told_warmed_timed_and_cooled(run: Any, power: Power) -> None:
    """In this order; what was measured at each clock stands in the notes, and nothing is left of it."""
    asyncio.run(lived(run, execution()))
    assert power.done == ["cool", "heat", "warm", "cool"]
    assert run.session.armed == {} and run.session.begun == ["stress-1.thermal-1"]
    assert notes(run, "heat_full")[0]["sample"]["mhz"] == 1500
    rows = notes(run, "heat_proof")[0]["rows"]
    assert {row["what"] for row in rows} >= {"speed at 600 MHz", "sensors"} and all(row["within"] for row in rows)
    assert all(row["within"] for row in notes(run, "heat_lifted")[0]["rows"])
    assert run.lease.leases.expected("pi-04") is None and run.lease.leases.quarantined("pi-04") is None
    order = run.session.asked
    assert order.index("fingerprint") < order.index("arm") < order.index("start_program") < order.index("sensed")


def test_a_board_that_is_not_slowed_down_is_not_reached(run: Any, power: Power) -> None:
    """The negative control: a clock that is only said to fall."""
    power.slows = False
    asyncio.run(lived(run, execution()))
    rows = {row["what"]: row for row in notes(run, "heat_proof")[0]["rows"]}
    assert rows["speed at 600 MHz"]["within"] is False


def test_a_device_whose_sensors_are_not_there_again_is_not_looked_at(run: Any) -> None:
    """Between its restart and its faults: what it then read would be a reading of nothing."""

    async def story() -> None:
        await imposed(run, execution())
        before, run.session.hello["boot_id"] = run.session.hello["boot_id"], "c" * 32
        async with heat.watched(run, execution()):
            for _ in range(50):
                await asyncio.sleep(0)
            assert run.heating.samples == []
            run.session.hello["boot_id"] = before
            async with asyncio.timeout(30):
                while not run.heating.samples:
                    await asyncio.sleep(0.001)

    asyncio.run(story())


def test_beside_the_baseline_of_something_heated_this_machine_is_timed(run: Any) -> None:
    """What is heated is held against it, and this machine may be faster now than later. In a run without any heat nobody looks."""

    async def own_of(executions: tuple[ExecutionPlan, ...]) -> list[dict[str, Any]]:
        run.plan.executions = executions
        async with heat.watched(run, execution(None)):
            await asyncio.sleep(0.1)
        return notes(run, "own_speed")

    assert asyncio.run(own_of((execution(None),))) == []
    (noted,) = asyncio.run(own_of((execution(None), execution())))
    assert noted["execution"] == "stress-1" and noted["own"][0]["cpu_s"] == 0.1
    assert 0 < noted["own"][0]["at_ns"] <= boottime_ns(), "so that it is told beside which stage"


def test_when_the_device_was_timed_is_noted(run: Any, power: Power, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each time, also of one that was broken off: whatever ran beside it had less of the device."""
    asyncio.run(lived(run, execution()))
    looks = notes(run, "heat_proof")[0]["looks"]
    assert len(looks) >= heat.TIMES and all(0 < began_ns <= ended_ns <= boottime_ns() for began_ns, ended_ns in looks)

    async def broken(heating: Heating) -> dict[str, Any]:
        raise LabError("it is being cut")

    async def looked() -> list[list[int]]:
        heating = heat.heating_of(run, execution())
        await heating.tell()
        monkeypatch.setattr(Heating, "sample", broken)
        with pytest.raises(LabError):
            await heating.look()
        return heating.looks

    assert len(asyncio.run(looked())) == 1


def test_a_mistake_of_the_timing_is_heard(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the middle of the execution, and not in place of what went wrong there; a device that does not answer is no mistake."""

    async def looked(error: Exception, *, broken: bool = False) -> None:
        tries: list[Heating] = []

        async def look(heating: Heating) -> None:
            tries.append(heating)
            raise error

        monkeypatch.setattr(Heating, "look", look)
        await imposed(run, execution())
        async with heat.watched(run, execution()):
            while not tries:
                await asyncio.sleep(0)
            if broken:
                raise LabError("the link broke")

    asyncio.run(looked(LabError("it is being cut")))
    asyncio.run(looked(OSError("the fixed work was ended by somebody")))
    with pytest.raises(KeyError, match="mhz"):
        asyncio.run(looked(KeyError("mhz")))
    with pytest.raises(LabError, match="the link broke"):
        asyncio.run(looked(KeyError("mhz"), broken=True))


def test_what_stays_quarantines(run: Any, power: Power) -> None:
    """A control group that nobody could remove, or sensors that are still mounted."""
    asyncio.run(heat.impose(run, execution()))
    power.left = ["/sys/fs/cgroup/cpu/runner-heat-1-2-0"]
    with pytest.raises(LabError, match="quarantined: it is slowed down by"):
        asyncio.run(heat.lift(run, execution()))
    assert run.lease.leases.quarantined("pi-04")


def test_a_host_that_cannot_blocks_the_run(run: Any, power: Power) -> None:
    """Nothing is armed then."""

    async def impossible(told: dict[str, Any]) -> dict[str, Any]:
        raise LabError("no board can be slowed down on this host")

    power.heat = impossible  # type: ignore[method-assign]
    with pytest.raises(LabError, match="no board can be slowed down"):
        asyncio.run(heat.impose(run, execution()))
    assert run.session.armed == {}


def test_after_a_restart_the_sensors_are_there_again(run: Any, power: Power) -> None:
    """The heat went on outside. Where it did not, nobody pretends."""
    asyncio.run(heat.impose(run, execution()))
    run.session.armed.clear()
    run.session.boot = "c" * 32
    run.session.hello["boot_id"] = run.session.boot
    asyncio.run(heat.impose_again(run, execution()))
    assert list(run.session.armed) == ["stress-1.thermal-1"]
    assert run.as_found["boot_id"] == "c" * 32
    asyncio.run(power.cool())
    with pytest.raises(LabError, match="no heat over the device any more: nobody renewed it"):
        asyncio.run(heat.impose_again(run, execution()))


@pytest.mark.parametrize(
    ("asked", "stage", "kind", "warm"),
    [
        (HOT.model_copy(update={"at_s": 5.0}), "a@2", "stage_started", True),
        (HOT.model_copy(update={"at_s": 5.0}), "b", "stage_started", False),
        (HOT.model_copy(update={"stage": "b", "edge": "end"}), "b", "stage_finished", True),
        (HOT.model_copy(update={"stage": "b", "edge": "end"}), "b", "stage_started", False),
        (HOT.model_copy(update={"stage": "b"}), "b", "sample", False),
    ],
)
def test_a_heat_that_waits_begins_with_its_stage(run: Any, power: Power, asked: Thermal, stage: str, kind: str, warm: bool) -> None:
    """The first one's start, where its profile names none; until then the board has its full clock."""

    async def story() -> None:
        await heat.impose(run, execution(asked))
        assert not power.warmed
        heat.hear(run, execution(asked), Record(1, "b" * 32, 1, 1, kind, {"stage": stage}, b""))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(story())
    assert power.warmed is warm


def test_what_a_dead_run_heated_is_no_evidence_of_the_next(run: Any, power: Power, tmp_path: Path) -> None:
    """It is cooled, and what was noted of it until then is passed over; a run that goes on keeps its own."""
    path = tmp_path / "heat.jsonl"
    path.write_text('{"told": 1}\n')
    power.files = {"heat.jsonl": GrowingFile(path)}
    power.told = {}
    with path.open("a") as file:
        file.write('{"die_c": 1}\n')
    asyncio.run(heat.clear(run))
    assert power.done == ["cool"]
    assert power.files["heat.jsonl"].new_bytes() == b""
    assert notes(run, "evidence_from")[0]["marks"] == {"heat.jsonl": power.files["heat.jsonl"].mark}
    run.past.marks, power.told = {"heat.jsonl": [0, 0]}, {}
    asyncio.run(heat.clear(run))
    assert len(notes(run, "evidence_from")) == 1


def test_what_ended_by_itself_since_then_is_no_evidence_either(run: Any, power: Power, tmp_path: Path) -> None:
    """Nobody renewed it, so it is off when it would be cooled; its last lines came behind the mark all the same."""
    path = tmp_path / "heat.jsonl"
    path.write_text('{"told": 1}\n')
    power.files = {"heat.jsonl": GrowingFile(path)}
    asyncio.run(heat.clear(run))
    assert notes(run, "evidence_from") == [], "nothing was written since"
    with path.open("a") as file:
        file.write('{"ended": "nobody renewed it"}\n')
    asyncio.run(heat.clear(run))
    assert power.files["heat.jsonl"].new_bytes() == b"" and len(notes(run, "evidence_from")) == 1


def test_a_device_is_as_before_when_one_measurement_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """That one is kept, and not a faster one that nothing excused; where none does, the fastest of many."""
    rest = {"device": {"cpu_s": 0.1}, "own": {"duration_s": 0.1}}
    slow, excused = {"device": {"cpu_s": 0.14}, "own": {"duration_s": 0.1}}, {"device": {"cpu_s": 0.15}, "own": {"duration_s": 0.15}}
    measured = [slow, excused]

    async def timed(session: Any, *, beside: bool) -> dict[str, Any]:
        return measured.pop(0) if len(measured) > 1 else measured[0]

    monkeypatch.setattr(heat, "timed_work", timed)
    assert asyncio.run(heat.as_before(cast(Any, None), "cpu_s", rest)) is excused
    measured[:] = [slow]
    assert asyncio.run(heat.as_before(cast(Any, None), "cpu_s", rest)) is slow


def test_the_core_that_was_held_up_most_tells_how_slow_a_board_is() -> None:
    """One that works a little is never held up; one that was not there all the while has no figures."""
    before = {"8": {"ran_s": 1.0, "held_s": 2.0}, "9": {"ran_s": 5.0, "held_s": 0.0}}
    then = {"8": {"ran_s": 1.4, "held_s": 2.6}, "9": {"ran_s": 5.3, "held_s": 0.1}, "10": {"ran_s": 9.0, "held_s": 9.0}}
    assert heat.most_held_up(before, then) == {"ran_s": 0.4, "held_s": 0.6}
    assert heat.most_held_up({}, then) is None


def test_a_device_that_heats_itself_slows_its_pipelines(run: Any, power: Power) -> None:
    """They run in their group, and read sensors that lie in files of their own."""
    power.heats = False
    spec = heat.spec_of(run, execution(), {"settings": {"A": "1"}})
    assert spec["scarcity"] == {"disk": None, "confined": True}
    assert spec["settings"] == {
        "A": "1",
        "SENSOR_TEMPERATURE": "/data/runner/heater/sensor/temp",
        "SENSOR_CLOCK": "/data/runner/heater/clock/scaling_cur_freq",
        "SENSOR_THROTTLED": "/data/runner/heater/throttled",
    }
    power.heats = True
    assert heat.spec_of(run, execution(), {"settings": {}})["settings"]["SENSOR_TEMPERATURE"] == BODY.sensor


def test_a_quota_that_stays_over_the_pipelines_is_left(run: Any, power: Power, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is as fast as before then, outside of their group: the kernel says what is over it. A limit of memory is another's."""
    power.heats = False
    heating = heat.heating_of(run, execution())
    group = {"memory_limit_bytes": 64 << 20, "members": 0}
    monkeypatch.setattr(Board, "_clear_scarcity", lambda _: {"confined": group}, raising=False)
    assert asyncio.run(heating.cool(run.ground)) == []
    group |= {"cpu_quota_us": 4000, "cpu_period_us": 10_000}
    assert asyncio.run(heating.cool(run.ground)) == ["a quota of the pipelines' group: 4000 µs of 10000"]
    power.heats = True
    assert asyncio.run(heat.heating_of(run, execution()).cool(run.ground)) == []


CLOCKS = {
    "folder": "/sys/devices/system/cpu/cpufreq",
    "before": {"policy0": {"limit": 1_500_000, "most": 1_500_000, "least": 600_000, "steps": []}},
}


@pytest.fixture
def by_its_clocks(run: Any, power: Power, monkeypatch: pytest.MonkeyPatch) -> Board:
    """The run's board has clocks that it may limit by itself, and nobody outside slows it down: its loop says what the power does else."""
    board: Board = run.session
    board.hello["capabilities"] = ["cpufreq", "cgroup-cpu"]
    power.heats = False

    def heat(warm: bool = False) -> dict[str, Any]:
        power.told, power.warmed = ({} if board.armed else None), (power.warmed or warm) and bool(board.armed)
        said = {"die_c": 80.0, "mhz": power.mhz, "flags": 0x40004 if power.mhz < 1500 else 0, "model_s": 1.0, "nr_throttled": 9}
        return {**said, "powered": True, "on": bool(board.armed), "ended": ""}

    monkeypatch.setattr(Board, "_heat", lambda _, **words: heat(**words), raising=False)
    monkeypatch.setattr(Board, "_frequency", lambda _, **words: CLOCKS, raising=False)
    monkeypatch.setattr(Power, "mhz", property(lambda self: 600.0 if self.warmed and self.told is not None else 1500.0))
    return board


def test_a_board_with_clocks_of_its_own_is_slowed_down_by_them(run: Any, by_its_clocks: Board, power: Power) -> None:
    """Its pipelines are in no group; undo and signs say what each clock might before, and the guard is told when it is too hot."""
    programs: list[dict[str, Any]] = []

    async def story() -> None:
        await imposed(run, execution())
        programs.append(by_its_clocks.armed["stress-1.thermal-1"])
        assert heat.spec_of(run, execution(), {"settings": {}}).get("scarcity") is None
        async with heat.watched(run, execution()):
            async with asyncio.timeout(30):
                while len(run.heating.samples) < heat.TIMES:
                    await asyncio.sleep(0.001)
        await heat.lift(run, execution())

    asyncio.run(story())
    assert notes(run, "heat_began")[0]["rest"]["own"] is None, "how fast this machine is says nothing of that board"
    assert "prepare_scarcity" not in by_its_clocks.asked and power.done == ["cool", "cool"]
    (program,) = programs
    assert program["undo"][1]["argv"] == ["@supervisor", "frequency", "back", "/sys/devices/system/cpu/cpufreq", "policy0=1500000"]
    assert program["signs"][1]["argv"][1:3] == ["frequency", "shown"]
    assert program["hot"] == {"sensor": BODY.sensor, "at_milli_c": 85_000}
    assert notes(run, "heat_began")[0]["by"] == "cpu_s"
    assert all(row["within"] for row in notes(run, "heat_proof")[0]["rows"])


@pytest.mark.parametrize("there", [True, False])
def test_a_limit_of_the_firmwares_that_a_type_declares_is_one_of_its_clocks(
    run: Any, by_its_clocks: Board, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """In the undo, and in the signs; a board that has none of the kind is blocked, and nothing is armed on it."""
    declared = FirmwareLimit(file="/sys/firmware/max_rate", full=1_500_000_000, least=600_000_000)
    run.plan.type.thermal = BODY.model_copy(update={"firmware_limit": declared})
    its_own = {declared.file: {"limit": 1_400_000_000, "most": declared.full, "least": declared.least, "steps": []}} if there else {}

    def frequency(_: Board, firmware: dict[str, Any]) -> dict[str, Any]:
        assert firmware == declared.model_dump()
        return {**CLOCKS, "before": {**CLOCKS["before"], **its_own}}

    monkeypatch.setattr(Board, "_frequency", frequency, raising=False)
    if there:
        asyncio.run(heat.impose(run, execution()))
        program = by_its_clocks.armed["stress-1.thermal-1"]
        assert program["undo"][1]["argv"][4:] == program["signs"][1]["argv"][4:] == [f"{declared.file}=1400000000", "policy0=1500000"]
    else:
        with pytest.raises(LabError, match="/sys/firmware/max_rate says no number"):
            asyncio.run(heat.impose(run, execution()))
        assert not by_its_clocks.armed


@pytest.mark.parametrize(("critical_c", "milli_c"), [(95.0, 85_000), (103.0, 85_000), (88.0, 83_000)])
def test_it_is_let_go_at_85_degrees_or_5_below_what_is_critical(critical_c: float, milli_c: int) -> None:
    """Whichever comes first."""
    assert thermal.hard_abort_milli_c(BODY.model_copy(update={"critical_c": critical_c})) == milli_c


def test_a_board_that_is_heated_like_another_is_let_go_by_its_own_figures() -> None:
    """The model's body is the other's; the sensor is this board's, and so is what it bears. One that says nothing of itself is held to
    the body that it was given."""
    own = BODY.model_copy(update={"critical_c": 80.0, "steps": (), "sensor": "/sys/class/hwmon/hwmon0/temp1_input"})
    limits = {"renew_s": 1.0, "cap_s": 1.0, "run": "r", "execution": "stress-1"}

    def hot(plan: HeatPlan) -> dict[str, Any]:
        program = thermal.own_program(plan, "stress-1.thermal-1", "/state", limits, CLOCKS)
        assert program.hot is not None
        return program.hot.model_dump()

    assert hot(HeatPlan(asked=HOT, body=BODY, own=own)) == {"sensor": own.sensor, "at_milli_c": 75_000}
    assert hot(HeatPlan(asked=HOT, body=BODY)) == {"sensor": BODY.sensor, "at_milli_c": 85_000}


def test_the_plan_knows_both_bodies() -> None:
    """Where a profile says whose body gets warm, the device's own is in the plan beside it."""
    reader = Reader(Lab(builtin_root(), Path("runs"), builtin=True))
    type = reader.device_type("raspberry-pi-4", "here")
    assert type is not None and type.thermal is not None
    for name, own in (("fan-failure", type.thermal), ("heat-ramp", None)):
        profile = reader.profile(name, "here")
        assert profile is not None
        plan = heat_of(reader, {name: profile}, type, "pi")
        assert plan is not None and plan.own == own and plan.real == type.thermal
        assert (plan.body == type.thermal) is (own is None), name


def test_the_clocks_of_a_machine_that_others_work_on_are_left_alone(run: Any, by_its_clocks: Board) -> None:
    """There the pipelines alone get a quota."""
    run.plan.type.shared = True
    asyncio.run(heat.impose(run, execution()))
    assert "frequency" not in by_its_clocks.asked and "prepare_scarcity" in by_its_clocks.asked
    assert by_its_clocks.armed["stress-1.thermal-1"]["hot"] is None
