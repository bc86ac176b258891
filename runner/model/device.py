"""Devices: a *type* says what a kind of board is, an *inventory line* says that one of it stands here."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from runner.model.base import Name, Value

SECRET_KEY = re.compile(r"pass(word|phrase|wd)?$|secret|token|credential|(api|private)[-_]?key", re.IGNORECASE)
PART_OF = {"address": "@", "network": "@", "user": ":"}  # what stands there before a host, or after a name: user:password@host
BELONGS_ELSEWHERE = (
    "no secret, and address and user each by themselves: a password belongs into the environment "
    "(RUNNER_SECRET_<DEVICE>_SSH_PASSWORD), a keyring, or ~/.config/stageflow-runner/secrets.yaml"
)
Loss = Literal["process_crash", "power_loss"]


class Public(Value):
    """What stands in a lab, and so in its copies, its plans and its run folders: no secret may."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_secrets(cls, found: Any) -> Any:
        """Raises for a secret by its key, or inside an address or a user. It is wiped first: errors quote what they are about."""
        for key, value in found.items() if isinstance(found, dict) else ():
            if SECRET_KEY.search(str(key)) or PART_OF.get(key, "\0") in str(value):
                found[key] = "…"
                raise PydanticCustomError("secret", BELONGS_ELSEWHERE, {"key": str(key)})
        return found


class Emulation(Value):
    """How QEMU makes this board. Memory in MiB; `accelerators` in the order in which they are tried."""

    machine: str
    cpu: str
    cpus: int = Field(1, ge=1, le=16)
    memory_mib: int = Field(512, ge=128, le=16384)
    data_disk_mib: int = Field(256, ge=64, le=65536)
    accelerators: tuple[Literal["tcg", "kvm"], ...] = ("tcg",)
    login: Literal["", "console", "second"] = ""  # a tty on this machine: the kernel's own console, or a second line beside it


class DataLink(Public):
    """The interface on which a device's pipelines talk to the far end, and on which link faults act.

    `far_end` is the coordinator's address as the device reaches it. With `one_path` the management connection goes over the
    same interface: a fault that severs it is then only possible from the device's own schedule.
    """

    interface: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$")
    far_end: str
    one_path: bool = False


Celsius = Annotated[float, Field(ge=-100, le=300)]
Resistance = Annotated[float, Field(gt=0, le=1000)]  # K/W
Capacity = Annotated[float, Field(gt=0, le=1_000_000)]  # J/K
Watts = Annotated[float, Field(ge=0, le=10_000)]
Clock = Annotated[float, Field(gt=0, le=100_000)]  # MHz


class ThrottleStep(Value):
    """From `at_c` of the die on, the clock is `mhz`; `word` is what the firmware's flags call that."""

    at_c: Celsius
    mhz: Clock
    word: Literal["soft limit", "throttled", "capped"]


class FanStep(Value):
    """From `at_c` of the die on, the fan runs at this share of its full speed."""

    at_c: Celsius
    percent: float = Field(ge=0, le=100)


class Fan(Value):
    """A fan that the firmware drives. `board_to_air_k_w` is the way to the air while it runs at its full speed."""

    board_to_air_k_w: Resistance
    steps: tuple[FanStep, ...] = Field(min_length=1, max_length=20)
    hysteresis_k: float = Field(0.0, ge=0, le=50)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if any(a.at_c >= b.at_c or a.percent >= b.percent for a, b in pairwise(self.steps)):
            raise ValueError("each step of a fan is warmer and faster than the one before")
        return self


class FirmwareLimit(Value):
    """Where a board's firmware takes a limit of its clock at run time, as a number in a file of the kernel's: what it says at the full
    clock, and at the lowest."""

    file: str = Field(pattern=r"^/sys(/[\w:@,-]+(\.[\w:@,-]+)*)+$", max_length=200)
    full: int = Field(ge=1, lt=2**63)
    least: int = Field(ge=1, lt=2**63)

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.least >= self.full:
            raise ValueError("`least` is less than `full`")
        return self


