"""One run, from lease to report: the table of contents is `_carry_out`, and each line of it is a step.

    plan → lease → folder → power on, open → make safe → prove the disk → push → environment
         → executions (baseline first) → unwind, shielded → judge → report

`resume` takes up a run that was killed, interrupted or blocked, and goes through the same steps: what its notes say
was done is not done again. They emit events and print nothing; faces render them. Whatever ends a run early, everything
is unwound and a folder that says so stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import traceback
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from pydantic import ValidationError

from runner import __version__
from runner.clock import Clock, SystemClock, iso
from runner.errors import AskError, BrokenPromise, LabError, RunnerError
from runner.farm.lease import Lease, Leases, lent
from runner.judgement import report
from runner.judgement.collection import refresh_aggregate
from runner.judgement.conclude import Conclusion, conclude
from runner.judgement.evidence import SET_ASIDE, Evidence
from runner.judgement.judge import entry_checks
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder, seals, write_json, write_text
from runner.lab.where import Lab, cache_root, state_root
from runner.model.outcome import TABLE
from runner.model.plan import ExecutionPlan, Plan
from runner.ondevice import failpoints
from runner.ondevice.journal import Journal, boot_id
from runner.story import faults, heat
from runner.story.execution import HOPELESS, linked, run_execution
from runner.story.left import end_as, give_up_own, set_aside, settle
from runner.story.links import clear, far_end, served
from runner.story.live import collect_evidence, live_target
from runner.story.plan import missing_cuts, more_cuts, once_more, refuse_unsupported, size_of
from runner.story.prove import prove_disk
from runner.story.run import Emit, Run, past_of, token_of
from runner.story.steps import step
from runner.target.bundle import fetch_own_wheels, fetch_wheels, make_bundle
from runner.target.rate import lacking
from runner.target.target import Target

BEFOREHAND = "`runner device provision {}` lays it there beforehand, over SSH where it has that; or keep it on its image"
MAX_EXTRA_ROUNDS = 3  # rounds of extra executions that make up for vacuous cuts

Adjust = Callable[[Target], None]


async def execute(
    plan: Plan, lab: Lab, emit: Emit, *, clock: Clock | None = None, adjust: Adjust = lambda target: None, wait: bool = True
) -> Conclusion:
    """Carries out `plan` and concludes from the folder it leaves.

    Waits while somebody else holds the device, unless not to `wait`. `adjust` may change the target before it is used; the
    tests put broken supervisors there. Raises AskError when the entry's checks cannot be loaded, LabError when the device is
    taken or no run folder can be made; everything later ends in a Conclusion.
    """
    clock = clock or SystemClock()
    entry_checks(Path(plan.pipeline_source))  # what cannot even be loaded is refused before anything moves
    with contextlib.ExitStack() as to_its_report:
        async with _lent(plan, lab, emit, clock, wait=wait) as lease:
            run = await _open_folder(plan, lab, clock, emit, lease)
            to_its_report.enter_context(run.folder.alone())
            trouble = await _carry_out(run, adjust)
        return _finish(run.folder, lab, emit, clock, trouble, run.token)


async def resume(
    folder: RunFolder, lab: Lab, emit: Emit, *, clock: Clock | None = None, adjust: Adjust = lambda target: None, wait: bool = True,
    cancel: bool = False,
) -> Conclusion:  # fmt: skip
    """Goes on with a run that did not come to its end, or with `cancel` ends what it left on the device.

    A run that has nothing left to do is concluded again. Raises AskError for one that is under way, or that cannot be gone on
    with: its folder stays as it is. Otherwise as `execute`.
    """
    clock = clock or SystemClock()
    with folder.alone():
        evidence = load_evidence(folder)
        plan, token = plan_of(folder, evidence), str(evidence.config["run_token"])
        if evidence.over:
            Leases(state_root()).sweep()
            return _finish(folder, lab, emit, clock, None, token)
        if evidence.coordinator[-1].boot_id != boot_id():
            found = f"this machine was started anew since {folder.run_id} began, and with it the clock by which the run is timed"
            raise AskError(found, do=f"{plan.command}   (a new run; it mirrors first what this one left on the device)")
        _refuse_another(folder, evidence, plan, token)
        async with _lent(plan, lab, emit, clock, wait=wait) as lease:
            log = Journal.open(str(folder.coordinator_journal))
            run = Run(plan, lab, folder, clock, emit, log, token, lease, past_of(evidence))
            with contextlib.suppress(OSError):  # a full disk is heard of soon enough
                folder.keep_room()
            run.endings, run.baseline_s = list(run.past.ended.values()), dict(run.past.baseline_s)
            run.as_found = run.past.as_found
            run.note("resumed", runner_version=__version__)
            lease.leases.began(run.token, plan.identity, folder.root, lease.id)
            trouble = await _carry_out(run, adjust, cancel=cancel)
        return _finish(folder, lab, emit, clock, trouble, token)


def _what_was_planned(folder: RunFolder) -> dict[str, dict[str, object]]:
    """Size and SHA-256 of the plan, and of all that is to run and to check it."""
    return {name: said for name, said in seals(folder).items() if name.startswith("pipelines/") or name == "config/run_config.json"}


def _refuse_another(folder: RunFolder, evidence: Evidence, plan: Plan, token: str) -> None:
    """Raises AskError for a folder that is not what the run began with, or not where: the device knows its witness by its path."""
    now = _what_was_planned(folder)
    changed = [name for name, said in evidence.begun_with.items() if now.get(name) != said]
    if changed:
        found = f"{changed[0]} is not what it was when {folder.run_id} began"
        raise AskError(found, where=str(folder.root / changed[0]), do=f"put it back, or run anew: {plan.command}")
    noted = dict(Leases(state_root()).unfinished(plan.identity)).get(token)
    if noted is not None and noted != folder.root:
        raise AskError(f"{folder.run_id} was made as {noted}", where=str(folder.root), do=f"move it back to {noted}")


@contextlib.asynccontextmanager
async def _lent(plan: Plan, lab: Lab, emit: Emit, clock: Clock, *, wait: bool) -> AsyncIterator[Lease]:
    def say(text: str) -> None:
        emit("say", text=text)

    failpoints.reached("lease.before")
    async with lent(state_root(), plan.identity, f"{plan.entry} in {lab.runs}", wait=wait, name=plan.device, say=say, clock=clock) as lease:
        failpoints.reached("lease.after")
        yield lease


async def _carry_out(run: Run, adjust: Adjust, *, cancel: bool = False) -> RunnerError | None:
    """Everything for which the device is needed. Returns what ended the run early, noted in its journal; the device is let go then."""
    run.emit("folder", path=run.folder.root)
    trouble: RunnerError | None = None
    ending = "bug"
    try:
        async with live_target(run, adjust):
            _refuse_unsupported(run)
            await linked(run, lambda: clear(run))
            await heat.clear(run)
            await linked(run, lambda: settle(run))
            if cancel:
                await give_up_own(run)
                raise asyncio.CancelledError
            await prove_disk(run)
            await linked(run, lambda: _push(run))
            await linked(run, lambda: _environment(run))
            async with far_end(run):
                await _executions(run)
            run.completed = True
        ending = "ran"
    except (LabError, AskError) as error:  # whatever was asked, hardware has moved: it is the lab's now
        ending, trouble = "lab", error
    except OSError as error:
        ending, trouble = "lab", LabError(f"the coordinator's disk: {error}", do="free some space; what was mirrored is kept")
    except asyncio.CancelledError:
        ending, trouble = ("lab", run.lost) if run.lost else ("interrupted", LabError("interrupted by the operator"))
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        trouble = error if isinstance(error, RunnerError) else BrokenPromise(message, do="please report it, with this folder")
        _keep_traceback(run, error)
    run.note("run_ended", ending=ending, **({"error": str(trouble)} if trouble else {}))
    run.log.close()
    return trouble


def _refuse_unsupported(run: Run) -> None:
    """Raises AskError for a fault that this very device cannot have, by its own word."""
    assert run.session
    hello = run.session.hello
    capabilities = [str(word) for word in hello.get("capabilities") or ()]
    refuse_unsupported(run.plan, run.lab, capabilities, heats=bool(run.target and run.target.power.heats), has=size_of(hello))


def _keep_traceback(run: Run, error: Exception) -> None:
    """Our own bug, as whoever mends it must see it. The folder is what people are asked to send."""
    with contextlib.suppress(RunnerError):
        write_text(run.folder.log("coordinator", run.clock.wall_ns()), "".join(traceback.format_exception(error)))


@step("folder")
async def _open_folder(plan: Plan, lab: Lab, clock: Clock, emit: Emit, lease: Lease) -> Run:
    run_uuid = str(uuid.uuid4())

    def fill(folder: RunFolder) -> None:
        shutil.copytree(plan.pipeline_source, folder.pipelines, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        for path in (folder.pipelines, *folder.pipelines.rglob("*")):  # others who may write to the lab may not write to its runs
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o022)
        write_json(
            folder.run_config,
            {
                "roadmap_entry_id": plan.entry,
                "roadmap_entry_title": plan.title,
                "priority": plan.priority,
                "risk_class": plan.risk,
                "industry": plan.industry,
                "deployment_mode": plan.deployment_mode,
                "run_id": folder.run_id,
                "started_at": iso(clock.wall_ns()),
                "agent_model": f"stageflow-runner {__version__}",
                "stageflow_version": plan.stageflow,
                "test_parameters": plan.model_dump(mode="json"),
                "agent_run_id": run_uuid,
                "run_token": token_of(plan.entry, folder, run_uuid),
            },
        )
        report.write_in_progress(folder)
        began = {"entry": plan.entry, "device": plan.device, "runner_version": __version__, "agent_run_id": run_uuid}
        Journal.create(str(folder.coordinator_journal), "run_began", {**began, "files": _what_was_planned(folder)}).close()

    folder = RunFolder.create(lab.runs, plan.entry, clock.wall_ns(), fill)
    run = Run(plan, lab, folder, clock, emit, Journal.open(str(folder.coordinator_journal)), token_of(plan.entry, folder, run_uuid), lease)
    lease.leases.began(run.token, plan.identity, folder.root, lease.id)
    return run


@step("push")
async def _push(run: Run) -> None:
    """Supervisor's needs by hash: pipelines and the wheels for this device. A second run sends nothing."""
    assert run.session and run.target
    target = run.target
    wheels = await asyncio.to_thread(fetch_wheels, run.plan.stageflow, run.session.hello, cache_root(), run.say)
    wheels += await asyncio.to_thread(fetch_own_wheels, run.folder.pipelines, run.session.hello, cache_root(), run.say)
    run.bundle = bundle = make_bundle(run.folder.pipelines, run.plan.pipeline_folder, wheels)

    def announce(missing: frozenset[str]) -> None:
        if warning := lacking(target.transport, target.name, bundle.kinds(missing), BEFOREHAND.format(target.name)):
            run.say(warning)

    sent = await run.session.push(bundle.blobs, announce)
    if sent:
        run.say(f"pushed {sent / 1e6:.1f} MB")
    await unpack(run)
    run.note("pushed", bytes=sent, pipeline=bundle.pipeline_blob, environment=bundle.environment_tree)


