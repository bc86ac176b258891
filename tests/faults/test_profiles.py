"""Every shipped profile: valid, with its sources, possible, and taken back without a trace."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from runner.faults import table
from runner.faults.compose import compose, needs, programs_of
from runner.faults.kernel import EVERY_CAPABILITY, Before
from runner.model.device import DataLink
from runner.model.profile import Profile
from runner.model.program import Act, Program
from tests.faults.conftest import PROFILES, Cable

NAMES = [path.stem for path in PROFILES]
every_profile = pytest.mark.parametrize("name", NAMES)
SHAPED = 25  # named link profiles with figures, at least
BEFORE = Before(offloads=("tso", "gso", "gro"), routes=("default via 10.99.0.1",))


def stages(profile: Profile) -> list[str]:
    return [fault.stage for fault in (*profile.links, *filter(None, [profile.heat])) if fault.stage]


def test_there_are_enough_links_and_the_ones_that_entries_name() -> None:
    """Counted by what shapes a link."""
    assert {"gprs", "nb-iot", "flapping", "offline-minutes", "jam-random", "loss-bursts-30", "loss-bursts-90", "steady"} <= set(NAMES)


def test_many_links_have_figures(shipped: dict[str, Profile]) -> None:
    """From a satellite to a cable."""
    shaped = [name for name, profile in shipped.items() if any(fault.fault == "bandwidth" for fault in profile.links) and profile.sources]
    assert len(shaped) >= SHAPED


@every_profile
def test_it_is_possible_and_says_what_it_severs(shipped: dict[str, Profile], link: DataLink, name: str) -> None:
    """No complaint on a device that can do everything, with the stages that it names."""
    profile = shipped[name]
    _, problems = compose([(name, profile)], link, stages(profile), EVERY_CAPABILITY)
    assert problems == ()
    assert set(needs(profile)) <= EVERY_CAPABILITY


@every_profile
def test_its_figures_have_sources(shipped: dict[str, Profile], name: str) -> None:
    """In words; an entry's own profiles have figures that the entry chose."""
    profile = shipped[name]
    ours = not name.startswith(("edge-0", "def-0"))
    assert not profile.links or not ours or profile.sources
    assert all(source.strip() == source and len(source) > 10 for source in profile.sources)
    assert all(table.figures(fault) for fault in profile.links)


@every_profile
def test_it_does_not_go_with_itself(shipped: dict[str, Profile], link: DataLink, name: str) -> None:
    """The same thing twice at once is refused."""
    profile = shipped[name]
    _, problems = compose([(name, profile), (name, profile)], link, stages(profile))
    assert problems


# ---- a little model of a device -----------------------------------------------------------------------------------------


def effect(acts: Iterable[Act], there: frozenset[str]) -> frozenset[str]:
    """What is there after some acts, in a model that knows only that things are added and deleted, and that this may fail."""
    things = set(there)
    for act in acts:
        line = " ".join(act.argv)
        match act.argv:
            case ["tc", "qdisc", "add", "dev", device, "root", *_]:
                assert f"qdisc {device}" not in things, line
                things.add(f"qdisc {device}")
            case ["tc", "qdisc", "change", "dev", device, *_]:
                assert f"qdisc {device}" in things, line
            case ["tc", "qdisc", "del", "dev", device, "root", "handle", "5f10:"]:
                things.discard(f"qdisc {device}")
            case ["tc", "qdisc", "add", "dev", device, "handle", "ffff:", "ingress"]:
                assert f"ingress {device}" not in things, line
                things.add(f"ingress {device}")
            case ["tc", "filter", "add", "dev", device, *_, target]:
                assert {f"ingress {device}", f"link {target}", f"up {target}", f"qdisc {target}"} <= things, line
            case ["tc", "qdisc", "del", "dev", device, "ingress"]:
                things.discard(f"ingress {device}")
            case ["ip", "link", "add", device, "type", "ifb"]:
                assert f"link {device}" not in things, line
                things.add(f"link {device}")
            case ["ip", "link", "del", device]:
                assert not any(thing.startswith("ingress") for thing in things), line
                things -= {f"link {device}", f"up {device}", f"qdisc {device}"}
            case ["ip", "link", "set", device, ("up" | "down") as state]:
                things.add(f"up {device}")
                things -= {f"up {device}"} if state == "down" else set()
            case ["ip", "route", "replace", *_]:
                pass
            case ["nft", "-f", "-"]:
                things.add(f"nft inet {act.input.split()[2]}")
            case ["nft", "delete", "table", family, table_name]:
                things.discard(f"nft {family} {table_name}")
            case ["ethtool", "-K", _, offload, state]:
                things.add(offload)
                things -= {offload} if state == "off" else set()
            case _:
                raise AssertionError(f"a model of everything that a fault does knows no {line}")
    return frozenset(things)


