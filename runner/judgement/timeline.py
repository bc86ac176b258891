"""One clock for everything: seconds since the run began, whoever wrote the record.

    coordinator   its own boot-time clock
    device        its boot-time clock, carried over by the hello of the same boot (both clocks read at one moment)

A boot that nobody ever said hello to cannot be placed; its records have no time here, and none is made up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from runner.judgement.evidence import Evidence
from runner.ondevice.journal import Record


class PowerChange(NamedTuple):
    """Power on or off, when, and which cut it was ("" where it was none)."""

    at_s: float
    on: bool
    hold: str


@dataclass(frozen=True)
class Timeline:
    evidence: Evidence

    @property
    def end_s(self) -> float:
        """When the coordinator wrote its last record."""
        return self.coordinator_s(self.evidence.coordinator[-1].boottime_ns)

    def coordinator_s(self, boottime_ns: int) -> float:
        return (boottime_ns - self.evidence.coordinator[0].boottime_ns) / 1e9

    def device_s(self, boot_id: str, boottime_ns: int) -> float | None:
        """A device's clock reading as seconds since the run began; None for a boot without a hello."""
        if boot_id not in self._offsets:
            return None
        return self.coordinator_s(boottime_ns + self._offsets[boot_id])

    def boot_of(self, beginning: str) -> str:
        """The one boot whose id begins so, which is all that a packet carries; "" where there is none, or several."""
        found = [boot for boot in self._offsets if boot.startswith(beginning)] if beginning else []
        return found[0] if len(found) == 1 else ""

    def at(self, record: Record) -> float | None:
        """When a record of a device's journal was written."""
        return self.device_s(record.boot_id, record.boottime_ns)

    @cached_property
    def error_s(self) -> float:
        """The largest uncertainty of any device time: half of the slowest hello's round trip."""
        return max((bound for _, bound in self.evidence.clock_anchors.values()), default=0.0) / 1e9

    @cached_property
    def power(self) -> list[PowerChange]:
        """Every change of the device's power, in order: the first power-on, each cut, each return, the end."""
        changes: list[PowerChange] = []
        for record in self.evidence.coordinator:
            if record.kind == "power_on":
                changes.append(PowerChange(self.coordinator_s(record.boottime_ns), True, ""))
            elif record.kind in ("cut", "disk_proof"):
                off_s = self.coordinator_s(_power_off_ns(record))
                changes.append(PowerChange(off_s, False, record.payload.get("hold", "")))
                if record.kind == "disk_proof":  # it ends with the power on again, which nobody timed: at once
                    changes.append(PowerChange(off_s, True, ""))
            elif record.kind == "recovered":
                changes.append(PowerChange(self.coordinator_s(record.payload["power_on_boottime_ns"]), True, record.payload["hold"]))
            elif record.kind == "sealed":
                changes.append(PowerChange(self.coordinator_s(record.boottime_ns), False, ""))
        return changes

    @cached_property
    def _offsets(self) -> dict[str, int]:
        return {boot: offset for boot, (offset, _) in self.evidence.clock_anchors.items()}


def _power_off_ns(record: Record) -> int:
    """When the power went, by the coordinator's clock: as whoever cut it says, else when it was noted."""
    facts = record.payload.get("facts") or record.payload.get("cut") or {}
    frozen = facts.get("frozen_at")
    return int(frozen["boottime_s"] * 1e9) if isinstance(frozen, dict) else record.boottime_ns
