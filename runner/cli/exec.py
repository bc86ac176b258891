"""`runner exec`: plan, carry out, and say in a few lines what survived. `run resume` shares all but the plan."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.output import Output, plain
from runner.lab.folder import RunFolder
from runner.lab.where import Lab
from runner.model.finding import Finding
from runner.model.outcome import SEVERITIES
from runner.model.plan import ExecutionPlan, Plan
from runner.story.plan import Asked, make_plan

if TYPE_CHECKING:
    from runner.judgement.conclude import Conclusion

LOSS_WORDS = {"process_crash": ("process crash, not a power cut", "crash", "crashes"), "power_loss": ("real power loss", "cut", "cuts")}

ONE_REQUEST_S = 0.5  # `timeout` and some CI systems send a signal twice within a moment: that is one request
WAITS = {  # step → what is waited for while it lasts
    "open": "{device} to answer",
    "make_safe": "what earlier runs have left on {device}",
    "prove": "the proof that the disk of {device} loses what was not flushed",
    "push": "the pipeline and its packages to be copied to {device}",
    "environment": "the benchmark on {device}",
    "impose": "the faults of {device} to be on, and proven",
    "start": "the pipeline to begin on {device}",
    "hold": "the pipeline on {device} to come to its next cut, if there is one, or to its end",
    "recover": "{device} to come back after the cut",
    "drain": "the log of the pipeline",
    "lift": "{device} to be as it was before its faults",
    "unwind": "everything on {device} to be undone",
    "judge": "the run to be judged",
    "report": "the run's report to be written",
}
HOLDING = ("judge", "report")  # the event loop: no timer ticks while they last


@click.command("exec")
@click.argument("entry")
@click.option("--device", default="local", show_default=True, help="A device of the inventory.")
@click.option("--scenario", "scenarios", multiple=True, help="Only this scenario (and the baseline); may be repeated.")
@click.option(
    "--profile", "profiles", multiple=True, help="Hold this profile over every scenario but the baseline; may be repeated: they compose."
)
@click.option("--cuts", type=int, help="How many counted cuts to make (default: the entry's).")
@click.option("--seed", type=int, default=1, show_default=True, help="Chooses where the cuts fall.")
@click.option("--quick", is_flag=True, help="As few cuts as the entry calls quick.")
@click.option("--stageflow", metavar="VERSION", help="The Stageflow release to test (default: the entry's).")
@click.option("--fail-on", type=click.Choice(SEVERITIES), help="Exit with 1 for any finding at least so severe, observed ones included.")
@click.option("--no-wait", is_flag=True, help="Where somebody else holds the device: say who, and do not wait for it.")
@click.option(
    "--detach", is_flag=True, help="Leave the run to a process of its own as soon as its folder is there: see `runner run attach`."
)
@click.option("--dry-run", is_flag=True, help="Print the plan; nothing moves.")
@click.pass_obj
def exec_(output: Output, /, dry_run: bool, no_wait: bool, detach: bool, **words: Any) -> int:
    """Run ENTRY of the roadmap on a device, for example: runner exec EDGE-002 --device qemu-pi"""
    lab = output.lab()
    plan = make_plan(Asked(**words), lab)
    used = [f"devices/{plan.line.type}.yaml", f"pipelines/{plan.pipeline_folder}/entry.yaml"]
    for relative in (*used, *sorted(f"profiles/{name}.yaml" for name in plan.profiles)):
        if lab.overrides(relative):
            output.say(f"using this lab's own {relative}")
    if dry_run:
        return output.result({"plan": plan.model_dump(mode="json")}, plan_text(plan))
    output.say(f"{plan.device}: {LOSS_WORDS[plan.type.loss][0]}")
    if detach:
        from runner.cli.under_way import leave_it_to_another

        return leave_it_to_another(output, lab)

    def story(progress: Progress) -> Coroutine[Any, Any, Conclusion]:
        from runner.story.execute import execute

        return execute(plan, lab, progress, wait=not no_wait)

    return asyncio.run(carry_out(output, lab, plan, story))


async def carry_out(output: Output, lab: Lab, plan: Plan, story: Callable[[Progress], Coroutine[Any, Any, Conclusion]]) -> int:
    """Follows a run to its conclusion, and says it. Asked once to end it unwinds in order; asked twice it stops at once."""
    from runner.cli.github import announce

    progress = Progress(output, plan)
    task = asyncio.ensure_future(story(progress))
    asked_s = 0.0
    loop = asyncio.get_running_loop()

    def end() -> None:
        nonlocal asked_s
        if asked_s and loop.time() - asked_s < ONE_REQUEST_S:
            return
        if asked_s:
            progress.tell("stopped at once: what was not unwound yet is unwound by the next run on this device")
            progress.tell(f"next: {_resume(progress.run or 'RUN')}")
            os._exit(130)
        asked_s = loop.time()
        progress.tell("interrupted: " + ("unwinding in order; once more stops at once" if progress.run else "nothing had begun"))
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end)
    try:
        conclusion = await task
    except asyncio.CancelledError:  # before there was a run: it waited for the device
        raise KeyboardInterrupt from None
    finally:
        output.wait()
    code = exit_code(conclusion.outcome.exit_code, [finding.severity for finding in conclusion.findings], plan.fail_on)
    value: dict[str, Any] = {**conclusion.as_json(), "exit_code": code}
    if conclusion.trouble is not None and code not in (0, 1):
        first = conclusion.trouble.complaints[0]
        where = first.where or str(conclusion.folder.root)
        value["error"] = {"kind": conclusion.row, "found": first.found, "expected": first.expected, "where": where, "do": first.do}
    said = str(conclusion.trouble) if conclusion.trouble is not None else conclusion.reason
    lines = [(conclusion.outcome.verdict or conclusion.outcome.status or "").replace("_", " ").upper() + f" · {said}"]
    lines += [f"  {finding.severity}: {finding.title}: {_first(finding)}" for finding in conclusion.findings]
    lines.append(lab.shown(conclusion.folder.final_report).removeprefix("./"))
    if not conclusion.evidence.over:
        lines.append(f"next: {_resume(progress.run)}")
    elif plan.type.loss == "process_crash":
        lines.append("next: runner doctor   (what a real power cut needs)")
    announce(conclusion, os.environ, output.say)
    progress.keep("\n".join(lines))
    return output.result(value, "\n".join(lines), code)


def _resume(run: str) -> str:
    return f"runner run resume {run}   (first of all on this device: any other run there ends this one, as blocked)"


def _first(finding: Finding) -> str:
    """The first of what was found, and how much more there is."""
    first, *more = finding.description.partition("Found: ")[2].split("; ")
    left_out = re.search(r" \(and (\d+) more\)", finding.description)
    count = len(more) + (int(left_out[1]) if left_out else 0)
    return f"{first} (+{count})" if count else first


def exit_code(code: int, severities: Iterable[str], fail_on: str | None) -> int:
    """The table's exit status, tightened: a run that passed exits with 1 for a finding at least as severe as `fail_on`."""
    severe = SEVERITIES[: SEVERITIES.index(fail_on) + 1] if fail_on else ()
    return 1 if code == 0 and set(severities) & set(severe) else code