UNTOUCHED = frozenset({"up data0", "tso", "gso", "gro"})


@every_profile
def test_its_undo_leaves_nothing_wherever_it_stopped(shipped: dict[str, Profile], link: DataLink, name: str) -> None:
    """After each step, and in the middle of each; from nothing, and twice; what it added is what it said it wants."""
    for program in programs_of(shipped[name].links, link, "any", 1, EVERY_CAPABILITY, BEFORE):
        there = UNTOUCHED
        assert effect(program.undo, there) == UNTOUCHED
        for step in itertools.islice(program.steps, 40):
            for count in range(len(step.acts) + 1):
                assert effect(program.undo, effect(step.acts[:count], there)) == UNTOUCHED
            there = effect(step.acts, there)
            assert (there != UNTOUCHED) == step.on
            owned = {thing for thing in there ^ UNTOUCHED if thing.startswith(("qdisc data0", "ingress", "link", "nft"))}
            assert owned <= set(program.resources) | {f"link {program.interface}"}
        assert effect(program.undo, effect(program.undo, there)) == UNTOUCHED
        assert_in_order(program)


def assert_in_order(program: Program) -> None:
    """Steps by their times, all before the program's own end, each with a word."""
    times = [step.at_s for step in program.steps]
    assert times == sorted(times)
    assert program.lasts_s is None or times[-1] < program.lasts_s
    assert all(step.word for step in program.steps)


def test_an_undo_that_forgets_something_is_caught(shipped: dict[str, Profile], link: DataLink) -> None:
    """The negative control of the model: each act of an undo is needed."""
    for name in ("gprs", "lorawan-dr0", "flapping", "jam-constant"):
        (program,) = programs_of(shipped[name].links, link, "any", 1, EVERY_CAPABILITY, BEFORE)
        there = effect(program.steps[0].acts, UNTOUCHED)
        for left_out in range(len(program.undo)):
            acts = program.undo[:left_out] + program.undo[left_out + 1 :]
            if "ingress" in program.undo[left_out].argv:
                with pytest.raises(AssertionError, match="ip link del"):  # something is still led to it
                    effect(acts, there)
            else:
                assert effect(acts, there) != UNTOUCHED


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["flapping", "jam-constant", "jam-deceptive", "jam-random", "jam-reactive", "link-down", "offline-minutes"]
)
def test_a_real_kernel_is_as_before(cable: Cable, shipped: dict[str, Profile], link: DataLink, name: str) -> None:
    """Those that this machine's kernel can do whatever it is: on, off, and nothing is left."""
    untouched = cable.state()
    routes = ("10.98.0.0/16 via 10.99.0.1",)
    for program in programs_of(shipped[name].links, link, "any", 1, EVERY_CAPABILITY, Before(routes=routes)):
        for step in program.steps[:4]:
            cable.run(step.acts)
            assert any(map(cable.sees, program.signs)) == step.on
        cable.undo(program)
        assert not any(map(cable.sees, program.signs))
    assert cable.passes()
    assert cable.state() == untouched
