"""Four jammers: their tables and timelines as data, and what they do between two real network namespaces."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from runner.errors import AskError
from runner.faults import jamming
from runner.faults.kernel import EVERY_CAPABILITY, MAX_STEPS
from runner.model.device import DataLink
from runner.model.profile import Jamming
from runner.model.program import Act, Program
from tests.faults.conftest import Cable
from tests.ondevice.test_guard_killed import until

SETTINGS: dict[str, dict[str, Any]] = {
    "constant": {},
    "deceptive": {},
    "random": {"mean_on_s": 2, "mean_off_s": 3, "for_s": 300},
    "reactive": {"probability_percent": 100, "answer_ms": 400},
}
SEEDS = (0, 1, 2, 3, 4711)


def made(link: DataLink, jammer: str, seed: int = 1, name: str = "jamming-1", **more: Any) -> Program:
    fault = Jamming.model_validate({"fault": "jamming", "jammer": jammer, **SETTINGS[jammer], **more})
    return jamming.program(fault, link, name, seed, EVERY_CAPABILITY)


# ---- the timeline of chance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_jammer_is_on_and_off_in_turn_inside_its_window(link: DataLink, seed: int) -> None:
    """On first, never two of a kind, each length bounded, all before the end."""
    program = made(link, "random", seed, at_s=10)
    assert program.steps[0].at_s == 10
    assert [step.on for step in program.steps] == [number % 2 == 0 for number in range(len(program.steps))]
    for step, following in itertools.pairwise(program.steps):
        mean = 2 if step.on else 3
        assert jamming.LEAST_S - 0.001 <= following.at_s - step.at_s <= jamming.MOST_MEANS * mean + 0.001
    assert program.steps[-1].at_s < 310 == program.lasts_s


def test_the_same_seed_gives_the_same_timeline_and_another_another(link: DataLink) -> None:
    """So does another scenario: the name takes part."""
    for seed in SEEDS:
        assert made(link, "random", seed) == made(link, "random", seed)
    timelines = {tuple(step.at_s for step in made(link, "random", seed, name).steps) for seed in SEEDS for name in ("a", "b")}
    assert len(timelines) == 2 * len(SEEDS)


def test_the_lengths_have_the_means_that_were_asked_for(link: DataLink) -> None:
    """Over many seeds, within a tenth, of what a bound of five means leaves."""
    lengths: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(60):
        for step, following in itertools.pairwise(made(link, "random", seed).steps):
            lengths[step.on].append(following.at_s - step.at_s)
    assert sum(lengths[True]) / len(lengths[True]) == pytest.approx(2, rel=0.1)
    assert sum(lengths[False]) / len(lengths[False]) == pytest.approx(3, rel=0.1)


def test_a_random_jammer_in_windows_is_off_between_them(link: DataLink) -> None:
    """Whatever chance had in mind, the end of a window switches it off."""
    program = made(link, "random", at_s=0, for_s=10, every_s=20, times=3)
    for step in program.steps:
        assert not step.on or step.at_s % 20 < 10
    for number in (0, 1):
        last = [step for step in program.steps if step.at_s <= 20 * number + 10][-1]
        assert not last.on


def test_too_many_changes_are_refused(link: DataLink) -> None:
    """A board has to keep them all, and to be on time."""
    with pytest.raises(AskError, match=f"more than {MAX_STEPS} times"):
        made(link, "random", mean_on_s=0.1, mean_off_s=0.1, for_s=3600)


@pytest.mark.parametrize("jammer", sorted(SETTINGS))
def test_every_jammer_severs_and_needs_nft(link: DataLink, jammer: str) -> None:
    """One table of its own; the only path with it where there is only one."""
    program = made(link, jammer)
    packets = ("packets data0",) if jammer == "reactive" else ()  # our own shaper would show it each of them twice
    assert (program.resources, program.needs) == (("nft inet runner_jamming", *packets), ("nft",))
    assert program.severs_data and not program.severs_management
    with pytest.raises(AskError, match="has no nft"):
        jamming.program(Jamming(fault="jamming", jammer="constant"), link, "j", 1, frozenset({"netem", "tbf"}))


# ---- for real ---------------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("jammer", sorted(SETTINGS))
def test_a_jammer_is_a_table_that_comes_and_goes(cable: Cable, link: DataLink, jammer: str) -> None:
    """nft takes it, its sign is seen, no echo comes back; applied twice it is the same; afterwards everything is as before."""
    program = made(link, jammer)
    untouched = cable.state()
    for act in program.steps[0].acts:
        checked = cable.on(cable.device, "nft", "-c", "-f", "-", text=act.input)
        assert checked.returncode == 0, checked.stderr
    cable.run(program.steps[0].acts)
    once = cable.state()
    cable.run(program.steps[0].acts)
    assert jammer == "reactive" or cable.state() == once
    assert all(map(cable.sees, program.signs))
    assert cable.echoes(3) == 0
    cable.undo(program)
    assert not any(map(cable.sees, program.signs))
    assert cable.passes()
    assert cable.state() == untouched


@pytest.mark.real
def test_a_deceived_device_still_hears(cable: Cable, link: DataLink) -> None:
    """What the far end sends arrives, only the answer does not leave."""
    program = made(link, "deceptive")
    cable.run(program.steps[0].acts)
    before = received(cable)
    sender = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', ('10.99.0.2', 5555))"
    cable.on(cable.far_end, "python3", "-c", sender)
    until(lambda: received(cable) > before)  # a busy kernel hands it on a little later
    assert received(cable) == before + 1


def received(cable: Cable) -> int:
    """Datagrams that reached the device's UDP, wanted or not."""
    lines = cable.on(cable.device, "cat", "/proc/net/snmp").stdout.splitlines()
    head, values = (line.split() for line in lines if line.startswith("Udp:"))
    return sum(int(values[head.index(name)]) for name in ("InDatagrams", "NoPorts"))


@pytest.mark.real
def test_a_reactive_jammer_sleeps_until_somebody_sends_and_falls_asleep_again(cable: Cable, link: DataLink) -> None:
    """What arrives does not wake it; what is sent does, and then nothing arrives either, until the answer is over."""
    cable.run(made(link, "reactive", answer_ms=60_000).steps[0].acts)
    sender = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', ('10.99.0.2', 5555))"
    cable.run([Act(argv=("nft", "insert", "rule", "inet", "runner_jamming", "out", "ip", "protocol", "icmp", "drop"))])
    before = received(cable)
    cable.on(cable.far_end, "python3", "-c", sender)  # nobody listens there: the answer would be an ICMP message
    until(lambda: received(cable) > before)
    assert received(cable) == before + 1
    assert "elements" not in awake(cable)
    assert cable.echoes(1) == 0
    assert "elements" in awake(cable)
    cable.on(cable.far_end, "python3", "-c", sender)
    assert received(cable) == before + 1


def awake(cable: Cable) -> str:
    return cable.on(cable.device, "nft", "list", "set", "inet", "runner_jamming", "awake").stdout


@pytest.mark.real
def test_a_reactive_jammer_answers_as_often_as_it_was_asked_to(cable: Cable, link: DataLink) -> None:
    """A chance of 50 % and a short answer: of many datagrams some come back, and some do not."""
    cable.run(made(link, "reactive", probability_percent=50, answer_ms=1).steps[0].acts)
    assert 10 < cable.echoes(80, wait_s=0.03) < 70
