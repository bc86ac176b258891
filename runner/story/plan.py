"""From what was typed to a Plan: inventory, type, entry and profiles read, every complaint at once. No hardware."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.errors import AskError
from runner.faults import compose, power_cut, resources, steady, tamper
from runner.judgement.checks import GENERIC
from runner.judgement.evidence import AGAIN
from runner.lab.check_entry import check_names, check_python
from runner.lab.load import Reader, folder_name
from runner.lab.where import Lab
from runner.lab.yaml_source import Source, nearest, one_of
from runner.model.device import DeviceLine, DeviceType, Size
from runner.model.entry import Entry, Scenario, Severity
from runner.model.plan import CutPlan, ExecutionPlan, HeatPlan, Plan
from runner.model.profile import PowerCut, Profile, Resources, Tamper, Thermal, WrongClock
from runner.target.bundle import stageflow_versions
from runner.target.drivers import known_line, lacking

MAX_CUTS = 1000
_WITH_DATA_LINK = ("a device whose type has a `data_link`", "--device", "runner exec … --device qemu-pi")


@dataclass(frozen=True)
class Asked:
    """The words of `runner exec`. None or empty means: not said."""

    entry: str
    device: str = "local"
    scenarios: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()  # held over every scenario but the baseline, in place of its own link faults
    cuts: int | None = None
    seed: int = 1
    quick: bool = False
    stageflow: str | None = None
    fail_on: Severity | None = None


def make_plan(asked: Asked, lab: Lab) -> Plan:
    """The plan, or AskError with every complaint about files, names and flags."""
    reader = Reader(lab)
    device = find_device(asked, reader)
    found = reader.entry(asked.entry, "runner exec")
    if found is None or device is None:
        reader.finish()
        raise AskError("the plan cannot be made")  # not reached: what is missing was complained of
    entry, source = found
    line, device_type = device
    scenarios = _scenarios(asked, reader, entry)
    check_names(reader, source, reader.entry_folder(entry.id), GENERIC, scenarios)
    check_python(reader, reader.entry_folder(entry.id))
    profiles = _profiles(asked, reader, entry, source, scenarios)
    stageflow = entry.stageflow if asked.stageflow is None else asked.stageflow
    if asked.stageflow is None:
        check_stageflow(reader, source)
    else:
        _pinned(reader, stageflow, "--stageflow", "take one of these, or leave --stageflow out: the entry's own is taken then")
    count = asked.cuts if asked.cuts is not None else entry.cuts.quick if asked.quick else entry.cuts.default
    if not 1 <= count <= MAX_CUTS:
        reader.complain(f"{count} cuts", f"1 to {MAX_CUTS}", "--cuts", "leave --cuts out: the entry's own number is taken then")
    data_link = line.data_link or device_type.data_link
    if entry.far_end and data_link is None:
        reader.complain(f"{asked.device} has no data link, and {entry.id} talks to a far end", *_WITH_DATA_LINK)
    for name, named in profiles.items():
        _complain(reader, compose.compose(list(named.items()), data_link, entry.scenarios[name].stages)[1])
        if device_type.shared and device_type.emulation is None:  # then its own clocks are let alone, and nobody outside has others
            _complain(reader, compose.one_quota(list(named.items())))
        for profile_name, profile in named.items():
            refuse_a_shared_clock(reader, profile_name, profile, asked.device, device_type)
    heats = {name: heat_of(reader, named, device_type, asked.device) for name, named in profiles.items()}
    reader.finish()
    effective = {name: entry.scenarios[name].model_copy(update={"profile": _one_or_all(tuple(named))}) for name, named in profiles.items()}
    executions = tuple(
        execution
        for name, named in profiles.items()
        for execution in executions_of(name, effective[name], named.values(), _capped(count, name, asked, entry), asked.seed, heats[name])
    )
    return Plan(
        entry=entry.id,
        title=entry.title,
        priority=entry.priority,
        risk=entry.risk,
        industry=entry.industry,
        deployment_mode=entry.deployment_mode,
        stageflow=stageflow,
        device=asked.device,
        line=line,
        type=device_type,
        seed=asked.seed,
        cuts=entry.cuts,
        cuts_asked=sum(may_count(execution, cut, entry.scenarios) for execution in executions for cut in execution.cuts),
        command=_command(asked, stageflow),
        fail_on=asked.fail_on,
        far_end=entry.far_end,
        limits=entry.limits,
        executions=executions,
        scenarios=effective,
        profiles={name: profile for named in profiles.values() for name, profile in named.items()},
        pipeline_folder=folder_name(entry.id),
        pipeline_source=str(reader.entry_folder(entry.id)),
    )


def check_stageflow(reader: Reader, source: Source) -> None:
    """The Stageflow of entry.yaml is one that is pinned here, whatever else is wrong with the file."""
    said = source.data.get("stageflow") if isinstance(source.data, dict) else None
    if isinstance(said, str):
        _pinned(reader, said, source.where(("stageflow",)), "take one of these")


def _pinned(reader: Reader, version: str, where: str, do: str) -> None:
    if version not in stageflow_versions():
        found = f"Stageflow {version!r} is not pinned here{nearest(version, stageflow_versions())}"
        reader.complain(found, one_of(stageflow_versions()), where, do)


def refuse_unsupported(plan: Plan, lab: Lab, capabilities: Iterable[str], *, heats: bool = False, has: Size | None = None) -> None:
    """Raises AskError, with each profile's file and line, for what a device with these `capabilities` cannot be made to do. Only the
    device itself knows them, so that it must be asked: the first thing when it is at hand, before anything of the run is on it.

    `heats`: something outside of the device slows it down; else it must be able to do so by itself. `has`: what it has, in all.
    """
    reader, known_words = Reader(lab), frozenset(capabilities)
    for scenario in plan.scenarios.values():
        named = [(name, plan.profiles[name]) for name in scenario.profiles]
        problems = compose.compose(named, plan.data_link, scenario.stages, known_words)[1]
        problems += () if heats else compose.without_heat(named, known_words)
        by_its_clocks = "cpufreq" in known_words and not plan.type.shared
        problems += () if heats or by_its_clocks else compose.one_quota(named)
        problems += compose.too_roomy(named, has) if has else ()
        for problem in problems:
            reader.profile(problem.profile, plan.command)  # for the file and the line
        _complain(reader, problems)
    reader.finish()


def size_of(hello: dict[str, Any]) -> Size | None:
    """How much of a computer a device says that it is; None where it says what nobody can have."""
    try:
        return Size(memory_mib=int(hello["memory_bytes"]) >> 20, cpus=int(hello["cpu_count"]))
    except (KeyError, TypeError, ValueError):
        return None


def _complain(reader: Reader, problems: Iterable[compose.Problem]) -> None:
    for problem in problems:
        reader.complain(problem.found, problem.expected, reader.profile_source(problem.profile).where(problem.path), problem.do)


def executions_of(
    name: str, scenario: Scenario, profiles: Iterable[Profile], count: int, seed: int, heat: HeatPlan | None = None
) -> list[ExecutionPlan]:
    """The executions of one scenario: what its profiles' cutting fault makes of `count` and `seed`, each under their other faults."""
    profiles = tuple(profiles)
    fault = next((profile.cutting for profile in profiles if profile.cutting), None)
    stages = scenario.stages
    if scenario.lanes > 1:
        stages = tuple(f"{stage}@{lane}" for stage in scenario.stages for lane in range(1, scenario.lanes + 1))
    if isinstance(fault, PowerCut):
        schedules = power_cut.schedule(fault, name, stages, count, seed)
    elif isinstance(fault, Tamper):
        schedules = tamper.schedule(fault, name, stages, count, seed)
    else:
        schedules = steady.schedule(name)
    return [
        ExecutionPlan(
            name=f"{name}-{number}",
            scenario=name,
            module=scenario.pipeline,
            durability=scenario.durability,
            stages=stages,
            cuts=cuts,
            limit_s=scenario.limit_s,
            links=tuple(link for profile in profiles for link in profile.links),
            scarcities=tuple(scarce for profile in profiles for scarce in profile.scarcities),
            heat=heat,
            lanes=scenario.lanes,
        )
        for number, cuts in enumerate(schedules, 1)
    ]