async def unpack(run: Run) -> None:
    """The pipeline and its environment, ready to run on the device; each is checked there, and made anew where it is damaged."""
    assert run.session and run.bundle
    bundle = run.bundle
    await run.session.ask("unpack", tree=bundle.pipeline_tree, blobs=[bundle.pipeline_blob], compile=True)
    await run.session.ask("unpack", tree=bundle.environment_tree, blobs=list(bundle.environment_blobs), compile=True, timeout_s=600)


@step("environment")
async def _environment(run: Run) -> None:
    """environment.json: what the device is, and how fast the same work runs there and here. Once in a run's life."""
    from runner.ondevice import facts

    if run.past.measured:
        return
    assert run.session and run.target and run.bundle
    hello = run.session.hello
    there = (await run.session.ask("benchmark", timeout_s=300))["duration_s"]
    here = (await asyncio.to_thread(facts.benchmark))["duration_s"]
    write_json(
        run.folder.environment,
        {
            "python_version": hello["python_version"],
            "os": hello["os"],
            "cpu": f"{hello['cpu_count']} × {hello['machine']}",
            "memory_gb": round(hello["memory_bytes"] / 1e9, 2),
            "gpu": "none",
            "dependencies": run.bundle.dependencies,
            "device": {"name": run.plan.device, "type": run.plan.type.title, "cut": run.target.loss},
            "acts_here": await run.target.power.facts(),
            "slowdown": round(there / here, 2),
            "coordinator": {"stageflow-runner": __version__},
        },
    )
    run.note("benchmark", device_s=there, coordinator_s=here, slowdown=round(there / here, 2))


