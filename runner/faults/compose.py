"""Several profiles held over one execution: at most one cutting fault, and link faults that do not want the same thing.

    profiles, data link, stages, capabilities ──compose──► Composed, or problems as data: where in which profile, found, expected, do
    link faults, data link, seed, capabilities ──programs_of──► programs

Pure: the plan attaches file and line to a problem (`path` is the path of keys in the profile's YAML), and stops before anything moves.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from runner.errors import AskError
from runner.faults import table
from runner.faults.kernel import EVERY_CAPABILITY, NOTHING_BEFORE, Before
from runner.model.device import DataLink, Size
from runner.model.profile import Cutting, External, Link, PowerCut, Profile, Resources, Scarcity, Steady, Tamper, Thermal
from runner.model.program import Program

ANYWHERE = DataLink(interface="data0", far_end="far-end")  # stands for the link of a device that is not known, or has none


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a profile here; `path` is where in its file."""

    profile: str
    path: tuple[str | int, ...]
    found: str
    expected: str
    do: str = ""


@dataclass(frozen=True)
class Composed:
    """What several profiles are together."""

    cutting: Cutting | None = None
    links: tuple[Link, ...] = ()
    heat: Thermal | None = None
    scarcities: tuple[Scarcity, ...] = ()
    severs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Placed:
    """A fault of the link or of scarcity, where it stands, and its program: on this device, or on one that can do everything, as long
    as nobody has asked."""

    profile: str
    place: int
    fault: Link | Scarcity
    program: Program


def compose(
    profiles: Sequence[tuple[str, Profile]],
    link: DataLink | None,
    stages: Collection[str],
    capabilities: Collection[str] | None = None,
) -> tuple[Composed, tuple[Problem, ...]]:
    """The profiles as one, and everything that keeps them from being held over a scenario of these `stages` on this device.

    `link` is None for a device without a data link; `capabilities` None as long as nobody has asked the device.
    """
    problems: list[Problem] = []
    placed: list[_Placed] = []
    cutting: list[tuple[str, int, Cutting]] = []
    heat: list[tuple[str, int, Thermal]] = []
    for name, profile in profiles:
        for place, fault in enumerate(profile.faults):
            if isinstance(fault, Cutting):
                cutting.append((name, place, fault))
            elif isinstance(fault, Thermal):
                heat.append((name, place, fault))
            else:
                made = _made(name, place, fault, link, capabilities, problems)
                placed += [made] if made else []
        problems += _severing(name, profile, [each for each in placed if each.profile == name], link)
    problems += _one_cutting(cutting) + _one_heat(heat) + _one_owner(placed)
    problems += _anchored([*((each.profile, each.place, each.fault) for each in placed), *heat], stages)
    severs = tuple(dict.fromkeys(word for _, profile in profiles for word in profile.severs))
    what, warm = cutting[0][2] if cutting else None, heat[0][2] if heat else None
    links = tuple(each.fault for each in placed if isinstance(each.fault, Link))
    scarce = tuple(each.fault for each in placed if isinstance(each.fault, Scarcity))
    return Composed(what, links, warm, scarce, severs), tuple(dict.fromkeys(problems))


def without_heat(profiles: Sequence[tuple[str, Profile]], capabilities: Collection[str]) -> tuple[Problem, ...]:
    """What of the profiles is heat that a device with these `capabilities`, which nobody outside slows down, cannot make for itself."""
    if {"cgroup-cpu", "cpufreq"} & set(capabilities):
        return ()
    found = "nobody outside can slow this device down, and it has neither cpufreq nor cgroup-cpu to do so by itself"
    do = "an emulated board, or a supervisor that runs as root"
    return tuple(
        Problem(name, ("faults", place), found, "a device that can be slowed down", do)
        for name, profile in profiles
        for place, fault in enumerate(profile.faults)
        if isinstance(fault, Thermal)
    )


