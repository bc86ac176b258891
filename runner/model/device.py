"""Devices: a *type* says what a kind of board is, an *inventory line* says that one of it stands here."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from runner.model.base import Name, Value

SECRET_KEY = re.compile(r"pass(word|phrase|wd)?$|secret|token|credential|(api|private)[-_]?key", re.IGNORECASE)
PART_OF = {"address": "@", "user": ":"}  # what stands there before a host, or after a name: user:password@host
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


class DeviceLine(Public):
    """One device of the inventory. `address` is for devices that are reached over a network: a name or an alias of
    `~/.ssh/config`, which also decides port and user where they are not given here; or the port of a serial line."""

    type: str
    address: str = ""
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
    def over_serial(self) -> bool:
        """Whether its address is a port of this machine: serial:///dev/serial/by-id/NAME?baud=115200."""
        return self.address.startswith("serial:")


class Inventory(Value):
    """`inventory.yaml`: the devices of this lab by name."""

    devices: dict[Name, DeviceLine]