class Progress:
    """Turns the story's events into lines."""

    def __init__(self, output: Output, plan: Plan) -> None:
        self._output, self._plan = output, plan
        self._width = max(12, *(len(execution.name) for execution in plan.executions))
        self._made = 0  # cuts of the execution under way
        self._log: Path | None = None
        self.run = ""  # as `runner run …` knows it, once there is a folder

    def __call__(self, event: str, **facts: Any) -> None:
        getattr(self, f"_{event}", lambda **_: None)(**facts)

    def tell(self, text: str) -> None:
        """A line for whoever sits here, and one for whoever attaches later."""
        self._output.say(text)
        self.keep(text)

    def keep(self, text: str) -> None:
        """A line for whoever attaches alone."""
        if self._log is not None:
            with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as file:  # a full disk is told of by the story
                file.write(plain(text) + "\n")

    def _folder(self, path: Path) -> None:
        self.run = f"{path.parent.name}/{path.name}"
        self._log = RunFolder(path).progress

    def _step(self, name: str) -> None:
        if name in WAITS:
            limit_s = self._plan.type.boot_limit_s if name == "recover" else None  # `open` may also install, and has more limits than one
            self._output.wait(WAITS[name].format(device=self._plan.device), limit_s, at_once=name in HOLDING)

    def _say(self, text: str) -> None:
        self.tell(f"  {text}")

    def _execution_ended(self, execution: ExecutionPlan, ending: str, duration_s: float, earlier: int) -> None:
        """`earlier` cuts were made by coordinators before this one, whose time is not known here."""
        made, self._made = self._made + earlier, 0
        cuts = f"   {made} {LOSS_WORDS[self._plan.type.loss][1 if made == 1 else 2]}" if execution.cuts else ""
        cuts += f", {earlier} of them before" if earlier else ""
        how = "ok" if ending == "finished" else ending
        self.tell(f"{execution.name:<{self._width}} {len(execution.stages)} stages   {duration_s:5.1f} s{cuts}   {how}")

    def _powered(self, facts: dict[str, Any]) -> None:
        if "accelerator" in facts:
            self.tell(f"  accelerator: {facts['accelerator']} ({facts.get('accelerator_reason', '')})")

    def _disk_proof(self, found: dict[str, Any]) -> None:
        self.tell(f"disk proof   flushed block: {found['flushed']}, unflushed block: {found['unflushed']}, cache: {found['write_cache']}")

    def _cut(self, execution: ExecutionPlan, cut: Any, facts: dict[str, Any]) -> None:
        self._made += 1
        lost = (facts.get("writes_lost") or {}).get("count")
        said = "" if lost is None else ", 1 unflushed disk write lost" if lost == 1 else f", {lost} unflushed disk writes lost"
        point = "random" if cut.fraction is not None else cut.point
        self.tell(f"  {LOSS_WORDS[self._plan.type.loss][1]} at {cut.stage or 'the journal'}, {point}{said}")

    def _damaged(self, damage: str) -> None:
        self._say(f"{damage.replace('_', ' ')} while the power was off")

    def _refused(self, by: str, reason: str) -> None:
        self._say(f"refused by the {by}: {reason}")

    def _concluded(self, conclusion: Any, row: Any) -> None:
        from runner.judgement.checks import running_again_limit
        from runner.judgement.conclude import cut_rows

        if not conclusion.results:  # nothing was judged
            return
        binding = {cut.hold for cut in conclusion.evidence.counting}
        rows = [row for row in cut_rows(conclusion.evidence) if row["hold"] in binding]
        keys = ("restored", "running_again")
        times, again = ([each for row in rows if (each := judged_s(row, key)) is not None] for key in keys)
        if times:
            limit = conclusion.evidence.plan["limits"]["restored_s"]
            repeated = sum(len(r.problems) for r in conclusion.results if (r.check, r.judge) == ("nothing_repeated", "must_hold"))
            text = f"{repeated} repeated, restored in {max(times):.1f} s (limit {limit:g})"
            if again:
                text += f", running again in {max(again):.1f} s (limit {running_again_limit(conclusion.evidence):g})"
            waited = max((row[f"{key}_host_wait_s"] or 0.0 for row in rows for key in keys), default=0.0)
            self.tell(text + (f"; beside that the host kept the device waiting, for {waited:.1f} s at most" if waited > 1 else ""))