def too_roomy(profiles: Sequence[tuple[str, Profile]], has: Size) -> tuple[Problem, ...]:
    """What of the profiles leaves a device of this size all that it has: nothing would be limited, and nobody could tell.

    A board that is made as small as one with more cores has its own, which is no more than was asked.
    """
    do = "a profile that leaves it less: `memory_mib`, `cpu_share`; or a device that has more"
    return tuple(
        Problem(name, ("faults", place), f"{found}, of a device that has no more", "less than it has", do)
        for name, profile in profiles
        for place, fault in enumerate(profile.faults)
        if isinstance(fault, Resources)
        for found in (
            *([f"{fault.memory_mib} MiB of memory"] if (fault.memory_mib or 0) >= has.memory_mib else []),
            *([f"{fault.cpu_share:g} of a core"] if not fault.like and (fault.cpu_share or 0) >= has.cpus else []),
        )
    )


def one_quota(profiles: Sequence[tuple[str, Profile]]) -> tuple[Problem, ...]:
    """What of the profiles is heat beside a share of the processor, for a device that heats itself by a quota of its pipelines' group:
    the share is that same quota, and whoever sets it last has taken the other's away. Each of the two has a problem of its own."""
    faults = [(name, place, fault) for name, profile in profiles for place, fault in enumerate(profile.faults)]
    heat = [(name, place) for name, place, fault in faults if isinstance(fault, Thermal)]
    shares = [(name, place) for name, place, fault in faults if isinstance(fault, Resources) and (fault.cpu_share or fault.like)]
    if not heat or not shares:
        return ()
    do = "hold them over scenarios of their own, or take an emulated board, which is slowed down from outside"
    expected = "one of them: this device heats itself, by the quota of its pipelines' group"
    return (
        *(Problem(*_at(each), f"thermal beside a share of the processor in {shares[0][0]}", expected, do) for each in heat),
        *(Problem(*_at(each), f"a share of the processor beside thermal of {heat[0][0]}", expected, do) for each in shares),
    )


def _at(place: tuple[str, int]) -> tuple[str, tuple[str | int, ...]]:
    return place[0], ("faults", place[1])


def programs_of(
    links: Sequence[Link | Scarcity | Steady],
    link: DataLink,
    scenario: str,
    seed: int,
    capabilities: Collection[str] = EVERY_CAPABILITY,
    before: Before = NOTHING_BEFORE,
) -> tuple[Program, ...]:
    """A program for each of `links`, named "<scenario>.<fault>-<number>". The same arguments give the same programs.

    Raises AskError for what a device with these `capabilities` cannot do.
    """
    counted: dict[str, int] = {}
    programs = []
    for fault in links:
        word = table.name_of(fault)
        counted[word] = counted.get(word, 0) + 1
        settings = fault.settings if isinstance(fault, External) else fault
        name = f"{scenario}.{word}-{counted[word]}"
        programs.append(table.maker(word)(settings, link, name, seed, frozenset(capabilities), before))
    return tuple(programs)


def needs(profile: Profile) -> tuple[str, ...]:
    """What a device's kernel and tools must have for all of a profile. Raises AskError for a fault that nobody brings."""
    programs = programs_of((*profile.links, *profile.scarcities), ANYWHERE, "any", 1)
    return tuple(dict.fromkeys(word for program in programs for word in program.needs))


def _made(
    profile: str, place: int, fault: Link | Scarcity, link: DataLink | None, capabilities: Collection[str] | None, problems: list[Problem]
) -> _Placed | None:
    """The fault with its program; what keeps it from having one on this device is noted."""
    path = ("faults", place)
    if link is None and isinstance(fault, Link):
        problems.append(
            Problem(
                profile,
                (*path, "fault"),
                f"{table.name_of(fault)} acts on a data link, and the device has none",
                "a device whose type or inventory line has a data_link",
                "runner device list",
            )
        )
    try:
        has = EVERY_CAPABILITY if capabilities is None else capabilities
        (program,) = programs_of([fault], link or ANYWHERE, profile, 1, has)
    except AskError as error:
        problems += [Problem(profile, path, each.found, each.expected, each.do) for each in error.complaints]
        return None
    return _Placed(profile, place, fault, program)