def _profiles(asked: Asked, reader: Reader, entry: Entry, source: Source, scenarios: Iterable[str]) -> dict[str, dict[str, Profile]]:
    """Scenario → its profiles by name; where some were asked for, in place of those of its own that touch the link."""
    chosen = {name: reader.profile(name, "--profile") for name in asked.profiles}
    found: dict[str, dict[str, Profile]] = {}
    for scenario in scenarios:
        where = source.where(("scenarios", scenario, "profile"))
        own = {name: reader.profile(name, where) for name in entry.scenarios[scenario].profiles}
        if chosen and scenario != "baseline":
            kept = {name: profile for name, profile in own.items() if profile and not (profile.links or profile.scarcities or profile.heat)}
            own = {**kept, **chosen}
        found[scenario] = {name: sized(reader, name, profile) for name, profile in own.items() if profile}
    return found


def heat_of(reader: Reader, profiles: Mapping[str, Profile], type: DeviceType, device: str) -> HeatPlan | None:
    """The heat of a scenario's profiles, with the body that gets warm in it; what keeps it from having one is complained of."""
    for name, profile in profiles.items():
        for place, fault in enumerate(profile.faults):
            if not isinstance(fault, Thermal):
                continue
            where = reader.profile_source(name).where(("faults", place))
            body = reader.thermal(fault.like, where) if fault.like else type.thermal
            if fault.every_s is not None:
                reader.complain("a heat that comes again", "one that comes on once; `ambient_c` may rise and fall", where)
            if body is not None:
                return HeatPlan(asked=fault, body=body, own=type.thermal if fault.like else None)
            if not fault.like:
                found = f"nobody says how {device} gets warm"
                reader.complain(found, "a type of device with `thermal` or `thermal_like`, or `like` in the profile", where)
    return None


