"""One run, from lease to report: the table of contents is `execute`, and each line of it is a function below.

    plan → lease → folder → power on, open → make safe → prove the disk → push → environment
         → executions (baseline first) → unwind, shielded → judge → report

It emits events and prints nothing; faces render them. Whatever ends a run early, everything is unwound and
a folder that says so stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner import __version__
from runner.clock import Clock, SystemClock, iso
from runner.errors import AskError, BrokenPromise, LabError, RunnerError
from runner.farm.lease import Lease
from runner.judgement import report
from runner.judgement.collection import refresh_aggregate
from runner.judgement.conclude import Conclusion, conclude
from runner.judgement.evidence import load_evidence
from runner.judgement.judge import entry_checks
from runner.lab.folder import RunFolder, seals, write_json
from runner.lab.where import Lab, cache_root, state_root
from runner.model.outcome import TABLE
from runner.model.plan import Plan
from runner.ondevice.journal import Journal
from runner.ondevice.results import ENDS
from runner.story.execution import HOPELESS, run_execution
from runner.story.plan import missing_cuts, more_cuts
from runner.story.prove import prove_disk
from runner.target.bundle import Bundle, fetch_wheels, make_bundle
from runner.target.drivers import Request, make_target
from runner.target.session import Session
from runner.target.target import Target

LEASE_S = 120.0
MAX_EXTRA_ROUNDS = 3  # rounds of extra executions that make up for vacuous cuts

Emit = Callable[..., None]


@dataclass
class Run:
    """What the steps of one run share."""

    plan: Plan
    lab: Lab
    folder: RunFolder
    clock: Clock
    emit: Emit
    log: Journal  # the coordinator's own journal: what only it saw
    run_uuid: str
    bundle: Bundle | None = None
    target: Target | None = None
    session: Session | None = None
    endings: list[str] = field(default_factory=list)  # how each execution ended, in order
    completed: bool = False  # every planned step was made
    baseline_s: dict[str, float] = field(default_factory=dict)  # each stage's duration without a fault

    @property
    def token(self) -> str:
        """This run's name on the device: unique over labs and days."""
        return f"{self.plan.entry}.{self.folder.run_id}.{self.run_uuid[:8]}"

    def note(self, kind: str, /, **facts: Any) -> None:
        """One durable record in the coordinator's journal. Raises LabError when its disk fails."""
        try:
            self.log.append(kind, facts)
        except OSError as error:
            raise LabError(f"{self.log.path} cannot be written: {error.strerror}", do="free some space") from error


async def execute(
    plan: Plan, lab: Lab, emit: Emit, *, clock: Clock | None = None, adjust: Callable[[Target], None] = lambda target: None
) -> Conclusion:
    """Carries out `plan` and concludes from the folder it leaves.

    `adjust` may change the target before it is used; the tests put broken supervisors there. Raises AskError when
    the entry's checks cannot be loaded, LabError when the device is taken or no run folder can be made; everything
    later ends in a Conclusion.
    """
    clock = clock or SystemClock()
    entry_checks(Path(plan.pipeline_source))  # what cannot even be loaded is refused before anything moves
    with Lease(state_root(), plan.identity, f"{plan.entry} in {lab.runs}"):
        try:
            run = _open_folder(plan, lab, clock, emit)
        except OSError as error:
            raise LabError(f"no run folder can be made in {lab.runs}: {error}", do="free or grant the place") from error
        with run.folder.alone():
            emit("folder", path=run.folder.root)
            trouble: RunnerError | None = None
            ending = "bug"
            try:
                async with _live_target(run, adjust):
                    await _make_safe(run)
                    await prove_disk(run)
                    await _push(run)
                    await _environment(run)
                    await _executions(run)
                    run.completed = True
                ending = "ran"
            except (LabError, AskError) as error:  # whatever was asked, hardware has moved: it is the lab's now
                ending, trouble = "lab", error
            except OSError as error:
                ending, trouble = "lab", LabError(f"the coordinator's disk: {error}", do="free some space; what was mirrored is kept")
            except asyncio.CancelledError:
                ending, trouble = "interrupted", LabError("interrupted by the operator")
            except Exception as error:
                message = f"{type(error).__name__}: {error}"
                trouble = error if isinstance(error, RunnerError) else BrokenPromise(message, do="please report it, with this folder")
                trouble.__cause__ = error
            run.note("run_ended", ending=ending, **({"error": str(trouble)} if trouble else {}))
            run.log.close()
            return _conclude(run, ending, trouble)


