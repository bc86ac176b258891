"""Whose this device is, kept by the device itself: a coordinator that is not the holder is refused here, by name.

    state/claim.json      durable: holder, coordinator, fence, and the highest fence of each coordinator so far
    <socket folder>/seen  not durable: the boot-time clock at the holder's last sign of life

Fences of one coordinator (one lease file, and the device's identity in it) rise; those of two cannot be compared. So the
rule is: a coordinator's own fence must not be lower than the highest that was seen of it, and another coordinator's device
is free once its holder has let go, or has not been heard of for the length of its lease. After a boot that time begins
anew: a power cut takes no lease away.

`decide` is the whole rule, and does no I/O.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

from .journal import boot_id, boottime_ns, fsync_file, fsync_folder
from .say import say

FILE, LOCK, SEEN = "claim.json", "claim.lock", "seen"
COORDINATORS = 64  # whose highest fence is remembered: those that held the device last
LEASE_LIMIT_S = 86400.0
RENEWAL_NS = 5_000_000_000
_SHAPE = {"coordinator": str, "holder": str, "fence": int, "lease_s": float}


NOT_YOURS = 77  # exit status of `start` when somebody else holds the device


class NotYours(Exception):
    """The device is somebody else's, or the fence is over; the message names the holder."""


def decide(kept: dict[str, Any], asked: dict[str, Any], silent_s: float) -> str:
    """Why `asked` is refused, or "". `kept` is the claim on this device ({} for none), `silent_s` how long its holder was silent."""
    highest = kept.get("highest", {}).get(asked["coordinator"], 0)
    if asked["fence"] < highest:
        return f"fence {asked['fence']} is over: fence {highest} was granted since, to {kept.get('holder') or 'somebody'}"
    if not kept.get("holder") or kept["coordinator"] == asked["coordinator"]:
        return ""
    left_s = kept["lease_s"] - silent_s
    return f"it is held by {kept['holder']}, for at least {left_s:.0f} s more" if left_s > 0 else ""


def _is_claim(value: Any) -> bool:
    return isinstance(value, dict) and {key: type(value.get(key)) for key in _SHAPE} == _SHAPE


class Claims:
    """The claim on one device. Several processes may ask: `start`, and the supervisor that it starts."""

    def __init__(self, state: str, runtime: str) -> None:
        self._state, self._path, self._seen = state, os.path.join(state, FILE), os.path.join(runtime, SEEN)
        self._read: tuple[tuple[int, int], dict[str, Any]] = ((0, 0), {})  # which file was read last, and what it said
        self._renewed_ns = 0

    def take(self, asked: dict[str, Any]) -> None:
        """The device is `asked`'s from here on, durably. Raises NotYours, or ValueError for what is no claim."""
        if not _is_claim(asked) or not 0 < asked["fence"] < 2**63 or not 0 < asked["lease_s"] <= LEASE_LIMIT_S:
            raise ValueError(f"expected a claim with {', '.join(_SHAPE)}, found {asked!r}")
        lock = self._lock()
        try:
            kept = self.kept()
            refusal = decide(kept, asked, self.silent_s())
            if refusal:
                raise NotYours(refusal)
            others = {name: fence for name, fence in kept.get("highest", {}).items() if name != asked["coordinator"]}
            highest = {**dict(list(others.items())[1 - COORDINATORS :]), asked["coordinator"]: asked["fence"]}
            now = {**{key: asked[key] for key in _SHAPE}, "highest": highest}
            if now != kept:
                self._keep(now)
            self.renew()
        finally:
            os.close(lock)

    def check(self, asked: Any) -> None:
        """Raises NotYours unless `asked` is the claim that holds this device, or none was ever made and none is shown."""
        kept = self.kept()
        if not kept and asked is None:
            return  # a device that nobody ever claimed
        if not isinstance(asked, dict) or [asked.get(key) for key in ("coordinator", "fence")] != [
            kept.get("coordinator"),
            kept.get("fence"),
        ]:
            raise NotYours(f"it is held by {kept.get('holder') or 'nobody'}")
        if not kept["holder"]:
            raise NotYours("it was let go")

    def renew(self) -> None:
        """The holder has given a sign of life; written down at most every few seconds, and never to the device's disk. Never raises."""
        now_ns = boottime_ns()
        if now_ns - self._renewed_ns < RENEWAL_NS:
            return
        self._renewed_ns = now_ns
        try:
            with open(self._seen + ".new", "w") as file:
                file.write(f"{boot_id()} {now_ns}")
            os.rename(self._seen + ".new", self._seen)
        except OSError as error:  # a full disk: whoever wants to take back what is on must be heard all the same
            say(f"{self._seen}: {error}")

    def release(self, asked: Any = None) -> None:
        """Nobody holds the device, if `asked` does (None: whoever does); the fences that were seen stay known."""
        lock = self._lock()
        try:
            kept = self.kept()
            if kept and (asked is None or (asked["coordinator"], asked["fence"]) == (kept["coordinator"], kept["fence"])):
                self._keep({**kept, "holder": ""})
        finally:
            os.close(lock)

    def kept(self) -> dict[str, Any]:
        """The claim as it is kept; {} where there never was one, or the file is damaged."""
        try:
            status = os.stat(self._path)
            which = (status.st_ino, status.st_mtime_ns)
            if which != self._read[0]:
                with open(self._path) as file:
                    value = json.load(file)
                fences = value.get("highest") if _is_claim(value) else None
                whole = isinstance(fences, dict) and all(type(fence) is int for fence in fences.values())
                self._read = (which, value if whole else {})
        except (FileNotFoundError, ValueError, RecursionError):  # any other error says nothing about whose the device is
            return {}
        return self._read[1]

    def silent_s(self) -> float:
        """Seconds since the holder was last heard of in this boot; since the boot where it was not."""
        try:
            with open(self._seen) as file:
                boot, seen = file.read().split()
            seen_ns = int(seen) if boot == boot_id() else 0
        except (OSError, ValueError):
            seen_ns = 0
        return max(0.0, (boottime_ns() - min(max(seen_ns, self._renewed_ns), boottime_ns())) / 1e9)

    def _lock(self) -> int:
        """Held until it is closed: of two that ask at once, the second decides by what the first has written."""
        lock = os.open(os.path.join(self._state, LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _keep(self, claim: dict[str, Any]) -> None:
        with open(self._path + ".new", "w") as file:
            json.dump(claim, file)
            file.flush()
            fsync_file(file.fileno())
        os.rename(self._path + ".new", self._path)
        fsync_folder(self._state)