def sized(reader: Reader, name: str, profile: Profile) -> Profile:
    """The profile with the sizes that its `like` stands for; one whose type has none is complained of."""
    faults = list(profile.faults)
    for place, fault in enumerate(faults):
        if not isinstance(fault, Resources) or fault.like is None:
            continue
        where = reader.profile_source(name).where(("faults", place, "like"))
        like = reader.device_type(fault.like, where)
        if like is not None and like.size is None:
            reader.complain(f"nobody says how small a {fault.like} is", "a type of device with a `size`", where, "runner device list")
        elif like is not None and like.size is not None:
            faults[place] = resources.sized(fault, like.size)
    return profile.model_copy(update={"faults": tuple(faults)})


def refuse_a_shared_clock(reader: Reader, name: str, profile: Profile, device: str, type: DeviceType) -> None:
    """The clock of a machine on which others work is not turned: complains of a profile that would."""
    for place, fault in enumerate(profile.faults):
        if isinstance(fault, WrongClock) and type.shared:
            where = reader.profile_source(name).where(("faults", place))
            found = f"{device} is a machine that others work on, and {name} turns its clock"
            reader.complain(found, "a board of its own", where, "--device qemu-pi")


def _one_or_all(names: tuple[str, ...]) -> str | tuple[str, ...]:
    return names[0] if len(names) == 1 else names


def may_count(execution: ExecutionPlan, cut: CutPlan, scenarios: Mapping[str, Scenario]) -> bool:
    """Whether a cut can count towards the entry's bar: it is a plain one, and what it shows must hold."""
    return cut.tamper is None and scenarios[execution.scenario].judge == "must_hold"


def _capped(count: int, name: str, asked: Asked, entry: Entry) -> int:
    """How many cuts a scenario makes: `count`, or less where the entry caps it and nobody asked for it by name."""
    cap = entry.scenarios[name].cuts
    return count if cap is None or (asked.cuts is not None and name in asked.scenarios) else min(count, cap)


