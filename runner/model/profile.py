"""Profiles: faults over time. A profile is data; what a fault does is code in `runner/faults/`.

    cutting faults   what the power does at chosen points of an execution: power_cut, tamper, or neither (steady)
    link faults      what the data link does over the time of an execution: bandwidth, offline, jamming, external
    heat             what the air around the board does over that time: thermal
    scarcity         what the device has too little of, or is wrong about: resources, disk, clock

A profile has at most one cutting fault and one of heat, and any number of link faults that do not want the same thing at once.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from runner.model.base import Name, Value

# strict: "64" in quotes is a word and no number, and what was meant by it is not guessed
Percent = Annotated[float, Field(ge=0, le=100, strict=True)]
Rate = Annotated[float, Field(gt=0, le=10_000_000, strict=True)]  # kbit/s
Milliseconds = Annotated[float, Field(ge=0, le=600_000, strict=True)]
Seconds = Annotated[float, Field(ge=0, le=86_400, strict=True)]
Duration = Annotated[float, Field(gt=0, le=86_400, strict=True)]  # s
Celsius = Annotated[float, Field(ge=-100, le=200, strict=True)]


class Steady(Value):
    """No fault at all: the measuring stick."""

    fault: Literal["steady"]


class PowerCut(Value):
    """Power is cut at each of `points` in turn, over all stages; `random` cuts somewhere inside a stage's body."""

    fault: Literal["power_cut"]
    points: tuple[Literal["created", "before_flush", "after_flush", "after_ack", "random", "during_resume"], ...] = Field(min_length=1)


Damage = Literal["bit_flip", "torn_tail", "foreign_journal", "changed_pipeline"]


class Tamper(Value):
    """Each image: the power is cut, what lies on the disk is damaged while it is off, and the power comes back.

    `bit_flip` and `torn_tail` (whole 512-byte sectors lost) hit what was promised, at seeded places; `foreign_journal` is
    another execution's; `changed_pipeline` changes the code that the journal began with.
    """

    fault: Literal["tamper"]
    damage: tuple[Damage, ...] = Field(min_length=1)


class Timed(Value):
    """When a link fault is on: for `for_s` seconds (to the end of the execution, if not said) from `at_s` seconds behind the `edge` of a
    stage; behind the start of the first one, if none is named. Again every `every_s` seconds, `times` in all.

    Where none of that is said, it is on from before the execution begins until it has ended, and measured at once.
    """

    at_s: Seconds = 0.0
    for_s: Duration | None = None
    every_s: Duration | None = None
    times: int = Field(1, ge=1, le=1000, strict=True)
    stage: str = ""
    edge: Literal["start", "end"] = "start"

    @model_validator(mode="after")
    def _repeats_with_room(self) -> Self:
        if (self.times > 1) != (self.every_s is not None):
            raise ValueError("`times` and `every_s` go together")
        if self.every_s is not None and (self.for_s is None or self.for_s >= self.every_s):
            raise ValueError("a fault that comes again is on `for_s` seconds, and that is less than `every_s`")
        return self

    @property
    def windows(self) -> tuple[tuple[float, float | None], ...]:
        """Each time that the fault is on, [from, to) in seconds; None: to the end."""
        starts = (self.at_s + number * (self.every_s or 0.0) for number in range(self.times))
        return tuple((start, None if self.for_s is None else start + self.for_s) for start in starts)


class Burst(Value):
    """Gilbert-Elliott loss: from the good state into the bad one with `p_percent` a packet, back with `r_percent`."""

    p_percent: Percent = Field(gt=0)
    r_percent: Percent = Field(gt=0)
    loss_in_bad_percent: Percent = 100.0
    loss_in_good_percent: Percent = 0.0


class Pace(Value):
    """One point of a trace: what the rate, the delay or both are from `at_s` seconds after the fault came on."""

    at_s: Seconds
    rate_kbit_s: Rate | None = None
    delay_ms: Milliseconds | None = None


