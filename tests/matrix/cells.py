"""Which cells there are: every fault × whoever is killed × the phase in which it happens.

    arming      undo and deadlines are on the board's disk, and nothing has begun
    applying    the first step is under way, and half of it is done
    holding     the step is done; the fault is in effect
    reverting   the undo is under way

Phases are made wide by data: an act that sleeps stands in the middle of the step, or before the undo's last acts. So whatever
strikes then falls into the phase, and that it did is asked and not assumed. Pure: nothing is touched here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from runner.faults import thermal
from runner.faults.compose import programs_of
from runner.faults.kernel import Before
from runner.lab.load import Reader
from runner.lab.where import Lab, builtin_root
from runner.model.device import DataLink
from runner.model.plan import HeatPlan
from runner.model.profile import Bandwidth, Direction, Disk, Jamming, Link, Offline, Pace, Resources, Scarcity, Steady, Thermal, WrongClock
from runner.model.program import Act, Program
from runner.story.scarcity import asked_of

COORDINATOR, SUPERVISOR, GUARD, BOTH_GUARDS = "coordinator", "supervisor", "guard", "guard and twin"
LINK, POWER, CAP = "SSH cut", "power cut", "hard cap"
VICTIMS = (COORDINATOR, SUPERVISOR, GUARD, LINK, POWER, CAP)
ARMING, APPLYING, HOLDING, REVERTING = PHASES = ("arming", "applying", "holding", "reverting")

ONLY_PATH = "only path"
ONLY_PATH_S = 12.0  # its own schedule: nobody can renew meanwhile, so this is what ends it
RENEW_S, UNHURRIED_RENEW_S = 5.0, 60.0
WIDE_S, WIDER_S = 4.0, 12.0  # how long the sleeping act keeps a phase open; the second where a deadline must fall into it
CAP_S = {ARMING: 6.0, APPLYING: 8.0, HOLDING: 9.0, REVERTING: 10.0}  # since before it was armed, which takes a slow board seconds
LONG_CAP_S = 600.0
LEAST_ON_S = 60.0  # of the random jammer's first time on


Fault = Link | Steady | Scarcity | HeatPlan


class Cell(NamedTuple):
    """One kill in one phase of one fault."""

    fault: str
    victim: str
    phase: str

    def __str__(self) -> str:
        return f"{self.fault}, {self.victim}, {self.phase}"

    def renew_s(self, scale: float) -> float:
        """For how long the guard goes on without hearing of anybody. Where it is the cap that must strike, nothing else is in its way."""
        return UNHURRIED_RENEW_S if self.victim == CAP else RENEW_S * scale

    def cap_s(self, scale: float) -> float:
        return CAP_S[self.phase] * scale if self.victim == CAP else LONG_CAP_S

    @property
    def reboots(self) -> bool:
        """Whether the board takes a boot to be as it was: the kernel's part of any fault ends with it, guard or no guard."""
        return self.victim == POWER


def _gprs() -> Link:
    profile = Reader(Lab(builtin_root(), Path("runs"), builtin=True)).profile("gprs", "the matrix")
    assert profile
    return profile.links[0]


def _traced() -> Link:
    """A rate that changes every three seconds, so that a step is due while the fault is held."""
    rates = ((0.0, 200.0), (3.0, 60.0), (6.0, 400.0))
    way = Direction(trace=tuple(Pace(at_s=at_s, rate_kbit_s=rate) for at_s, rate in rates), trace_every_s=60.0)
    return Bandwidth(fault="bandwidth", up=way, down=way)


def _heat() -> HeatPlan:
    """As warm as it gets: what is armed on the board for it is its sensors."""
    board = Reader(Lab(builtin_root(), Path("runs"), builtin=True)).thermal("raspberry-pi-4", "the matrix")
    assert board
    return HeatPlan(asked=Thermal(fault="thermal", ambient_c=60.0, starts_at_c=90.0), body=board)


FAULTS: dict[str, Callable[[], Fault]] = {
    "gprs": _gprs,
    "trace": _traced,
    "drop": lambda: Offline(fault="offline"),
    "link down": lambda: Offline(fault="offline", how="link_down"),
    "jam constant": lambda: Jamming(fault="jamming", jammer="constant"),
    "jam deceptive": lambda: Jamming(fault="jamming", jammer="deceptive"),
    "jam random": lambda: Jamming(fault="jamming", jammer="random", mean_on_s=60.0, mean_off_s=1.0),
    "jam reactive": lambda: Jamming(fault="jamming", jammer="reactive", probability_percent=100.0, answer_ms=500.0),
    "steady": lambda: Steady(fault="steady"),
    ONLY_PATH: lambda: Offline(fault="offline", for_s=ONLY_PATH_S),
    "caps": lambda: Resources(fault="resources", memory_mib=64, cpu_share=0.5, processes=50),
    "full disk": lambda: Disk(fault="disk", what="full"),
    "bad disk": lambda: Disk(fault="disk", what="io_errors"),
    "clock jump": lambda: WrongClock(fault="clock", jump_s=-3600.0),
    "clock drift": lambda: WrongClock(fault="clock", drift_ppm=20_000.0),
    "heat": _heat,
}
WAYS = ("gprs", "link down", "jam reactive", ONLY_PATH)  # queues, the interface, a table that answers, one that only drops
ON_THE_DEVICE = ("caps", "full disk", "bad disk", "clock jump", "clock drift", "heat")  # the link is left alone
SILENT = frozenset(FAULTS) - {"gprs", "trace", "steady", *ON_THE_DEVICE}  # nothing of what the board sends arrives at the far end


