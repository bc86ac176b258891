"""A program: what a fault does to one device over time, and how it is taken back; as data that is sent to the device.

    prepare ─► [armed: undo and deadline are on the device's disk] ─► steps, each at its time ─► undo ─► no sign of it is seen

Everything in it is an argument list, never a line for a shell. The guard on the device carries it out and knows no
fault by name (`runner/ondevice/guard.py`); a fault makes it, purely (`runner/faults/`).
"""

from __future__ import annotations

from pydantic import Field

from runner.model.base import Value

# by these tags what is ours is known, and nothing else is deleted
OUR_HANDLE, OUR_IFB, OUR_TUN, OUR_TABLES = "5f10:", "runner-ifb0", "runner-tun0", "runner_"


class Act(Value):
    """One command on the device: its argument list, and what it reads from standard input."""

    argv: tuple[str, ...] = Field(min_length=1)
    input: str = ""


class Step(Value):
    """What happens `at_s` seconds after the program began, and what is the case from then on."""

    at_s: float = Field(ge=0)
    acts: tuple[Act, ...]
    word: str  # for people and charts: "offline", "62 kbit/s up, 26 down", "as before"
    on: bool  # whether the fault is in effect from here on


class Sign(Value):
    """How to see on the device that something of this program is there: what `argv` prints has a line with `contains`."""

    argv: tuple[str, ...] = Field(min_length=1)
    contains: str = Field(min_length=1)


class Hot(Value):
    """The guard takes the program back when the device is as hot as this, by its own sensor (a file in thousandths of a degree), or when
    that sensor says nothing. It looks once a second, from before the first step on."""

    sensor: str = Field(min_length=1)
    at_milli_c: int


class Program(Value):
    """One fault over one interface. `undo` may be done at any time and any number of times: what is not there is no error,
    because it is the `signs` that say whether anything is left."""

    name: str  # unique among the programs that are held at once: "offline-1"
    fault: str  # "bandwidth", "offline" …
    interface: str
    resources: tuple[str, ...]  # what no two programs may have at once, and what is refused when somebody else has it: "qdisc data0"
    needs: tuple[str, ...] = ()  # what the device's kernel and tools must have: "netem", "tbf", "ifb", "nft", "tun"
    shaper: str = ""  # what makes a link narrow: "netem", "tbf", or "ours", whose losses follow the seed packet for packet; "" for none
    prepare: tuple[Act, ...] = ()  # harmless by itself (loading a module); done before the program is armed
    steps: tuple[Step, ...] = Field(min_length=1)
    undo: tuple[Act, ...]
    signs: tuple[Sign, ...]
    lasts_s: float | None = None  # its own end, counted as the steps are; None: until it is told to end
    hot: Hot | None = None  # a hard abort
    stage: str = ""  # its time begins with this stage; "" with the execution
    edge: str = "start"  # … with the stage's "start" or "end"
    severs_data: bool = False  # for some time nothing passes the data link, or nothing longer than a message: no connection holds
    severs_management: bool = False  # the coordinator cannot renew while it is on: its own schedule ends it, and its cap
