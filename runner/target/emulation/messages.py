"""What a coordinator and a keeper tell each other, and the names of the files they share in a board's folder."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.disk_log import Write
from runner.target.emulation.image import Image
from runner.target.emulation.machine import Accelerator, MachineSpec

SOCKET, LOCK, CONFIG, LOG = "keeper.sock", "keeper.lock", "keeper.json", "keeper.log"
FENCE = "fence"  # the highest fence that ever acted on this board
DISK, DISK_LOG = "data.raw", "disk.log"

Reply = dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """One instant on this host's two clocks: seconds since the host's boot, and since 1970."""

    boottime_s: float
    wall_s: float

    @classmethod
    def now(cls) -> Moment:
        """Both clocks, read one after the other."""
        return cls(time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


@dataclass(frozen=True)
class CutFacts:
    """What a power cut did. `writes_lost` holds the first 64; the cut was vacuous for the disk when the count is 0."""

    frozen_at: Moment
    disk_killed_at: Moment
    machine_killed_at: Moment
    writes: int
    flushes: int
    flushes_unanswered: int
    writes_lost_count: int
    writes_lost_bytes: int
    writes_lost: tuple[Write, ...]
    disk_signal: int
    machine_signal: int

    @classmethod
    def from_json(cls, reply: Reply) -> CutFacts:
        """The facts as they came over the keeper's socket."""
        moments = {name: Moment(**reply[name]) for name in ("frozen_at", "disk_killed_at", "machine_killed_at")}
        return cls(**{**reply, **moments, "writes_lost": tuple(Write(**each) for each in reply["writes_lost"])})


@dataclass(frozen=True)
class Config:
    """What the coordinator decided before the keeper was started; stored in the board's folder."""

    name: str
    spec: MachineSpec
    image: Image
    accelerator: Accelerator

    def to_json(self) -> str:
        """The text of keeper.json."""
        return json.dumps(asdict(self), indent=1, default=str)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """The reverse of `to_json`."""
        raw = json.loads(text)
        files = {name: Path(path) for name in ("kernel", "initrd", "root", "device_tree") if (path := raw["image"].get(name))}
        image, spec = Image(**{**raw["image"], **files}), MachineSpec(**raw["spec"])
        return cls(raw["name"], spec, image, Accelerator(**raw["accelerator"]))