def _command(asked: Asked, stageflow: str) -> str:
    """The command line that gives this very plan, all that depends on defaults said."""
    words = ["runner", "exec", asked.entry, "--device", asked.device, "--seed", str(asked.seed), "--stageflow", stageflow]
    words += [word for name in asked.scenarios for word in ("--scenario", name)]
    words += [word for name in asked.profiles for word in ("--profile", name)]
    words += ["--cuts", str(asked.cuts)] if asked.cuts is not None else ["--quick"] if asked.quick else []
    words += ["--fail-on", asked.fail_on] if asked.fail_on else []
    return shlex.join(words)


def missing_cuts(plan: Plan, counted: Mapping[str, int]) -> dict[str, int]:
    """Scenario → how many of its planned cuts have not counted yet, where there are such.

    An entry without a bar is not about cuts: there, one that counted is as good as all.
    """
    asked = Counter(e.scenario for e in plan.executions for cut in e.cuts if may_count(e, cut, plan.scenarios))
    enough = asked if plan.cuts.bar else dict.fromkeys(asked, 1)
    return {scenario: count - counted.get(scenario, 0) for scenario, count in enough.items() if count > counted.get(scenario, 0)}


def more_cuts(plan: Plan, missing: Mapping[str, int], attempt: int) -> list[ExecutionPlan]:
    """Executions that make up for each scenario's missing cuts, named apart and with cuts of their own."""
    made = []
    for scenario, count in missing.items():
        execution = next(execution for execution in plan.executions if execution.scenario == scenario)
        fault = next(fault for name in plan.scenarios[scenario].profiles if (fault := plan.profiles[name].cutting))
        assert isinstance(fault, PowerCut)
        extra = f"{scenario}-extra{attempt}"
        in_stages = fault.model_copy(update={"points": ("before_flush",)})
        schedules = power_cut.schedule(in_stages, extra, execution.stages, count, plan.seed + 1000 * attempt)
        made += [execution.model_copy(update={"name": f"{extra}-{number}", "cuts": cuts}) for number, cuts in enumerate(schedules, 1)]
    return made


def once_more(execution: ExecutionPlan) -> ExecutionPlan:
    """The same execution under another name: its holds are other ones, too, because the device stops at each only once."""
    name = f"{execution.name}{AGAIN}"
    cuts = tuple(cut.model_copy(update={"hold": cut.hold.replace(execution.name, name, 1)}) for cut in execution.cuts)
    return execution.model_copy(update={"name": name, "cuts": cuts})


def find_device(
    asked: Asked, reader: Reader, where: str = "--device", *, for_use: bool = True
) -> tuple[DeviceLine, DeviceType] | None:
    """The inventory line and its type, or None with the complaint noted in `reader`; `where` is where the device was named. Why it
    cannot be used is noted where that is wanted (`for_use`)."""
    found = reader.inventory()
    if found is None:
        return None
    inventory, source = found
    line = inventory.devices.get(asked.device)
    if line is None:
        names = list(inventory.devices)
        wrong = f"no device is called {asked.device!r}{nearest(asked.device, names)}"
        reader.complain(wrong, one_of(names, asked.device, "runner device list"), where, "runner device list")
        return None
    device_type = known_line(reader, source, asked.device, line)
    if device_type and for_use:
        reader.complaints += lacking(reader, asked.device, line, device_type)
    return (line, device_type) if device_type else None


def _scenarios(asked: Asked, reader: Reader, entry: Entry) -> list[str]:
    """The scenarios to run, in the entry's order; the baseline always, because it is the measuring stick."""
    for name in asked.scenarios:
        if name not in entry.scenarios:
            names, listed = list(entry.scenarios), f"runner entry show {entry.id}"
            reader.complain(f"no scenario is called {name!r}{nearest(name, names)}", one_of(names, name, listed), "--scenario", listed)
    return [name for name in entry.scenarios if name == "baseline" or not asked.scenarios or name in asked.scenarios]