async def _executions(run: Run) -> None:
    """The planned executions in order, then extra ones for cuts that hit nothing, within reason."""
    if any(ending in HOPELESS for ending in run.endings):
        return
    for execution in (*run.plan.executions, *run.past.extras):
        if await _execution(run, execution) in HOPELESS:
            return
    for attempt in range(run.past.rounds + 1, MAX_EXTRA_ROUNDS + 1):
        collect_evidence(run)
        evidence = load_evidence(run.folder)
        missing = missing_cuts(run.plan, evidence.counted_by_scenario)
        if not missing or evidence.stopped:
            return
        run.say(f"vacuous or missed: {sum(missing.values())} of {run.plan.cuts_asked} cuts; making up for them")
        for execution in more_cuts(run.plan, missing, attempt):
            if await _execution(run, execution) in HOPELESS:
                return


async def _execution(run: Run, execution: ExecutionPlan) -> str:
    """How the execution ended, now or before. What it damaged is made whole again behind it.

    One that damages a disk is not gone on with: nobody knows how much of the damage was done. Nor is one under a link fault, or one
    that had too little of something: nobody renewed it meanwhile, so the device has taken it back. Each is set aside, and made again.
    """
    damaging = any(cut.tamper for cut in execution.cuts)
    if (damaging or execution.under_faults) and execution.name in run.past.begun:
        await set_aside(run, execution)
    if run.past.ended.get(execution.name) == SET_ASIDE:
        return await _execution(run, once_more(execution))
    if execution.name in run.past.lost and execution.name in run.past.begun:
        end_as(run, execution, "not_recovered")  # a result, whose coordinator was killed before it had noted the end
    if execution.name not in run.past.ended:
        assert run.session
        run.imposed_in = str(run.session.hello["boot_id"]) if execution.under_faults else ""
        for impose in faults.IMPOSE:
            await linked(run, lambda: impose(run, execution))  # noqa: B023 - awaited at once
        async with heat.watched(run, execution):
            run.past.ended[execution.name] = await run_execution(run, execution)
        await served(run)
        if damaging and run.past.ended[execution.name] not in HOPELESS:
            await linked(run, lambda: unpack(run))
    for lift, done in zip(faults.LIFT, (run.past.cooled, run.past.relieved, run.past.lifted), strict=True):
        if execution.name not in done and run.past.ended[execution.name] not in HOPELESS:
            await linked(run, lambda: lift(run, execution))  # noqa: B023 - awaited at once; also of one of an earlier life of this run
    return run.past.ended[execution.name]


