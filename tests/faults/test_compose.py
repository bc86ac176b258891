"""Several profiles at once: what goes together, and every reason why not, with the place where it stands."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import AskError
from runner.faults.compose import Problem, compose, programs_of, too_roomy
from runner.model.device import DataLink, Size
from runner.model.profile import Profile

DATA = DataLink(interface="data0", far_end="10.77.0.1")
ONE_PATH = DataLink(interface="data0", far_end="10.77.0.1", one_path=True)
NARROW = {"fault": "bandwidth", "up": {"rate_kbit_s": 64}, "down": {}}
LIMITED = {"fault": "bandwidth", "up": {"payload_bytes": 51}, "down": {}}
OFFLINE = {"fault": "offline"}
JAMMED = {"fault": "jamming", "jammer": "constant"}
CUT = {"fault": "power_cut", "points": ["random"]}
STEADY = {"fault": "steady"}
WARM = {"fault": "thermal", "ambient_c": 45}
STAGES = ("collect", "forward")


def profile(*faults: dict[str, Any], severs: tuple[str, ...] = ()) -> Profile:
    return Profile.model_validate({"title": "t", "faults": faults, "severs": severs})


def problems(
    *profiles: Profile, link: DataLink | None = DATA, stages: tuple[str, ...] = STAGES, capabilities: set[str] | None = None
) -> list[Problem]:
    """Profiles called a, b, c … held over one scenario."""
    return list(compose([(chr(97 + number), each) for number, each in enumerate(profiles)], link, stages, capabilities)[1])


def places(found: list[Problem]) -> list[tuple[str, tuple[str | int, ...]]]:
    return [(problem.profile, problem.path) for problem in found]


def test_profiles_that_want_different_things_are_one() -> None:
    """Power, rate and windows without a link at once; what they sever is what each severs."""
    composed, found = compose(
        [("a", profile(NARROW)), ("b", profile(OFFLINE, severs=("data",))), ("c", profile(CUT, severs=("power",)))], DATA, STAGES
    )
    assert found == ()
    assert composed.cutting is not None and composed.cutting.fault == "power_cut"
    assert [fault.fault for fault in composed.links] == ["bandwidth", "offline"]
    assert composed.severs == ("data", "power")


def test_nothing_is_nothing() -> None:
    """A scenario without a link fault has no programs."""
    composed, found = compose([("a", profile(STEADY))], None, ())
    assert (composed.links, found) == ((), ())
    assert programs_of(composed.links, DATA, "baseline", 1) == ()


def test_programs_are_named_apart_and_the_same_each_time() -> None:
    """By scenario, fault and number; the seed reaches chance, and an execution that is made again has the same timeline."""
    chance = {"fault": "jamming", "jammer": "random", "mean_on_s": 1, "mean_off_s": 1, "for_s": 60}
    faults = profile(NARROW, OFFLINE, chance).links
    assert [program.name for program in programs_of(faults, DATA, "chaos", 1)] == [
        "chaos.bandwidth-1",
        "chaos.offline-1",
        "chaos.jamming-1",
    ]
    assert programs_of(faults, DATA, "chaos", 1) == programs_of(faults, DATA, "chaos", 1)
    assert programs_of(faults, DATA, "chaos", 2)[2].steps != programs_of(faults, DATA, "chaos", 1)[2].steps
    assert programs_of(faults, DATA, "chaos-again", 1)[2].steps == programs_of(faults, DATA, "chaos", 1)[2].steps


def test_programs_of_a_device_that_cannot_is_an_ask_error() -> None:
    """As it is known once the device has been asked."""
    with pytest.raises(AskError, match="has no nft"):
        programs_of(profile(OFFLINE).links, DATA, "chaos", 1, {"netem", "tbf", "ifb"})


@pytest.mark.parametrize("fault", [NARROW, OFFLINE, JAMMED, LIMITED], ids=lambda fault: fault["fault"])
def test_two_that_want_the_same_are_refused_at_any_time(fault: dict[str, Any]) -> None:
    """Even one after the other: a program owns what it wants from before its first step until it is taken back."""
    severs = () if fault is NARROW else ("data",)
    first, later = profile({**fault, "for_s": 5}, severs=severs), profile({**fault, "at_s": 50, "for_s": 5}, severs=severs)
    (problem,) = problems(first, later)
    assert (problem.profile, problem.path) == ("b", ("faults", 0))
    assert problem.found.startswith(f"{fault['fault']} wants '")
    assert problem.found.endswith(f"and so does {fault['fault']} of a")
    assert places(problems(profile(fault, fault, severs=severs))) == [("a", ("faults", 1))]


@pytest.mark.parametrize("other", [CUT, STEADY, {"fault": "tamper", "damage": ["bit_flip"]}], ids=lambda fault: fault["fault"])
def test_the_power_does_one_thing(other: dict[str, Any]) -> None:
    """Two cutting faults are two stories, in one profile or in two."""
    severs = () if other is STEADY else ("power",)
    (problem,) = problems(profile(CUT, severs=("power",)), profile(other, severs=severs))
    assert (problem.profile, problem.path) == ("b", ("faults", 0))
    assert problem.found == f"{other['fault']} beside power_cut of a"


def test_a_link_fault_needs_a_link() -> None:
    """Each is named; a power cut needs none."""
    found = problems(profile(NARROW, CUT, OFFLINE, severs=("power", "data")), link=None)
    assert places(found) == [("a", ("faults", 0, "fault")), ("a", ("faults", 2, "fault"))]
    assert "has none" in found[0].found


@pytest.mark.parametrize("stages", [STAGES, ()])
def test_a_stage_must_be_one_of_the_scenarios(stages: tuple[str, ...]) -> None:
    """And the complaint says which there are."""
    (problem,) = problems(profile({**NARROW, "stage": "forwards"}), stages=stages)
    assert problem.path == ("faults", 0, "stage")
    assert problem.expected == ("one of collect, forward" if stages else "one of none: it has no stages")
    assert problems(profile({**NARROW, "stage": "forward"})) == []
    (problem,) = problems(profile({**WARM, "stage": "forwards"}), stages=stages)
    assert problem.path == ("faults", 0, "stage")
    assert problems(profile({**WARM, "stage": "forward"})) == []


@pytest.mark.parametrize(
    ("faults", "severs", "word"),
    [
        ((NARROW,), ("data",), "data is severed by none"),
        ((NARROW,), ("power",), "power is severed by none"),
        ((NARROW,), ("management",), "management is severed by none"),
        ((STEADY,), ("power",), "power is severed by none"),
        ((CUT,), (), "severs the power"),
        ((OFFLINE,), (), "severs the data link (offline)"),
        ((JAMMED,), ("power", "data"), "power is severed by none"),
        ((LIMITED,), (), "severs the data link (bandwidth)"),
    ],
)
def test_what_is_declared_is_so_and_what_is_so_is_declared(faults: tuple[dict[str, Any], ...], severs: tuple[str, ...], word: str) -> None:
    """One complaint, at `severs`, which says what should stand there; with that there is none."""
    (problem,) = problems(profile(*faults, severs=severs))
    assert problem.path == ("severs",)
    assert word in problem.found
    mended = problem.expected.removeprefix("severs: [").removesuffix("]")
    assert problems(profile(*faults, severs=tuple(mended.split(", ")) if mended else ())) == []


@pytest.mark.parametrize("fault", [OFFLINE, JAMMED, LIMITED], ids=lambda fault: fault["fault"])
def test_the_only_path_is_cut_only_as_declared_and_for_a_time(fault: dict[str, Any]) -> None:
    """Declared, and with an end that the device keeps by itself; on another device neither is asked for."""
    found = problems(profile(fault, severs=("data",)), link=ONE_PATH)
    assert [problem.path for problem in found] == [("severs",), ("faults", 0)]
    assert found[0].expected == "severs: [data, management]"
    assert found[1].expected == "for_s, in seconds"
    declared = profile({**fault, "for_s": 30}, severs=("data", "management"))
    assert problems(declared, link=ONE_PATH) == []
    assert problems(declared) == []


def test_a_narrow_only_path_is_no_cut_one() -> None:
    """1 kbit/s is not offline."""
    assert problems(profile(NARROW), link=ONE_PATH) == []


@pytest.mark.parametrize(
    ("small", "found"),
    [
        ({"memory_mib": 466, "cpu_share": 1.5}, []),
        ({"memory_mib": 467}, ["467 MiB of memory"]),
        ({"memory_mib": 1024, "cpu_share": 2}, ["1024 MiB of memory", "2 of a core"]),
        ({"cpu_share": 4, "memory_mib": 64, "like": "raspberry-pi-zero-2"}, []),  # the cores that it has are no more than that
        ({"processes": 9}, []),
    ],
)
def test_a_cap_that_is_none_here_is_refused(small: dict[str, Any], found: list[str]) -> None:
    """A device cannot be made as small as a larger one; nobody could tell whether it was."""
    told = too_roomy([("a", profile({"fault": "resources", **small}))], Size(memory_mib=467, cpus=2))
    assert [each.found for each in told] == [f"{what}, of a device that has no more" for what in found]
    assert {each.path for each in told} <= {("faults", 0)}


def test_what_the_device_cannot_do_is_a_problem_once_it_was_asked() -> None:
    """Nobody guesses before; afterwards each fault has its own."""
    several = profile(NARROW, OFFLINE, severs=("data",))
    assert problems(several) == []
    found = problems(several, capabilities={"ifb"})
    assert places(found) == [("a", ("faults", 0)), ("a", ("faults", 1))]
    assert all(problem.expected and problem.do for problem in found)
    assert problems(several, capabilities={"netem", "nft"}) == []


def test_every_problem_comes_at_once() -> None:
    """A profile with four mistakes has four complaints."""
    wrong = profile(NARROW, {**NARROW, "stage": "nowhere"}, OFFLINE, CUT, CUT)
    assert sorted(map(str, (path for _, path in places(problems(wrong))))) == sorted(
        map(str, [("faults", 1), ("faults", 1, "stage"), ("faults", 4), ("severs",), ("severs",)])
    )