class Thermal(Value):
    """How this kind of board gets warm and what it then does about it: see runner/ondevice/heat.py, which computes with these figures.

    `sensor` and `clock` are the files in which its own kernel says both, `throttled` one with the firmware's flags, where there is one.
    `firmware_limit` is limited beside the kernel's own clocks, on a real board.
    """

    die_j_k: Capacity
    board_j_k: Capacity
    die_to_board_k_w: Resistance
    board_to_air_k_w: Resistance
    idle_w: Watts
    busy_w: Watts  # of all cores at the full clock, beside `idle_w`
    exponent: float = Field(2.0, ge=0, le=4)  # of the clock in the power of the work: 1 where the voltage stays, 3 where it follows
    full_mhz: Clock
    steps: tuple[ThrottleStep, ...] = Field(max_length=20)
    hysteresis_k: float = Field(ge=0, le=50)
    critical_c: Celsius  # here the board switches itself off
    fan: Fan | None = None
    sensor: str = "/sys/class/thermal/thermal_zone0/temp"
    clock: str = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
    throttled: str = ""
    firmware_limit: FirmwareLimit | None = None

    @model_validator(mode="after")
    def _steps_down(self) -> Self:
        clocks = [self.full_mhz, *(step.mhz for step in self.steps)]
        warmer = [*(step.at_c for step in self.steps), self.critical_c]
        if any(a <= b for a, b in pairwise(clocks)) or any(a >= b for a, b in pairwise(warmer)):
            raise ValueError("each step is warmer and slower than the one before, and `critical_c` is above the last")
        if self.fan and self.fan.board_to_air_k_w > self.board_to_air_k_w:
            raise ValueError("a fan makes `board_to_air_k_w` smaller than it is without")
        return self

    @property
    def body(self) -> dict[str, Any]:
        """What `heat.body_of` reads."""
        names = ("die_j_k", "board_j_k", "die_to_board_k_w", "board_to_air_k_w", "idle_w", "busy_w", "exponent")
        said: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.fan:
            said["fan_steps"] = [[step.at_c, step.percent / 100] for step in self.fan.steps]
            said |= {"fan_k_w": self.fan.board_to_air_k_w, "fan_hysteresis_k": self.fan.hysteresis_k}
        return said

    @property
    def throttle(self) -> dict[str, Any]:
        """What `heat.throttle_of` reads."""
        steps = [[step.at_c, step.mhz, step.word] for step in self.steps]
        return {"full_mhz": self.full_mhz, "steps": steps, "hysteresis_k": self.hysteresis_k, "critical_c": self.critical_c}


class Size(Value):
    """How much of a computer this kind of board is, as far as another one can be made as small: not how fast one of its cores is."""

    memory_mib: int = Field(ge=8, le=1_048_576)
    cpus: int = Field(ge=1, le=1024)


class DeviceType(Public):
    """One file in `devices/`: arch, how to reach it, how to take its power, what such a cut loses."""

    title: str
    arch: Literal["native", "aarch64", "armv7l", "x86_64"]
    transport: str
    power: str
    loss: Loss  # what a cut of this device really is; a report never claims more
    boot_limit_s: float = Field(60.0, gt=0, le=3600)
    stage_timeout_s: float = Field(60.0, gt=0, le=3600)
    data_link: DataLink | None = None
    emulation: Emulation | None = None
    size: Size | None = None  # for `like:` of a profile
    shared: bool = False  # others work on it, too, as on this very machine: its clock is not turned, and its control groups come and go
    thermal: Thermal | None = None  # its own; once the lab has read it, that of the type which `thermal_like` named
    thermal_like: Name | None = None  # an emulated board has no heat of its own: it gets warm as this type does

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.thermal is not None and self.thermal_like is not None:
            raise ValueError("`thermal` or `thermal_like`, not both")
        return self


class DeviceLine(Public):
    """One device of the inventory. `address` is for devices that are reached over a network: a name or an alias of
    `~/.ssh/config`, which also decides port and user where they are not given here; or the port of a serial line. `network` is for
    one on a serial line that has a network, too: its name there, for what is too much for the line."""

    type: str
    address: str = ""
    network: str = ""
    port: int | None = Field(None, ge=1, le=65535)
    user: str = ""
    data_link: DataLink | None = None  # this device's own, where it differs from its type's
    tags: tuple[str, ...] = ()

    def identity(self, name: str) -> str:
        """What this device is, whatever a lab calls it: its address, or for devices of this host their name."""
        if self.over_serial:
            return re.sub(r"[^A-Za-z0-9.-]", "_", self.address.partition("?")[0])
        return re.sub(r"[^A-Za-z0-9.-]", "_", f"{self.address}-{self.port or 22}") if self.address else name

    @property
    def host(self) -> str:
        """Where it is reached over a network; "" where it is not."""
        return self.network if self.over_serial else self.address

    @property
    def over_serial(self) -> bool:
        """Whether its address is a port of this machine: serial:///dev/serial/by-id/NAME?baud=115200."""
        return self.address.startswith("serial:")


class Inventory(Value):
    """`inventory.yaml`: the devices of this lab by name."""

    devices: dict[Name, DeviceLine]