def every_cell() -> list[Cell]:
    """All of them, those that cost a boot last."""
    cells = [Cell(*words) for words in itertools.product(FAULTS, VICTIMS, PHASES)]
    return sorted([*cells, *both_guards()], key=lambda cell: cell.reboots)


def both_guards() -> list[Cell]:
    """Guard and twin killed at one moment, so that only somebody who asks the supervisor brings a guard back."""
    return [Cell("drop", BOTH_GUARDS, phase) for phase in PHASES]


Pair = tuple[int, str, int, str]


def pairs(words: Sequence[str]) -> set[Pair]:
    """Each two of the words, with their places."""
    return {(a, words[a], b, words[b]) for a, b in itertools.combinations(range(len(words)), 2)}


def pairwise(lists: Sequence[Collection[str]]) -> list[tuple[str, ...]]:
    """Few combinations of one word of each list, in which every two words of two lists stand together at least once. Greedy, and
    the same each time."""
    every = list(itertools.product(*lists))
    missing = set().union(*(pairs(words) for words in every))
    chosen = []
    while missing:
        best = max(every, key=lambda words: len(pairs(words) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def pairwise_cells(faults: Collection[str] = tuple(FAULTS)) -> list[Cell]:
    """Every pair of fault and victim, fault and phase, victim and phase; those that cost a boot last."""
    return sorted((Cell(*words) for words in pairwise((faults, VICTIMS, PHASES))), key=lambda cell: cell.reboots)


def ci_cells() -> list[Cell]:
    """For `scripts/test`: the pairwise set over one fault of each way in which the kernel is told, and every other fault once, each with
    another victim; those that cost a boot last."""
    others = [fault for fault in FAULTS if fault not in WAYS]
    once = [Cell(fault, VICTIMS[place % len(VICTIMS)], PHASES[place % len(PHASES)]) for place, fault in enumerate(others)]
    return sorted([*pairwise_cells(WAYS), *once], key=lambda cell: cell.reboots)


# ---- the program of a cell ------------------------------------------------------------------------------------------------


def made_for(cell: Cell) -> dict[str, Any] | None:
    """What a supervisor makes for an execution that has too little of something, before anything is armed; None for any other."""
    fault = FAULTS[cell.fault]()
    return asked_of([fault]) if isinstance(fault, Scarcity) else None


def program_of(cell: Cell, link: DataLink, capabilities: Collection[str], before: Before, scale: float = 1.0) -> Program:
    """The fault's own program with the cell's phase made wide. `scale`: wider, where a busy machine has missed it."""
    if cell.fault == ONLY_PATH:
        link = link.model_copy(update={"one_path": True})
    program = _with_a_long_first_window(FAULTS[cell.fault](), link, capabilities, before)
    asleep = Act(argv=("sleep", f"{(WIDER_S if cell.victim == CAP else WIDE_S) * scale:g}"))
    first = program.steps[0]
    if cell.phase == APPLYING:
        middle = (len(first.acts) + 1) // 2
        first = first.model_copy(update={"acts": (*first.acts[:middle], asleep, *first.acts[middle:])})
    undo = program.undo
    if cell.phase == REVERTING:
        middle = len(undo) // 2 if len(looks_at(program)) > 1 else 0  # behind the act that the only look sees, nothing could be seen
        undo = (*undo[:middle], asleep, *undo[middle:])
    lasts_s = None if program.lasts_s is None else program.lasts_s * scale
    return program.model_copy(update={"steps": (first, *program.steps[1:]), "undo": undo, "lasts_s": lasts_s})


def looks_at(program: Program) -> set[tuple[str, ...]]:
    """The commands by which signs of the program are seen."""
    return {sign.argv for sign in program.signs}


def _with_a_long_first_window(settings: Fault, link: DataLink, capabilities: Collection[str], before: Before) -> Program:
    """What happens by chance is seeded so that the first thing that happens lasts for longer than any cell."""
    if isinstance(settings, HeatPlan):
        return thermal.sensors_program(settings, "matrix.thermal-1")
    for seed in range(1000):
        (program,) = programs_of([settings], link, "matrix", seed, capabilities, before)
        if program.fault != "jamming" or len(program.steps) == 1 or program.steps[1].at_s >= LEAST_ON_S:
            return program
    raise AssertionError(f"no seed keeps {program.name} on for {LEAST_ON_S:g} s")
