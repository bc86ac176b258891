"""What too little comes to in the kernel's own words, for whoever makes it and for whoever judges it. Pure, and no import of ours.

    share of a core, or of more ──► quota in each period, in µs
    what is wrong with a disk   ──► the errors that an application meets

A fault reckons the one for itself (`runner/faults/resources.py`), and an entry lists the other: tests hold them equal.
"""

from __future__ import annotations

PERIOD_US = 10_000  # where nobody says another: short, so that a guest, or a program, is never held up for longer than this
LEAST_QUOTA_US, LONGEST_PERIOD_US = 1_000, 1_000_000  # the kernel's own; a smaller share has a longer period

# The first of each is also what a file of ours, or a block of the medium itself, is answered; a file system gives up behind its first one.
ERRORS = {"full": ("ENOSPC",), "no_inodes": ("ENOSPC",), "read_only": ("EROFS",), "io_errors": ("EIO", "EROFS")}


def quota_of(share: float) -> tuple[int, int]:
    """(quota, period) in µs of a share of a core, or of several cores."""
    period = PERIOD_US if share * PERIOD_US >= LEAST_QUOTA_US else min(LONGEST_PERIOD_US, round(LEAST_QUOTA_US / max(share, 0.001)))
    return max(LEAST_QUOTA_US, round(share * period)), period
