"""A run folder made of seconds and words, for what no real run does on demand: hostile names, gaps, days of telemetry.

    run = MadeRun(tmp_path)
    run.begin("recovery-1")
    run.device(2.0, "recovery-1", "stage_started", stage="ingest")
    run.cut(3.0, "recovery-1", "ingest", back_s=3.5)
    run.conclusion()

Journals are really written, and read again by `load_evidence`. Every cut is a power loss and gives a new boot, whose
clock begins at zero; the supervisor starts SUPERVISOR_S into it and has restored the state RESTORED_S into it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runner.judgement.conclude import Conclusion
from runner.judgement.judge import CheckResult
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder, write_json
from runner.model.finding import Finding
from runner.ondevice import journal

SUPERVISOR_S, RESTORED_S = 1.0, 1.5
TOKEN = "EDGE-002.made"
GENERATED_AT = "2026-01-31T12:00:00.000Z"


class MadeRun:
    def __init__(self, root: Path) -> None:
        self.folder = RunFolder(root / "EDGE-002" / "run-2026-01-31-001")
        self.journals: dict[str, list[bytes]] = {"coordinator": []}
        self.witnessed: list[dict[str, Any]] = []
        self.lives: dict[str, int] = {}
        self.boot_s: list[float] = []  # when each boot's clock stood at zero
        self.holds = 0
        self.environment: Any = {"python_version": "3.11.2", "dependencies": {"stageflow-core": "1.2.0"}}
        self.plan: dict[str, Any] = {
            "entry": "EDGE-002",
            "device": "qemu-pi",
            "seed": 1,
            "stageflow": "1.2.0",
            "command": "runner exec EDGE-002 --device qemu-pi --seed 1",
            "type": {"title": "a board", "loss": "power_loss", "emulation": {"machine": "virt"}, "boot_limit_s": 120.0},
            "cuts": {"bar": 50},
            "cuts_asked": 3,
            "limits": {"restored_s": 5.0, "running_again_s": 5.0},
            "executions": [],
            "scenarios": {
                "recovery": {"pipeline": "recovery", "profile": "power-cuts", "durability": "journaled", "judge": "must_hold", "checks": []}
            },
        }
        self.note(0.0, "run_began")

    # ---- the coordinator --------------------------------------------------------------------------------------

    def note(self, at_s: float, kind: str, /, **payload: Any) -> None:
        self._write("coordinator", "0" * 32, 1000.0 + at_s, kind, payload)

    def begin(self, execution: str, at_s: float = 1.0, scenario: str = "recovery", durability: str = "journaled") -> None:
        """The first one finds the board just switched on."""
        if not self.boot_s:
            self.note(at_s, "power_on", facts={})
            self._boot(at_s, "hello")
        self.note(at_s, "execution_began", execution=execution, scenario=scenario)
        self.lives[execution] = 0
        self.device(at_s, execution, "began", stages=[], holds=[], durability=durability)

    def cut(self, at_s: float, execution: str, stage: str, *, back_s: float, replay: tuple[str, ...] = (), host_wait_s: float = 0.1) -> str:
        """A cut at `at_s`, the power on again at `back_s`, and the state restored. Returns its hold."""
        self.holds += 1
        hold = f"{execution}/{self.holds}"
        facts = {"writes_lost": {"count": 2, "bytes": 8192}}
        written, lines = len(self.journals[execution]), len(self.witnessed)
        words = {"execution": execution, "hold": hold, "stage": stage, "point": "random", "loss": "power_loss"}
        self.note(at_s, "cut", **words, written=written, witness_lines=lines, facts=facts)
        recovered = {"board_boot_s": SUPERVISOR_S, "host_wait_s": host_wait_s, "supervisor_started_ns": int(SUPERVISOR_S * 1e9)}
        on_ns = int((1000 + back_s) * 1e9)
        self._boot(back_s, "recovered", execution=execution, hold=hold, power_on_boottime_ns=on_ns, **recovered)
        self._restored(back_s, execution, replay)
        return hold

    def restart(self, at_s: float, execution: str) -> None:
        """The device lost its power and has it again at `at_s`, and the coordinator notes nothing of it."""
        self.boot_s.append(at_s)
        self._restored(at_s, execution, ())

    def cut_and_its_supervisor_killed(
        self, at_s: float, execution: str, *, back_s: float, again_s: float, lost: int = 0, wrote: str = "", noted: str = "reattached"
    ) -> None:
        """The supervisor answers behind the cut, and dies before it has restored anything; another one starts `again_s` later, and has.

        So many records were `lost` in the cut; the first one `wrote` a record of that kind; the other was `noted` in that way.
        """
        self.cut(at_s, execution, "train", back_s=back_s)
        del self.journals[execution][-2 - lost :]  # what the first one would have written, and what was lost
        if wrote:
            self.device(back_s + RESTORED_S, execution, wrote, hold="", metrics={})
        started = {"supervisor_started_ns": int((SUPERVISOR_S + again_s) * 1e9)}
        words = {"execution": execution, "mirrored": 0, "written": 0} if noted == "returned" else {}
        self.note(back_s + again_s, noted, boot_id=self.boot_id, error="the link broke", silence_s=0.1, **started, **words)
        self.lives[execution] -= 1
        self._restored(back_s, execution, (), again_s)

    def _restored(self, back_s: float, execution: str, replay: tuple[str, ...], later_s: float = 0.0) -> None:
        self.lives[execution] += 1
        written = len(self.journals[execution])
        restored = {"through_sequence": written, "records_found": written, "chain": "", "state_sha256": "", "rejected": {}}
        started = {"supervisor_started_ns": int((SUPERVISOR_S + later_s) * 1e9)}
        at_s = RESTORED_S + later_s
        self.device(back_s + at_s, execution, "restored", **restored, **started, replay=list(replay))
        self.device(back_s + at_s, execution, "resumed", restored_flushed_ns=int(at_s * 1e9))

    def end(self, at_s: float, execution: str | None = None) -> None:
        """Of one execution; without a name, of the run."""
        if execution:
            self.note(at_s, "execution_ended", execution=execution, ending="finished", mirrored=len(self.journals[execution]), chain="")
        else:
            self.note(at_s, "sealed", files={})
            self.note(at_s, "run_ended", ending="ran")

    def _boot(self, at_s: float, kind: str, **payload: Any) -> None:
        self.boot_s.append(at_s)
        now_ns = int((1000 + at_s) * 1e9)
        clocks = {"boot_id": self.boot_id, "boottime_ns": 0, "asked_boottime_ns": now_ns, "answered_boottime_ns": now_ns}
        self.note(at_s, kind, **{"supervisor_started_ns": 0, **payload, **clocks})

    # ---- the device, in its latest boot -----------------------------------------------------------------------

    @property
    def boot_id(self) -> str:
        return f"{len(self.boot_s):032x}"

    def device(self, at_s: float, execution: str, kind: str, **payload: Any) -> None:
        self._write(execution, self.boot_id, at_s - self.boot_s[-1], kind, payload)

    def sample(self, at_s: float, execution: str, metrics: dict[str, Any]) -> None:
        self.device(at_s, execution, "sample", metrics=metrics)

    def stage(self, execution: str, stage: str, from_s: float, to_s: float | None) -> None:
        """A body that the witness saw, and that the journal has; None: it has no end."""
        self.witness(from_s, execution, stage)
        self.device(from_s, execution, "stage_started", stage=stage)
        if to_s is not None:
            took = {"duration_ns": int((to_s - from_s) * 1e9)}
            self.device(to_s, execution, "stage_finished", stage=stage, status="ok", data={}, files={}, **took)

    def witness(self, at_s: float, execution: str, stage: str) -> None:
        words = {"run": TOKEN, "execution": execution, "stage": stage, "life": self.lives[execution], "boot": self.boot_id}
        self.witnessed.append({**words, "boottime_ns": int((at_s - self.boot_s[-1]) * 1e9)})

    def _write(self, name: str, boot: str, at_s: float, kind: str, payload: dict[str, Any]) -> None:
        records = self.journals.setdefault(name, [])
        records.append(journal.encode(len(records) + 1, boot, int(at_s * 1e9), 1_769_860_000_000_000_000, kind, payload).raw)

    # ---- the folder -------------------------------------------------------------------------------------------

    def conclusion(self, row: str = "all_held", reason: str = "every check held", **more: Any) -> Conclusion:
        """Written, read again, and concluded as the test wishes; `results` and `findings` are empty unless given."""
        self.folder.journals.mkdir(parents=True, exist_ok=True)
        self.folder.run_config.parent.mkdir(exist_ok=True)
        for name, records in self.journals.items():
            path = self.folder.coordinator_journal if name == "coordinator" else self.folder.device_journal(name)
            path.write_bytes(journal.FILE_HEADER + b"".join(records))
        self.folder.witness.write_text("".join(json.dumps(line) + "\n" for line in self.witnessed))
        words = {"roadmap_entry_id": "EDGE-002", "roadmap_entry_title": "Power failure recovery", "stageflow_version": "1.2.0"}
        about = {"agent_model": "stageflow-runner", "started_at": "2026-01-31T11:00:00.000Z", "run_token": TOKEN}
        about |= {"run_id": self.folder.run_id, "agent_run_id": "00000000-0000-4000-8000-000000000001"}
        write_json(self.folder.run_config, {**words, **about, "test_parameters": self.plan})
        write_json(self.folder.environment, self.environment)
        results: list[CheckResult] = more.get("results", [])
        findings: list[Finding] = more.get("findings", [])
        return Conclusion(self.folder, load_evidence(self.folder), row, reason, results, findings, GENERATED_AT)