class Direction(Value):
    """One direction of a link. What is not said is as it was."""

    rate_kbit_s: Rate | None = None
    trace: tuple[Pace, ...] = Field(default=(), max_length=1000)  # rates, delays or both that follow one another, instead of one
    trace_every_s: Duration | None = None  # the trace begins anew after so many seconds, again and again
    ramp_from_kbit_s: Rate | None = None  # the rate begins here and reaches `rate_kbit_s` after `ramp_s`
    ramp_s: Duration | None = None
    delay_ms: Milliseconds = 0.0
    jitter_ms: Milliseconds = 0.0
    loss_percent: Percent = 0.0
    burst: Burst | None = None
    duplicate_percent: Percent = 0.0
    reorder_percent: Percent = 0.0
    payload_bytes: int | None = Field(default=None, ge=1, le=65_535, strict=True)  # message-oriented links: a longer packet does not pass
    duty_cycle_percent: Percent | None = Field(default=None, gt=0)  # the share of time that may be sent; the mean rate is that much lower

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        self._trace_is_one()
        if (self.ramp_from_kbit_s is None) != (self.ramp_s is None) or (self.ramp_s is not None and self.rate_kbit_s is None):
            raise ValueError("a ramp has `ramp_from_kbit_s`, `ramp_s`, and the `rate_kbit_s` that it reaches")
        if self.burst is not None and self.loss_percent:
            raise ValueError("`burst` or `loss_percent`, not both")
        if self.jitter_ms > self.least_delay_ms:
            raise ValueError("`jitter_ms` is at most `delay_ms`: nothing arrives before it is sent")
        if self.reorder_percent and not self.least_delay_ms:
            raise ValueError("`reorder_percent` needs `delay_ms`: what overtakes does so by not being delayed")
        if self.duty_cycle_percent is not None and self.rate_kbit_s is None and not any(point.rate_kbit_s for point in self.trace):
            raise ValueError("`duty_cycle_percent` needs a rate: it is a share of it")
        return self

    def _trace_is_one(self) -> None:
        rates, delays = ([getattr(point, name) is not None for point in self.trace] for name in ("rate_kbit_s", "delay_ms"))
        if self.trace and (self.trace[0].at_s or any(a.at_s >= b.at_s for a, b in pairwise(self.trace))):
            raise ValueError("a `trace` begins with `at_s: 0`, and each further point is later than the one before")
        if self.trace and not ((all(rates) or not any(rates)) and (all(delays) or not any(delays)) and (any(rates) or any(delays))):
            raise ValueError("each point of a `trace` says `rate_kbit_s`, or each says `delay_ms`, or each says both")
        if any(rates) and (self.rate_kbit_s is not None or self.ramp_from_kbit_s is not None):
            raise ValueError("a `trace` of rates stands instead of `rate_kbit_s` and of a ramp")
        if any(delays) and self.delay_ms:
            raise ValueError("a `trace` of delays stands instead of `delay_ms`")
        if self.trace_every_s is not None and (not self.trace or self.trace_every_s <= self.trace[-1].at_s):
            raise ValueError("`trace_every_s` is for a `trace`, and later than its last point")

    @property
    def least_delay_ms(self) -> float:
        return min((point.delay_ms for point in self.trace if point.delay_ms is not None), default=self.delay_ms)

    @property
    def asks_nothing(self) -> bool:
        return self == Direction()


class Bandwidth(Timed):
    """A narrow, slow or lossy data link. `up` is from the device, `down` to it."""

    fault: Literal["bandwidth"]
    up: Direction
    down: Direction

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.up.asks_nothing and self.down.asks_nothing:
            raise ValueError("`up` or `down` says what is other than before")
        return self


class Offline(Timed):
    """The data link passes nothing: every packet is dropped in a table of our own (`drop`), or the interface goes down (`link_down`)."""

    fault: Literal["offline"]
    how: Literal["drop", "link_down"] = "drop"


class Jamming(Timed):
    """Somebody transmits over the data link.

    constant: nothing passes either way, the link stays up. deceptive: the medium looks busy, so the device never sends; it still
    hears. random: on and off by chance, `mean_on_s` and `mean_off_s` long. reactive: a packet that is sent wakes the jammer with
    `probability_percent`, and for `answer_ms` nothing passes either way, acknowledgements neither.
    """

    fault: Literal["jamming"]
    jammer: Literal["constant", "deceptive", "random", "reactive"]
    mean_on_s: Duration | None = None
    mean_off_s: Duration | None = None
    probability_percent: Percent | None = Field(None, gt=0)
    answer_ms: Milliseconds | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _has_its_own_settings(self) -> Self:
        for jammer, names in _JAMMERS_OWN.items():
            for name in names:
                if (getattr(self, name) is not None) != (self.jammer == jammer):
                    raise ValueError(f"`{name}` is for `jammer: {jammer}`, and needed there")
        return self


_JAMMERS_OWN = {"random": ("mean_on_s", "mean_off_s"), "reactive": ("probability_percent", "answer_ms")}


class External(Timed):
    """A fault that somebody else's package brings, by the entry point group `stageflow_runner.faults`. It checks its `settings` itself."""

    fault: Literal["external"]
    name: Name
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)


class Air(Value):
    """One point of a day: the air is `c` warm, `at_s` seconds (of the model's time) after the fault came on."""

    at_s: Annotated[float, Field(ge=0, le=8_640_000, strict=True)]
    c: Celsius


