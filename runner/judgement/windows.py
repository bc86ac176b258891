"""When a link fault was on, by the guard's own word: from a step that put it there to the one that took it away, in one boot.

    step "on" under way │ done                     step "off", or a revert, under way │ done
    ────────────────────┼──────────────────────────────────────────────────────────────┼─────
    since_ns          from_ns                                                        to_ns    until_ns

It was on between the inner two, and nobody knows when it came and went between an inner and an outer one: a slow device needs
seconds for a step. Times are those of the device's boot-time clock.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Row = dict[str, Any]

NEVER_NS = 2**63  # the end of what nothing says that it ended
MARGIN_NS = 1_000_000_000  # around a change: a packet that was sent then says nothing


class Window(NamedTuple):
    boot: str
    since_ns: int
    from_ns: int
    to_ns: int
    until_ns: int


def windows(changes: list[Row]) -> list[Window]:
    """When one program was on, from its changes in order (`changes` in guard_journal.py). Whatever ends a boot ends what was on in it."""
    found: list[Window] = []
    on: Row | None = None
    for change in changes:
        if on is not None and (not change["on"] or change["boot_id"] != on["boot_id"]):
            found.append(_window(on, change if change["boot_id"] == on["boot_id"] else None))
            on = None
        if change["on"] and on is None:
            on = change
    return found if on is None else [*found, _window(on, None)]


def _window(on: Row, off: Row | None) -> Window:
    since_ns, from_ns = _under_way(on)
    to_ns, until_ns = (NEVER_NS, NEVER_NS) if off is None else _under_way(off)
    return Window(str(on["boot_id"]), since_ns, from_ns, max(from_ns, to_ns), max(from_ns, until_ns))


def _under_way(change: Row) -> tuple[int, int]:
    at_ns = int(change["boottime_ns"])
    return int(change.get("began_ns", at_ns)), int(change.get("done_ns", at_ns))


def deep_in(window: Window, boot: str, from_ns: int, to_ns: int, settled_ns: int = 0) -> bool:
    """Whether all between two moments is within a window, and not near its ends; nor within `settled_ns` of its beginning."""
    margin = min(MARGIN_NS, (window.to_ns - window.from_ns) // 4)
    return _same_boot(window, boot) and window.from_ns + margin + settled_ns <= from_ns and to_ns < window.to_ns - margin


def touches(window: Window, boot: str, sent_ns: int) -> bool:
    """Whether a moment is within a window, or near it."""
    return _same_boot(window, boot) and window.since_ns - MARGIN_NS <= sent_ns < window.until_ns + MARGIN_NS


def _same_boot(window: Window, boot: str) -> bool:
    return bool(boot) and window.boot.startswith(boot)  # a packet carries the beginning of it
