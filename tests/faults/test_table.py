"""Faults by name: ours, an outsider's by entry point, and one that nobody brings."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from runner.errors import AskError
from runner.faults import table
from runner.faults.compose import ANYWHERE, compose, programs_of
from runner.model.device import DataLink
from runner.model.profile import External, Profile, Steady
from runner.model.program import Program, Step


def fog(settings: dict[str, Any], link: DataLink, name: str, seed: int, capabilities: frozenset[str], before: object) -> Program:
    """An outsider's fault."""
    if "density" not in settings:
        raise AskError("fog without density", expected="density: 0 to 9")
    word = f"fog {settings['density']} by {seed}"
    return Program(
        name=name,
        fault="fog",
        interface=link.interface,
        resources=(),
        undo=(),
        signs=(),
        steps=(Step(at_s=0, acts=(), word=word, on=True),),
    )


@pytest.fixture
def with_fog(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package were installed that brings a fault "fog", and tries to replace "offline"."""
    found = [EntryPoint(name, f"{__name__}:fog", table.GROUP) for name in ("fog", "offline")]
    monkeypatch.setattr(table, "entry_points", lambda group: found if group == table.GROUP else [])


def external(**settings: Any) -> External:
    return External(fault="external", name="fog", settings=settings)


def test_every_fault_of_the_table_is_there() -> None:
    """Each name leads to a function, and its module says its figures."""
    assert table.known() == ["bandwidth", "clock", "disk", "jamming", "offline", "resources", "steady"]
    for name in table.known():
        assert table.maker(name).__module__ == f"runner.faults.{name}"


def test_a_fault_that_nobody_brings_is_refused() -> None:
    """With those that there are, and what to do."""
    with pytest.raises(AskError, match="no fault is called 'fog'") as refused:
        table.maker("fog")
    (complaint,) = refused.value.complaints
    assert complaint.expected == "one of bandwidth, clock, disk, jamming, offline, resources, steady"
    assert complaint.do


@pytest.mark.usefixtures("with_fog")
def test_an_outsider_brings_a_fault_and_replaces_none() -> None:
    """Its settings come as they stand in the profile; a name of ours stays ours."""
    (program,) = programs_of([external(density=3)], ANYWHERE, "chaos", 7)
    assert (program.name, program.fault, program.steps[0].word) == ("chaos.fog-1", "fog", "fog 3 by 7")
    assert table.maker("offline").__module__ == "runner.faults.offline"
    assert table.figures(external(density=3)) == "fog"


@pytest.mark.usefixtures("with_fog")
def test_an_outsiders_complaint_is_a_problem_of_the_profile() -> None:
    """What it raises is said with the place of the fault."""
    _, (problem,) = compose([("mine", Profile(title="t", faults=(external(),)))], ANYWHERE, ())
    assert (problem.path, problem.found, problem.expected) == (("faults", 0), "fog without density", "density: 0 to 9")


def test_steady_is_a_program_without_an_act() -> None:
    """Nothing is put there, so nothing can be left; it needs nothing, and is never on."""
    (program,) = programs_of([Steady(fault="steady")], ANYWHERE, "baseline", 1, ())
    assert [step.acts for step in program.steps] == [()]
    assert not any(step.on for step in program.steps)
    assert (program.undo, program.signs, program.prepare, program.resources, program.needs) == ((), (), (), (), ())
    assert not program.severs_data