def _one_cutting(cutting: list[tuple[str, int, Cutting]]) -> list[Problem]:
    """What the power does is one story."""
    return [
        Problem(
            name,
            ("faults", place),
            f"{fault.fault} beside {cutting[0][2].fault} of {cutting[0][0]}",
            "one of steady, power_cut and tamper, once in all",
            "hold them over scenarios of their own",
        )
        for name, place, fault in cutting[1:]
    ]


def _one_heat(heat: list[tuple[str, int, Thermal]]) -> list[Problem]:
    """A board has one temperature."""
    do = "one timeline of ambient_c says all of a day"
    return [
        Problem(name, ("faults", place), f"thermal beside thermal of {heat[0][0]}", "one thermal in all", do) for name, place, _ in heat[1:]
    ]


def _one_owner(placed: list[_Placed]) -> list[Problem]:
    """A program owns its resources from before its first step until it is taken back: no two may want the same, at any time."""
    owners: dict[str, _Placed] = {}
    problems = []
    for each in placed:
        taken = [(resource, owners[resource]) for resource in each.program.resources if resource in owners]
        if taken:
            resource, owner = taken[0]
            found = f"{each.program.fault} wants {resource!r}, and so does {owner.program.fault} of {owner.profile}"
            do = "take one of them out; a fault that comes again is one fault with every_s and times"
            problems.append(Problem(each.profile, ("faults", each.place), found, "each of them for one fault", do))
        owners.update({resource: each for resource in each.program.resources if resource not in owners})
    return problems


def _anchored(timed: Sequence[tuple[str, int, Link | Scarcity | Thermal]], stages: Collection[str]) -> list[Problem]:
    return [
        Problem(
            name,
            ("faults", place, "stage"),
            f"the scenario has no stage {fault.stage!r}",
            "one of " + (", ".join(stages) or "none: it has no stages"),
        )
        for name, place, fault in timed
        if fault.stage and fault.stage not in stages
    ]


def _severing(name: str, profile: Profile, placed: list[_Placed], link: DataLink | None) -> list[Problem]:
    """What is declared and what is so, and the only path only for a time that the device's own schedule ends.

    `management` may be declared for any device, and must be for those where the management connection takes the data link.
    """
    cut = any(isinstance(fault, PowerCut | Tamper) for fault in profile.faults)
    severing = [each for each in placed if each.program.severs_data]
    of_links = [each for each in placed if isinstance(each.fault, Link)]
    unknown = any(isinstance(each.fault, External) for each in placed) or len(of_links) < len(profile.links)
    problems = []
    for word, is_so in (("power", cut), ("data", bool(severing)), ("management", bool(severing))):
        if word in profile.severs and not is_so and not (unknown and word != "power"):
            problems.append(Problem(name, ("severs",), f"{word} is severed by none of its faults", _declared(profile, word, False)))
        elif is_so and word not in profile.severs and word != "management":
            faults = "the power" if word == "power" else f"the data link ({severing[0].program.fault})"
            problems.append(Problem(name, ("severs",), f"it severs {faults} and does not declare it", _declared(profile, word, True)))
    if link is None or not link.one_path:
        return problems
    for each in severing:
        if "management" not in profile.severs:
            found = f"{each.program.fault} would cut the only path to the device"
            do = "declare it in a profile of your own, or take a device with a management connection of its own"
            problems.append(Problem(name, ("severs",), found, _declared(profile, "management", True), do))
        if each.fault.for_s is None:
            found = f"{each.program.fault} would cut the only path to the device, without an end"
            do = "say for_s: the device ends it by itself then"
            problems.append(Problem(name, ("faults", each.place), found, "for_s, in seconds", do))
    return problems


def _declared(profile: Profile, word: str, there: bool) -> str:
    words = [*profile.severs, word] if there else [each for each in profile.severs if each != word]
    return f"severs: [{', '.join(dict.fromkeys(words))}]"