def _open_folder(plan: Plan, lab: Lab, clock: Clock, emit: Emit) -> Run:
    folder = RunFolder.create(lab.runs, plan.entry, clock.wall_ns())
    run_uuid = str(uuid.uuid4())
    began = {"entry": plan.entry, "device": plan.device, "runner_version": __version__, "agent_run_id": run_uuid}
    log = Journal.create(str(folder.coordinator_journal), "run_began", began)
    run = Run(plan, lab, folder, clock, emit, log, run_uuid)
    shutil.copytree(plan.pipeline_source, folder.pipelines, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))
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
            "run_token": run.token,
        },
    )
    report.write_in_progress(folder)
    return run


@contextlib.asynccontextmanager
async def _live_target(run: Run, adjust: Callable[[Target], None]) -> AsyncIterator[None]:
    """The device powered, its session open, its keeper's lease renewed; afterwards all of it undone, whatever happens."""

    def say(text: str) -> None:
        run.emit("say", text=text)

    request = Request(run.plan.device, run.plan.line, run.plan.type, state_root(), cache_root(), run.folder.witness, run.clock, say)
    run.target = target = await make_target(request)
    adjust(target)
    renewal: asyncio.Task[None] | None = None
    try:
        run.session = await target.bring_up(say)
        renewal = asyncio.ensure_future(_renew(target, run.clock))
        facts = await target.power.facts()
        run.note("power_on", facts=facts, loss=target.loss)
        run.emit("powered", facts=facts)
        run.note("hello", **run.session.hello)
        yield
    finally:
        if renewal:
            renewal.cancel()
        await _to_the_end(_unwind(run, target))


async def _renew(target: Target, clock: Clock) -> None:
    while True:
        with contextlib.suppress(LabError, OSError):  # a board that is being cut is renewed the next time round
            await target.power.renew(LEASE_S)
        await clock.sleep(LEASE_S / 6)


async def _to_the_end(unwinding: Coroutine[Any, Any, None]) -> None:
    """Waits for `unwinding` through any number of cancellations: a second ^C does not leave a board powered."""
    task = asyncio.ensure_future(unwinding)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


async def _unwind(run: Run, target: Target) -> None:
    """Everything off, in order. Each step is tried whatever became of the one before, and none hides the first failure.

    A run's folder on the device is forgotten only when every journal in it was mirrored to its end.
    """

    async def leave() -> None:
        if run.session is None:
            return
        with contextlib.suppress(RunnerError):  # the session may have ended with what ended the run
            await run.session.ask("abandon", reason="the run is over", timeout_s=10)
            if run.endings and all(ending in ENDS for ending in run.endings) and run.completed:
                await run.session.ask("forget", run=run.token, timeout_s=10)
            else:
                run.note("kept_on_device", run=run.token)
        await run.session.close()

    async def collect() -> None:
        collect_evidence(run)

    async def seal() -> None:
        run.note("sealed", files=seals(run.folder))

    for step in (leave, collect, target.shut_down, collect, seal):
        try:
            await step()
        except Exception as error:
            run.emit("say", text=f"unwinding: {error}")
            with contextlib.suppress(LabError):
                run.note("unwind_failed", step=step.__name__, error=f"{type(error).__name__}: {error}")


