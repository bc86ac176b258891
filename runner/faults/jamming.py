"""jamming: somebody transmits over the data link.

    constant    nothing passes either way, the link is up         table: drop, drop
    deceptive   the medium looks busy: the device never sends     table: drop what leaves
    random      on ~ mean_on_s, off ~ mean_off_s, by chance       steps, from the seed
    reactive    a packet that is sent wakes it, with a chance     table: a set that holds the interface for answer_ms

The four are those of W. Xu et al., "The feasibility of launching and detecting jamming attacks in wireless networks"
(MobiHoc 2005). The timeline of `random` follows the seed. Whether a packet wakes `reactive` is the kernel's own chance: it is as
asked on the average, and another one in each run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from runner.errors import AskError
from runner.faults import kernel
from runner.faults.kernel import NOTHING_BEFORE, Before
from runner.model.device import DataLink
from runner.model.profile import Jamming
from runner.model.program import Act, Program, Step

LEAST_S = 0.05  # of one length: a board cannot switch faster and still be on time
MOST_MEANS = 5.0  # … and at most so many means, so that a run of ten minutes meets more than one


def program(
    settings: Jamming, link: DataLink, name: str, seed: int, capabilities: frozenset[str], before: Before = NOTHING_BEFORE
) -> Program:
    """The same settings, name and seed give the same steps. Raises AskError without nft, or if there would be too many steps."""
    kernel.require("nft", capabilities, "jamming")
    off = (kernel.no_filtering("jamming"),)
    on = (_table(settings, link.interface),)
    if settings.jammer == "random":
        steps = tuple(_by_chance(settings, on, off, random.Random(f"{name.rpartition('.')[2]} {seed}")))
    else:
        steps = kernel.bounded(kernel.toggled(settings, on, off, figures(settings)))
    return Program(
        name=name,
        fault="jamming",
        interface=link.interface,
        resources=("nft inet runner_jamming", *((kernel.by_packet(link.interface),) if settings.jammer == "reactive" else ())),
        needs=("nft",),
        steps=steps,
        undo=off,
        signs=(kernel.filtering_sign("jamming"),),
        lasts_s=kernel.lasts_s(settings),
        stage=settings.stage,
        edge=settings.edge,
        severs_data=True,
        severs_management=link.one_path,
    )


def figures(settings: Jamming) -> str:
    """The jammer in a few words."""
    if settings.jammer == "random":
        return f"random jammer, on {settings.mean_on_s:g} s and off {settings.mean_off_s:g} s on the average"
    if settings.jammer == "reactive":
        return f"reactive jammer, {settings.probability_percent:g} % of what is sent wakes it for {settings.answer_ms:g} ms"
    return f"{settings.jammer} jammer"


def _table(settings: Jamming, interface: str) -> Act:
    leaving, arriving = kernel.drop_all(interface)
    if settings.jammer == "deceptive":
        return kernel.filtering("jamming", [leaving], [])
    if settings.jammer == "reactive":
        return _woken(settings, interface)
    return kernel.filtering("jamming", [leaving], [arriving])


def _woken(settings: Jamming, interface: str) -> Act:
    """While the interface is in the set `awake`, nothing passes; the packet that puts it there is jammed itself.

    The kernel's clock for this has a grain of 1 to 10 ms. A packet into the silence does not prolong it: it meets the first rule.
    """
    assert settings.probability_percent is not None and settings.answer_ms is not None
    answer = f"{max(1, round(settings.answer_ms))}ms"
    share = max(1, round(settings.probability_percent * 100))
    chance = f"numgen random mod 10000 < {share} " if share < 10_000 else ""  # nft takes no comparison that is always true
    wakes = f'oifname "{interface}" {chance}add @awake {{ oifname timeout {answer} }} drop'
    return kernel.filtering(
        "jamming",
        [f'oifname "{interface}" oifname @awake drop', wakes],
        [f'iifname "{interface}" iifname @awake drop'],
        ["set awake {", "  type ifname", "  size 16", "  flags dynamic,timeout", "}"],
    )


def _by_chance(settings: Jamming, on: tuple[Act, ...], off: tuple[Act, ...], chance: random.Random) -> Iterator[Step]:
    """On and off in turn inside each window, exponentially long, bounded; off where a window ends, or the plan does."""
    assert settings.mean_on_s is not None and settings.mean_off_s is not None
    room = kernel.MAX_STEPS
    for number, (start, end) in enumerate(settings.windows, 1):
        at, jamming, last = start, True, start + kernel.HORIZON_S if end is None else end
        while at < last:
            room -= 1
            if room <= 1:
                raise AskError(
                    f"a random jammer that changes more than {kernel.MAX_STEPS} times",
                    expected=f"longer means: {settings.mean_on_s:g} s on and {settings.mean_off_s:g} s off here",
                    do="raise mean_on_s or mean_off_s, or lower for_s",
                )
            yield Step(at_s=at, acts=on, word="jammed", on=True) if jamming else kernel.as_before(at, off)
            mean = settings.mean_on_s if jamming else settings.mean_off_s
            at = round(at + min(max(LEAST_S, -mean * math.log(1 - chance.random())), MOST_MEANS * mean), 3)
            jamming = not jamming
        if not jamming and (end is None or number < settings.times):  # it was on as the window ended
            yield kernel.as_before(last, off)
            room -= 1
