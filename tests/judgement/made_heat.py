"""A made run whose device is heated: the loop itself (runner/ondevice/heater.py) over threads on paper, and stages that it slows down.

    run = MadeHeatRun(tmp_path)
    run.begin("recovery-1")
    run.heated(2.0, "recovery-1", [("look", 1.0), ("flow", 2.0)], HOT)      stages, and how long each takes at the full clock
    run.conclusion()

Each stage reads its sensors before and behind its work, as they were last told. `Bent` says what is not as it should be.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.judgement.conclude import Conclusion
from runner.judgement.guard_journal import GUARD
from runner.lab.where import builtin_root
from runner.ondevice.heater import Loop
from runner.ondevice.quota import Counted, Hierarchy
from runner.ondevice.told import ASKED
from tests.judgement.made_run import TOKEN, MadeRun

TICK_S = 0.25
BODY: dict[str, Any] = {
    "die_j_k": 3.0, "board_j_k": 30.0, "die_to_board_k_w": 4.0, "board_to_air_k_w": 7.0, "idle_w": 2.7, "busy_w": 3.7, "exponent": 2.0,
    "full_mhz": 1500.0, "hysteresis_k": 2.0, "critical_c": 95.0, "fan": None,
    "steps": [
        {"at_c": 80.0, "mhz": 1000.0, "word": "throttled"}, {"at_c": 84.0, "mhz": 600.0, "word": "capped"},
    ],
    "sensor": "/sys/class/thermal/thermal_zone0/temp", "clock": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "throttled": "",
}  # fmt: skip
ASKS: dict[str, Any] = {
    "fault": "thermal", "ambient_c": [{"at_s": 0.0, "c": 55.0}, {"at_s": 60.0, "c": 55.0}, {"at_s": 100.0, "c": 10.0}],
    "starts_at_c": 79.0, "fan": "works", "air": 1.0, "like": None, "pace": 5.0,
    "at_s": 0.0, "for_s": None, "every_s": None, "times": 1, "stage": "", "edge": "start",
}  # fmt: skip
HOT: dict[str, Any] = {"asked": ASKS, "body": BODY}


class Paper:
    """The processor threads of a board, on paper: busy or not, and kept waiting by others for a share of their time."""

    hierarchy = Hierarchy(1, "/paper")

    def __init__(self) -> None:
        self.share, self.cores = 1.0, 0
        self.now = Counted(0, 0, 0, 0)

    def take_in(self, pid: int, tids: list[int]) -> None:
        self.cores = len(tids)

    def limit(self, share: float) -> None:
        self.share = share

    def run(self, for_s: float, busy: float, waiting: float) -> None:
        """`busy` cores have work, of which they are kept for a share `waiting`."""
        ran, waited = for_s * self.share * busy * (1 - waiting), for_s * self.share * busy * waiting
        held = for_s * (1 - self.share) * busy
        more = Counted(int(ran * 1e9), int((waited + held) * 1e9), round(100 * for_s) if held > 0 else 0, int(held * 1e9))
        self.now = self.now.plus(more)

    def counted(self) -> Counted:
        return self.now

    def release(self) -> list[str]:
        return []


@dataclass
class Bent:
    """What is not as it should be: `waiting` of the host, `work` that a hot stage takes more than its clock explains, and lies."""

    waiting: float = 0.0
    slower: float = 1.0
    lies: Callable[[dict[str, Any]], dict[str, Any]] = lambda reading: reading
    own: float = 1.0  # times as long as at first this machine's own work takes while it is hot
    work_ratio: Callable[[float], float] = lambda asked: asked  # what is measured, of what is asked of a clock
    outputs: Callable[[str, dict[str, Any], bool], dict[str, Any]] = lambda stage, data, hot: data


STRAIGHT = Bent()


class MadeHeatRun(MadeRun):
    def __init__(self, root: Path, seed: int = 1) -> None:
        super().__init__(root)
        self.lines: list[dict[str, Any]] = []
        self.chance = random.Random(seed)
        self.golden: dict[str, dict[str, Any]] = {}  # what each stage comes to; nothing, unless a test says so
        self.programs: list[dict[str, Any]] = []  # what the guard was told
        self.at_each_stage: Callable[[float, dict[str, Any]], None] = lambda at_s, read: None  # what else happens as one begins
        self.over_s = 0.0  # when the last execution came to its end

    def guard(self, at_s: float, kind: str, /, **payload: Any) -> None:
        """A record of the device's guard."""
        self._write(GUARD, self.boot_id, at_s - self.boot_s[-1], kind, payload)

    def tell(self, execution: str, heat: dict[str, Any]) -> dict[str, Any]:
        """What the loop is told for a planned heat, and the plan with it."""
        from runner.model.plan import HeatPlan

        planned = HeatPlan.model_validate(heat)
        plan = {
            "name": execution,
            "scenario": execution.rpartition("-")[0],
            "cuts": [],
            "links": [],
            "heat": json.loads(planned.model_dump_json()),
        }
        self.plan["executions"].append({"module": "recovery", "durability": "journaled", "stages": [], **plan})
        return {**planned.told, "waits": True, "renew_s": 60.0, "cap_s": 3600.0, "run": TOKEN, "execution": execution}

    def heated(
        self, at_s: float, execution: str, stages: list[tuple[str, float]], heat: dict[str, Any], bent: Bent = STRAIGHT, *, cut_in: str = ""
    ) -> float:
        """The stages one behind the other under this heat, to the end of the last; `cut_in` one of them the power fails. When it ended."""
        told = self.tell(execution, heat)
        paper, self.bent = Paper(), bent
        own = {"duration_s": 0.02, "cpu_s": 0.02}
        rest = {"device": {"duration_s": 0.2, "cpu_s": 0.2}, "own": own}
        of_the_plan = {key: told[key] for key in told if key not in _LIMITS}
        self.note(at_s, "heat_began", execution=execution, told=of_the_plan, by="cpu_s", programs=self.programs, rest=rest)
        loop = Loop(told, paper, self.lines.append, self._ns(at_s))  # type: ignore[arg-type]
        loop.tick(self._ns(at_s), (7, [8, 9]))
        at_s = self._tick(at_s, loop, paper, busy=0.05)
        self.note(at_s, "heat_full", execution=execution, sample=self._sample(loop, bent))
        loop.warm(self._ns(at_s))
        samples: dict[float, dict[str, Any]] = {}
        for stage, cool_s in stages:
            at_s = self._stage(at_s, execution, stage, cool_s, loop, paper, bent, samples, cut=stage == cut_in)
        self.device(at_s, execution, "finished", state_sha256="")
        for _ in range(4):
            at_s = self._tick(at_s, loop, paper, busy=0.05)
        self.note(at_s, "heat_proof", execution=execution, rows=[], samples=list(samples.values()))
        loop.end(ASKED, self._ns(at_s))
        self.note(at_s, "heat_lifted", execution=execution, rows=[], after=rest, left=[])
        self.end(at_s, execution)
        return at_s

    def cool(self, at_s: float, execution: str, stages: list[tuple[str, float]]) -> float:
        """The same stages without heat; a little of chance is in how long each takes."""
        for stage, cool_s in stages:
            took_s = cool_s * self.chance.uniform(0.97, 1.06)
            self._begin_stage(at_s, execution, stage)
            at_s += took_s
            self._end_stage(at_s, execution, stage, took_s, [_none(), _none()], hot=False)
        self.device(at_s, execution, "finished", state_sha256="")
        self.note(at_s, "own_speed", execution=execution, own=[{"duration_s": 0.02, "cpu_s": 0.02}])
        self.end(at_s, execution)
        return at_s

    # ---- one stage, tick by tick --------------------------------------------------------------------------------------------

    def _stage(
        self, at_s: float, execution: str, stage: str, cool_s: float, loop: Loop, paper: Paper, bent: Bent,
        samples: dict[float, dict[str, Any]], *, cut: bool,
    ) -> float:  # fmt: skip
        began_s, hot = at_s, False
        self._begin_stage(at_s, execution, stage)
        before = self._reading(at_s, bent)
        self.at_each_stage(at_s, {key: before[key] for key in ("milli_c", "khz", "throttled")})
        left_s = cool_s * self.chance.uniform(0.97, 1.05)
        if cut:
            self.cut(at_s + 0.1, execution, stage, back_s=at_s + 4.0)
            for number in range(16):  # without power, and while it boots
                at_s = self._tick(at_s, loop, paper, busy=0.0 if number < 14 else 0.3, powered=number >= 13)
            began_s = at_s
            self._begin_stage(at_s, execution, stage)
            before = self._reading(at_s, bent)
        while left_s > 0:
            hot = hot or paper.share < 1
            rate = paper.share * (1 - bent.waiting) / (bent.slower if paper.share < 1 else 1.0)
            step_s = min(TICK_S, left_s / rate)
            if step_s < TICK_S:  # the rest of the tick it idles, and its end is within
                end_s = at_s + step_s
                self._tick(
                    at_s,
                    loop,
                    paper,
                    busy=step_s / TICK_S,
                    at=end_s,
                    execution=execution,
                    stage=stage,
                    began=began_s,
                    reads=before,
                    hot=hot,
                )
                at_s += TICK_S
                break
            left_s -= step_s * rate
            at_s = self._tick(at_s, loop, paper, busy=1.0)
            mhz = loop.line["mhz"]
            if mhz not in samples and self.lines[-2].get("mhz") == mhz:
                samples[mhz] = self._sample(loop, bent)
        return at_s

    def _tick(self, at_s: float, loop: Loop, paper: Paper, busy: float, *, powered: bool = True, at: float = 0.0, **stage: Any) -> float:
        """The quarter of a second from `at_s` on. With `at`, a stage ends within it; it reads what was told last."""
        paper.run(TICK_S, busy if powered else 0.0, self.bent.waiting if busy == 1.0 else 0.0)
        if stage:
            readings = [stage["reads"], self._reading(at, self.bent)]
            self._end_stage(at, stage["execution"], stage["stage"], at - stage["began"], readings, hot=stage["hot"])
        loop.tick(self._ns(at_s + TICK_S), (7, [8, 9]) if powered else None)
        return at_s + TICK_S

    def _sample(self, loop: Loop, bent: Bent) -> dict[str, Any]:
        line = loop.line
        asked = line["mhz"] / loop.told.throttle.full_mhz
        device = {"duration_s": 0.2 / asked, "cpu_s": 0.2 / bent.work_ratio(asked)}
        said = {key: line[key] for key in ("die_c", "mhz", "flags", "model_s")}
        sensed = {
            "temperature": str(round(line["die_c"] * 1000)),
            "clock": str(round(line["mhz"] * 1000)),
            "throttled": f"throttled={line['flags']:#x}",
        }
        own_s = 0.02 * (bent.own if asked < 1 else 1.0)
        own = {"duration_s": own_s, "cpu_s": own_s}
        return {
            "counted": {"ran_s": asked, "held_s": 1 - asked, "waited_s": 0.0},
            "device": device, "own": own, "mhz": line["mhz"], "steady": True, "nr_throttled": line["nr_throttled"],
            "sensed": sensed, "said": [said, said],
        }  # fmt: skip

    def _reading(self, at_s: float, bent: Bent) -> dict[str, Any]:
        line = self.lines[-1]
        now = {"boot": self.boot_id, "boottime_ns": int((at_s - self.boot_s[-1]) * 1e9)}
        return bent.lies({**now, "milli_c": round(line["die_c"] * 1000), "khz": round(line["mhz"] * 1000), "throttled": line["flags"]})

    def _begin_stage(self, at_s: float, execution: str, stage: str) -> None:
        self.witness(at_s, execution, stage)
        self.device(at_s, execution, "stage_started", stage=stage, life=self.lives[execution])

    def _end_stage(self, at_s: float, execution: str, stage: str, took_s: float, sensor: list[Any], *, hot: bool) -> None:
        data = getattr(self, "bent", STRAIGHT).outputs(stage, {**self.golden.get(stage, {}), "sensor": sensor}, hot)
        files = {name: str(data.get("sha256")) for name in data.get("files", [])}
        self.device(at_s, execution, "stage_finished", stage=stage, status="ok", data=data, files=files, duration_ns=int(took_s * 1e9))

    def _ns(self, at_s: float) -> int:
        return int((1000.0 + at_s) * 1e9)

    def conclusion(self, row: str = "all_held", reason: str = "every check held", **more: Any) -> Conclusion:
        self.folder.journals.mkdir(parents=True, exist_ok=True)
        self.write_heat()
        return super().conclusion(row, reason, **more)

    def write_heat(self) -> None:
        if self.lines:
            self.folder.heat_log.write_text("".join(json.dumps(line) + "\n" for line in self.lines))


_LIMITS = ("waits", "renew_s", "cap_s", "run", "execution")


def _none() -> dict[str, Any]:
    """What stages read on a board that has no sensors."""
    return {"boot": "0" * 32, "boottime_ns": 0, "milli_c": None, "khz": None, "throttled": None}


def golden_of_edge_001() -> dict[str, dict[str, Any]]:
    path = builtin_root() / "pipelines" / "edge_001" / "mocks" / "golden.json"
    found: dict[str, dict[str, Any]] = json.loads(path.read_text())["baseline"]
    return found
