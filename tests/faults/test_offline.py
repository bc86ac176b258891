"""Nothing passes, in windows; what is put there and taken back, as text and between two real network namespaces."""

from __future__ import annotations

import pytest

from runner.errors import AskError
from runner.faults import offline
from runner.faults.kernel import EVERY_CAPABILITY, Before
from runner.model.device import DataLink
from runner.model.profile import Offline
from runner.model.program import Program
from tests.faults.conftest import Cable

FLAPPING = {"at_s": 3, "for_s": 5, "every_s": 12, "times": 3}


def made(link: DataLink, before: Before | None = None, capabilities: frozenset[str] = EVERY_CAPABILITY, **settings: object) -> Program:
    fault = Offline.model_validate({"fault": "offline", **settings})
    return offline.program(fault, link, "offline-1", 1, capabilities, before or Before())


def test_each_window_is_a_step_on_and_a_step_off(link: DataLink) -> None:
    """The last one ends with the program, whose undo is what each step off does."""
    flapping = made(link, **FLAPPING)
    assert [(step.at_s, step.on, step.word) for step in flapping.steps] == [
        (3, True, "offline"), (8, False, "as before"), (15, True, "offline"), (20, False, "as before"), (27, True, "offline"),
    ]  # fmt: skip
    assert flapping.lasts_s == 32
    assert {step.acts for step in flapping.steps if not step.on} == {flapping.undo}


def test_without_an_end_it_lasts_until_it_is_told(link: DataLink) -> None:
    """One step, at once, and no end of its own; a stage's edge is kept."""
    whole = made(link, stage="forward", edge="end")
    assert ([step.at_s for step in whole.steps], whole.lasts_s) == ([0], None)
    assert (whole.stage, whole.edge) == ("forward", "end")


def test_dropping_needs_nft_and_link_down_needs_nothing(link: DataLink) -> None:
    """What is missing is said before anything moves, with what to do."""
    with pytest.raises(AskError, match="has no nft") as refused:
        made(link, capabilities=frozenset({"netem"}))
    assert refused.value.complaints[0].do
    assert made(link, how="link_down", capabilities=frozenset()).needs == ()


@pytest.mark.parametrize("how", ["drop", "link_down"])
def test_the_only_path_is_severed_only_where_it_is_the_only_one(link: DataLink, how: str) -> None:
    """The data link always, the management connection where it goes over the same interface."""
    assert made(link, how=how).severs_data
    assert not made(link, how=how).severs_management
    assert made(link.model_copy(update={"one_path": True}), how=how).severs_management


def test_routes_come_back_as_they_were_printed(link: DataLink) -> None:
    """With their interface, and without the words that `ip` prints and does not take."""
    before = Before(routes=("default via 10.99.0.1 metric 100 linkdown", "10.98.0.0/16 via 10.99.0.1 dev data0"), addresses=("fd00::2/64",))
    undo = [" ".join(act.argv) for act in made(link, before, how="link_down").undo]
    assert undo == [
        "ip link set data0 up",
        "ip address replace fd00::2/64 dev data0",
        "ip route replace default via 10.99.0.1 metric 100 dev data0",
        "ip route replace 10.98.0.0/16 via 10.99.0.1 dev data0",
    ]


@pytest.mark.real
def test_what_is_dropped_is_dropped_both_ways_and_nothing_is_left(cable: Cable, link: DataLink) -> None:
    """No echo while it is on, although the link is up; again and again, and afterwards everything is as before."""
    program = made(link, **FLAPPING)
    untouched = cable.state()
    for step in (*program.steps, program):
        if isinstance(step, Program):
            cable.undo(step)
        else:
            cable.run(step.acts)
        on = not isinstance(step, Program) and step.on
        assert [cable.sees(sign) for sign in program.signs] == [on]
        assert cable.echoes(3) == 0 if on else cable.passes()
        assert "state UP" in cable.on(cable.device, "ip", "link", "show", "dev", "data0").stdout
    cable.undo(program)  # any number of times
    assert cable.state() == untouched


@pytest.mark.real
def test_what_arrives_dies_too(cable: Cable, link: DataLink) -> None:
    """Not only the device's own words: the far end's reach nobody."""
    cable.run(made(link).steps[0].acts)
    listener = "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('',5555)); s.settimeout(0.5); print(s.recv(9))"
    sender = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', ('10.99.0.2', 5555))"
    both = f"import subprocess,sys; p=subprocess.Popen([sys.executable,'-c',{listener!r}]); "
    both += f"subprocess.run(['ip','netns','exec',{cable.far_end!r},sys.executable,'-c',{sender!r}]) or 0; p.wait()"
    assert "hello" not in cable.on(cable.device, "python3", "-c", both).stdout


@pytest.mark.real
def test_a_link_that_is_down_comes_back_with_its_routes(cable: Cable, link: DataLink) -> None:
    """The kernel forgets a route that goes over it; the undo remembers."""
    untouched = cable.state()
    routes = tuple(cable.on(cable.device, "ip", "route", "show", "dev", "data0").stdout.splitlines())
    program = made(link, Before(routes=tuple(route for route in routes if "proto kernel" not in route)), how="link_down")
    assert not any(map(cable.sees, program.signs))
    cable.run(program.steps[0].acts)
    assert any(map(cable.sees, program.signs))
    assert cable.echoes(3) == 0
    cable.undo(program)
    assert not any(map(cable.sees, program.signs))
    assert cable.passes()
    assert cable.state()[4] == untouched[4]
