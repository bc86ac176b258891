"""The closed loop of heat, wherever the work is done that heats: one tick after another, each a line of evidence.

    threads ── ran, waited ──► load ──► heat.step ──► die, board, clock, flags ──► sensors
       ▲                                                     │
       └────────────────── quota = clock ÷ full ◄────────────┘

The first line of `heat.jsonl` is what was told, {"told": …, "groups": …}, and the last one {"ended": why}. Every line between is a tick:
what was counted since the one before, and what the model made of it. From the lines alone it can be computed again.

    boottime_ns, model_s                  when; seconds of the model since the heat came on, `pace` of them in each real one
    cpu_s, waited_s, granted_s, load      since the last tick: ran; was kept waiting by others; might run; (ran + waited) ÷ granted
    nr_throttled, throttled_s             since the loop began: periods in which the quota was used up, and how long that was
    ambient_c, die_c, board_c, mhz, flags after the step
    quota                                 the share of a core that each thread has from here on
    on, powered                           whether the heat was, and the board; without heat, model and quota stand still

A host that is busy with others keeps a thread waiting that has work: a board of its own would have worked meanwhile, so that counts.
"""

from __future__ import annotations

from typing import Any, Callable

from . import heat
from .quota import Counted, Groups
from .told import HARD_CAP, ITS_END, NOT_RENEWED, told_of

TICK_S = 0.25
Threads = tuple[int, "list[int]"]  # a process, and those of its threads that are the board's cores


class Loop:
    """One heat, from the moment it is made until `end`. It does nothing by itself: whoever has it calls `tick` every TICK_S."""

    def __init__(self, said: dict[str, Any], groups: Groups, write: Callable[[dict[str, Any]], None], now_ns: int) -> None:
        """Raises ValueError for what it cannot go by; nothing was done then."""
        self.told = told_of(said)
        self._groups, self._write = groups, write
        self._made_ns = self._renewed_ns = self._last_ns = now_ns
        self._warm_ns: int | None = None if self.told.waits else now_ns  # when its time began
        self._state = heat.begin(self.told.body, self.told.throttle, self._ambient(now_ns), self.told.starts_at_c)
        self._counted: Counted | None = None  # at the last tick
        self._share = 1.0
        self._cores = 0
        self.line: dict[str, Any] = {}  # the last tick's
        write({"told": said, "groups": {"version": groups.hierarchy.version, "folder": groups.hierarchy.folder}, "boottime_ns": now_ns})

    def renew(self, now_ns: int) -> None:
        self._renewed_ns = now_ns

    def warm(self, now_ns: int) -> None:
        """The time of a heat that waits begins; of one that does not it goes on."""
        self._warm_ns = now_ns if self._warm_ns is None else self._warm_ns

    def over(self, now_ns: int) -> str:
        """Why the heat must end now, or ""."""
        ends = [(self._made_ns + int(self.told.cap_s * 1e9), HARD_CAP), (self._renewed_ns + int(self.told.renew_s * 1e9), NOT_RENEWED)]
        if self.told.for_s is not None and self._warm_ns is not None:
            ends.append((self._warm_ns + int((self.told.at_s + self.told.for_s) * 1e9), ITS_END))
        due, why = min(ends)
        return why if now_ns >= due else ""

    def tick(self, now_ns: int, threads: Threads | None) -> dict[str, Any]:
        """One step. `threads` are the board's cores; None while it has no power. Raises OSError when they cannot be limited."""
        self._groups.take_in(*(threads or (0, [])))
        counted = self._groups.counted()
        since, self._counted = counted.minus(self._counted or counted), counted
        dt_s, self._last_ns = (now_ns - self._last_ns) / 1e9, now_ns
        granted_s, self._cores = self._share * dt_s * self._cores, len(threads[1]) if threads else 0
        waited_s = max(0, since.waited_ns - since.throttled_ns) / 1e9
        load = round(min(1.0, (since.ran_ns / 1e9 + waited_s) / granted_s), 4) if granted_s > 0 else 0.0
        on_s, ambient_c = self._on_s(now_ns), round(self._ambient(now_ns), 3)
        if on_s > 0:
            body, throttle = self.told.body, self.told.throttle
            self._state = heat.step(self._state, body, throttle, load, ambient_c, min(dt_s, on_s) * self.told.pace, threads is not None)
            self._limit(heat.quota(self._state.mhz, throttle.full_mhz) if self._state.powered else 1.0)
        self.line = {
            "boottime_ns": now_ns, "model_s": round(on_s * self.told.pace, 6), "on": on_s > 0, "powered": threads is not None,
            "load": load, "cpu_s": round(since.ran_ns / 1e9, 6), "waited_s": round(waited_s, 6), "granted_s": round(granted_s, 6),
            "nr_throttled": counted.throttled, "throttled_s": round(counted.throttled_ns / 1e9, 3),
            "ambient_c": ambient_c, "die_c": round(self._state.die_c, 3), "board_c": round(self._state.board_c, 3),
            "mhz": self._state.mhz, "flags": self._state.flags, "critical": self._state.critical, "quota": round(self._share, 4),
        }  # fmt: skip
        self._write(self.line)
        return self.line

    @property
    def held_s(self) -> float:
        """For how long the board's most held up core had work and no quota, since it was powered."""
        return self._groups.held_ns() / 1e9

    @property
    def cores(self) -> dict[str, dict[str, float]]:
        """By core, since it was powered: for how long it ran, and had work but no quota, or a processor that others had."""
        return {str(tid): of.in_seconds() for tid, of in self._groups.each()}

    def end(self, why: str, now_ns: int) -> list[str]:
        """Nobody is limited any more, and no group is there; what is left all the same. May be called again, and never raises.

        Where it cannot be written down that it ended, nothing says so, and the judge does not believe in such a heat.
        """
        left = self._groups.release()
        try:  # noqa: SIM105 - contextlib is not imported on a device for this
            self._write({"ended": why, "left": left, "boottime_ns": now_ns})
        except OSError:
            pass
        return left

    def _limit(self, share: float) -> None:
        if share != self._share:
            self._groups.limit(share)
            self._share = share

    def _on_s(self, now_ns: int) -> float:
        """For how many real seconds the heat has been on; 0 while it is not."""
        return 0.0 if self._warm_ns is None else max(0.0, (now_ns - self._warm_ns) / 1e9 - self.told.at_s)

    def _ambient(self, now_ns: int) -> float:
        return heat.ambient_at(self.told.timeline, self._on_s(now_ns) * self.told.pace)