class Thermal(Timed):
    """Heat: the board warms as its work and the air around it say, and its clock falls as its firmware would let it.

    `ambient_c` is one number, or points of a day with straight lines between them. `starts_at_c` is the die when the fault comes on; if
    not said, the board has been idle there for long. `air` is how much more the way from the board to the air resists: 1.6 is
    a closed box. `like` names a type of device whose figures are taken instead of the device's own. `pace` is seconds of the model per real
    second: every time is said with it, and nothing but the heat goes faster.
    """

    fault: Literal["thermal"]
    ambient_c: Celsius | Annotated[tuple[Air, ...], Field(min_length=1, max_length=1000)]
    starts_at_c: Celsius | None = None
    fan: Literal["works", "failed"] = "works"
    air: Annotated[float, Field(ge=0.1, le=100, strict=True)] = 1.0
    like: Name | None = None
    pace: Annotated[float, Field(ge=0.1, le=1000, strict=True)] = 1.0

    @model_validator(mode="after")
    def _day_runs_forward(self) -> Self:
        points = self.timeline
        if points[0][0] or any(a[0] >= b[0] for a, b in pairwise(points)):
            raise ValueError("`ambient_c` begins with `at_s: 0`, and each further point is later than the one before")
        return self

    @property
    def timeline(self) -> tuple[tuple[float, float], ...]:
        """(at_s, c) in the model's time, as `heat.ambient_at` reads it."""
        if isinstance(self.ambient_c, tuple):
            return tuple((point.at_s, point.c) for point in self.ambient_c)
        return ((0.0, self.ambient_c),)


class Resources(Timed):
    """A device that is too small: the pipeline's processes, and nobody else's, have so much memory, so many cores, so many tasks.

    `memory_mib` is all that they may have, without any swap; who wants more is killed for want of memory. `cpu_share` is in cores:
    0.25 is a quarter of one. `processes` counts threads, too. `like` names a type of device, whose size stands for what is not said.
    """

    fault: Literal["resources"]
    memory_mib: int | None = Field(None, ge=8, le=1_048_576, strict=True)
    cpu_share: Annotated[float, Field(ge=0.01, le=1024, strict=True)] | None = None
    processes: int | None = Field(None, ge=1, le=1_000_000, strict=True)
    like: Name | None = None

    @model_validator(mode="after")
    def _is_scarce_of_something(self) -> Self:
        if self.like is None and self.memory_mib is None and self.cpu_share is None and self.processes is None:
            raise ValueError("`memory_mib`, `cpu_share`, `processes` or `like` says what there is little of")
        return self


class Disk(Timed):
    """The folder that stages get as SCARCE_FOLDER, a file system of its own of `size_mib`, and what is wrong with it.

    full: no byte is left. no_inodes: no file can be made. read_only: it takes nothing. io_errors: the medium fails, by what `fails` says.
    """

    fault: Literal["disk"]
    what: Literal["full", "no_inodes", "read_only", "io_errors"]
    size_mib: int = Field(16, ge=8, le=1024, strict=True)
    fails: Literal["writes", "everything"] = "writes"

    @model_validator(mode="after")
    def _fails_where_it_can(self) -> Self:
        if self.fails != "writes" and self.what != "io_errors":
            raise ValueError("`fails` is for `what: io_errors`")
        return self


LEAST_JUMP_S = 5.0  # clocks are held to 2 s (runner/judgement/clocks.py)


class WrongClock(Timed):
    """The device's wall clock is wrong: it jumps by `jump_s`, or to the moment `to` in UTC, and drifts on by `drift_ppm`.

    The boot-time clock, by which every deadline and every record is timed, goes on as it was. A moment before the device was
    started cannot be had: a board without a clock begins in 1970 and shows its own uptime.
    """

    fault: Literal["clock"]
    jump_s: Annotated[float, Field(ge=-4_000_000_000, le=4_000_000_000, strict=True)] | None = None
    to: str | None = Field(None, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    drift_ppm: Annotated[float, Field(ge=-500_000, le=500_000, strict=True)] = 0.0

    @model_validator(mode="after")
    def _is_wrong(self) -> Self:
        if self.jump_s is not None and self.to is not None:
            raise ValueError("`jump_s` or `to`, not both")
        if not self.jump_s and self.to is None and not self.drift_ppm:
            raise ValueError("`jump_s`, `to` or `drift_ppm` says how the clock is wrong")
        if self.jump_s and abs(self.jump_s) < LEAST_JUMP_S:
            raise ValueError(f"`jump_s` is {LEAST_JUMP_S:g} s at least: what is less cannot be told from a clock that was put right")
        return self


Cutting = Steady | PowerCut | Tamper
Link = Bandwidth | Offline | Jamming | External
Scarcity = Resources | Disk | WrongClock
Fault = Annotated[Cutting | Link | Thermal | Scarcity, Field(discriminator="fault")]


class Profile(Value):
    """One file in `profiles/`. `sources` says where its figures come from."""

    title: str
    faults: tuple[Fault, ...] = Field(min_length=1)
    severs: tuple[Literal["power", "data", "management"], ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def cutting(self) -> Cutting | None:
        return next((fault for fault in self.faults if isinstance(fault, Cutting)), None)

    @property
    def links(self) -> tuple[Link, ...]:
        return tuple(fault for fault in self.faults if isinstance(fault, Link))

    @property
    def heat(self) -> Thermal | None:
        return next((fault for fault in self.faults if isinstance(fault, Thermal)), None)

    @property
    def scarcities(self) -> tuple[Scarcity, ...]:
        return tuple(fault for fault in self.faults if isinstance(fault, Scarcity))
