"""Places at which a test may kill or stop one of our processes: before and after every step that must survive it.

    reached("story.cut.before")      nothing, unless RUNNER_FAILPOINT names a file that says otherwise

The file is one line, "ROLE POINT NTH ACTION": in the process of that role (coordinator or supervisor), at the
nth time that the point is reached, `kill` sends it SIGKILL and `stop` SIGSTOP. Whoever acts renames the file to
"….fired" first, so that exactly one process does, once, and the test knows that it did.
"""

from __future__ import annotations

import os
import signal

_plan = os.environ.get("RUNNER_FAILPOINT", "")
_counts: dict[str, int] = {}
_signals = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
role = "coordinator"


def play(name: str) -> None:
    """This process is the `name` from here on."""
    global role
    role = name


def armed() -> bool:
    return bool(_plan)


def reached(point: str) -> None:
    if not _plan:
        return
    _counts[point] = _counts.get(point, 0) + 1
    try:
        with open(_plan) as file:
            wanted, where, nth, action = file.read().split()
        if (wanted, where, int(nth)) == (role, point, _counts[point]):
            os.rename(_plan, _plan + ".fired")
            os.kill(os.getpid(), _signals[action])
    except FileNotFoundError:
        return  # it has fired