def collect_evidence(run: Run) -> None:
    """Copies what others wrote about this run (witness, console, disk requests) into its folder."""
    assert run.target
    lines = run.target.home.witness.lines()
    if Path(run.target.home.witness.path_on_device) != run.folder.witness:
        run.folder.witness.write_bytes(lines)
    for name, file in run.target.power.evidence().items():
        (run.folder.journals / name).write_bytes(file.new_bytes())


async def _make_safe(run: Run) -> None:
    """Ends what a killed run left going on the device. Its journal stays there."""
    assert run.session
    left = run.session.hello.get("execution")
    if left and not left["ended"]:
        await run.session.ask("abandon", reason=f"superseded by {run.token}")
        run.note("made_safe", abandoned=left)
        run.emit("say", text=f"ended what {left['run']} had left running")


async def _push(run: Run) -> None:
    """Supervisor's needs by hash: pipelines and the wheels for this device. A second run sends nothing."""
    assert run.session and run.lab
    hello = run.session.hello
    wheels = await asyncio.to_thread(fetch_wheels, run.plan.stageflow, hello, cache_root(), lambda text: run.emit("say", text=text))
    run.bundle = bundle = make_bundle(run.folder.pipelines, run.plan.pipeline_folder, wheels)
    sent = await run.session.push(bundle.blobs)
    if sent:
        run.emit("say", text=f"pushed {sent / 1e6:.1f} MB")
    await unpack(run)
    run.note("pushed", bytes=sent, pipeline=bundle.pipeline_blob, environment=bundle.environment_tree)


async def unpack(run: Run) -> None:
    """The pipeline and its environment, ready to run on the device; each is checked there, and made anew where it is damaged."""
    assert run.session and run.bundle
    bundle = run.bundle
    await run.session.ask("unpack", tree=bundle.pipeline_tree, blobs=[bundle.pipeline_blob], compile=True)
    await run.session.ask("unpack", tree=bundle.environment_tree, blobs=list(bundle.environment_blobs), compile=True, timeout_s=600)


async def _environment(run: Run) -> None:
    """environment.json: what the device is, and how fast the same work runs there and here."""
    from runner.ondevice import facts

    assert run.session and run.target and run.bundle
    hello = run.session.hello
    there = (await run.session.ask("benchmark", timeout_s=300))["duration_s"]
    here = (await asyncio.to_thread(facts.benchmark))["duration_s"]
    run.note("benchmark", device_s=there, coordinator_s=here, slowdown=round(there / here, 2))
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


async def _executions(run: Run) -> None:
    """The planned executions in order, then extra ones for cuts that hit nothing, within reason."""
    for execution in run.plan.executions:
        if await run_execution(run, execution) in HOPELESS:
            return
        if any(cut.tamper for cut in execution.cuts):
            await unpack(run)
    for attempt in range(1, MAX_EXTRA_ROUNDS + 1):
        collect_evidence(run)
        evidence = load_evidence(run.folder)
        missing = missing_cuts(run.plan, evidence.counted_by_scenario)
        if not missing or evidence.stopped:
            return
        run.emit("say", text=f"vacuous or missed: {sum(missing.values())} of {run.plan.cuts_asked} cuts; making up for them")
        for execution in more_cuts(run.plan, missing, attempt):
            if await run_execution(run, execution) in HOPELESS:
                return


def _conclude(run: Run, ending: str, trouble: RunnerError | None) -> Conclusion:
    conclusion = conclude(run.folder, iso(run.clock.wall_ns()))
    report.write(run.folder, conclusion)
    try:
        refresh_aggregate(run.lab.runs, conclusion.generated_at)
    except RunnerError as error:  # the run's own folder says all there is to say of it
        run.emit("say", text=f"runs/aggregated_findings.json was not made again: {error}")
    if trouble is not None:
        conclusion.trouble = trouble
    run.emit("concluded", conclusion=conclusion, row=TABLE[conclusion.row])
    return conclusion