def _finish(folder: RunFolder, lab: Lab, emit: Emit, clock: Clock, trouble: RunnerError | None, token: str) -> Conclusion:
    emit("step", name="judge")
    failpoints.reached("judge.before")
    conclusion = conclude(folder, iso(clock.wall_ns()))
    failpoints.reached("judge.after")
    emit("step", name="report")
    failpoints.reached("report.before")
    report.write(folder, conclusion)
    try:
        refresh_aggregate(lab.runs, conclusion.generated_at)
    except RunnerError as error:  # the run's own folder says all there is to say of it
        emit("say", text=f"runs/aggregated_findings.json was not made again: {error}")
    if conclusion.evidence.over:
        Leases(state_root()).concluded(token)
    failpoints.reached("report.after")
    if trouble is not None:
        conclusion.trouble = trouble
    emit("concluded", conclusion=conclusion, row=TABLE[conclusion.row])
    return conclusion


def plan_of(folder: RunFolder, evidence: Evidence) -> Plan:
    try:
        return Plan.model_validate(evidence.plan)
    except ValidationError as error:
        found = f"{folder.run_id} was planned by another version of runner: {error.error_count()} things in its plan are unknown here"
        raise AskError(found, expected="a plan of this version", where=str(folder.run_config), do="run it anew") from error