def judged_s(row: dict[str, Any], key: str) -> float | None:
    """What of a restart is held to its limit: not what a shared host kept the device waiting for."""
    took_s: float | None = row[f"{key}_s"]
    return None if took_s is None else max(0.0, took_s - (row[f"{key}_host_wait_s"] or 0.0))


def plan_text(plan: Plan) -> str:
    """The plan as a person reads it."""
    lines = [
        f"{plan.entry} {plan.title} on {plan.device} ({plan.type.title})",
        f"Stageflow {plan.stageflow} · seed {plan.seed} · {plan.cuts_asked} cuts asked, bar {plan.cuts.bar}",
    ]
    for execution in plan.executions:
        lines.append(f"{execution.name}: {execution.module}, {execution.durability}, {' → '.join(execution.stages)}")
        for cut in execution.cuts:
            at = f"random, {cut.fraction:.0%} into the body" if cut.fraction is not None else cut.point
            at += f", then {cut.tamper.damage.replace('_', ' ')} while the power is off" if cut.tamper else ""
            lines.append(f"  {cut.hold}: {cut.stage or 'the journal'}, {at}")
    for name, scenario in plan.scenarios.items():
        lines.append(f"{name} ({scenario.judge.replace('_', ' ')}): " + ", ".join(use.check for use in scenario.checks))
    return "\n".join(lines)
