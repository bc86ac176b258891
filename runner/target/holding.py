"""What a target needs to know of the lease under which it is used: whose it is, and whether it still is.

`runner.farm.lease.Lease` is the real one; a device that nobody else can reach needs none, and `Alone` says so.
"""

from __future__ import annotations

from typing import Any, Protocol


class Holding(Protocol):
    @property
    def fence(self) -> int:
        """Higher than that of every holder before."""

    @property
    def claim(self) -> dict[str, Any]:
        """What the device is told: coordinator, holder (in words), fence, lease_s."""

    def confirm(self) -> None:
        """Raises LabError when the device is, or may be, somebody else's by now."""


class Alone:
    """The only holder there is: for devices that a test has made for itself."""

    fence = 1
    claim: dict[str, Any] = {"coordinator": "alone", "holder": "whoever made it", "fence": 1, "lease_s": 120.0}  # noqa: RUF012 - never changed

    def confirm(self) -> None:
        return None
