"""From a run folder to a conclusion: judge it, and make findings of what failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runner.errors import RunnerError
from runner.judgement.checks import clocks, host_waits
from runner.judgement.evidence import Evidence
from runner.judgement.findings import make_findings
from runner.judgement.judge import REACHED, CheckResult, run_checks, verdict
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder
from runner.model.finding import Finding
from runner.model.outcome import SEVERITIES, TABLE, Row


@dataclass
class Conclusion:
    """What is to be said about a run. Everything here is computed from its folder."""

    folder: RunFolder
    evidence: Evidence
    row: str
    reason: str
    results: list[CheckResult]
    findings: list[Finding]
    generated_at: str
    trouble: RunnerError | None = field(default=None, compare=False)

    @property
    def outcome(self) -> Row:
        return TABLE[self.row]

    @property
    def completed_at(self) -> str:
        """When the run ended; for one that was killed, when this was concluded."""
        return self.evidence.completed_at or self.generated_at

    @property
    def cuts(self) -> dict[str, int]:
        cuts = self.evidence.counting
        return {
            "asked": int(self.evidence.plan["cuts_asked"]),
            "made": len(cuts),
            "vacuous": sum(cut.vacuous for cut in cuts),
            "counted": sum(cut.counted for cut in cuts),
        }

    def as_json(self) -> dict[str, Any]:
        """The last word of `exec --json`."""
        counts = {severity: sum(f.severity == severity for f in self.findings) for severity in SEVERITIES}
        return {
            "run_id": self.folder.run_id,
            "run_dir": str(self.folder.root),
            "entry": self.evidence.plan["entry"],
            "device": self.evidence.plan["device"],
            "status": self.outcome.status,
            "verdict": self.outcome.verdict,
            "reason": self.reason,
            "findings": counts,
            "cuts": self.cuts,
            "exit_code": self.outcome.exit_code,
        }


def conclude(folder: RunFolder, generated_at: str) -> Conclusion:
    """Judges a run folder; needs nothing else. Raises AskError when the folder cannot be read."""
    evidence = load_evidence(folder)
    results = run_checks(folder, evidence)
    row, reason = verdict(folder, evidence, results)
    judged = [result for result in results if result.judge != REACHED] if TABLE[row].verdict else []
    findings = make_findings(evidence, judged, evidence.completed_at or generated_at, folder.pipelines / "reproductions")
    return Conclusion(folder, evidence, row, reason, results, findings, generated_at)


def profile_of(planned: dict[str, Any]) -> str:
    """The profiles of a scenario of the plan, as one word or a sum."""
    said = planned["profile"]
    return said if isinstance(said, str) else " + ".join(map(str, said))


def cut_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """Each cut as one row for tables and JSON: where, what it cost, the three clocks, and of two of them the host's wait."""
    return [
        {
            "hold": cut.hold,
            "stage": cut.stage or "-",
            "point": cut.point,
            "writes_lost": cut.writes_lost,
            "records_lost": cut.records_lost,
            "vacuous": cut.vacuous,
            "damage": cut.damage,
            "counted": evidence.counts(cut),
            **clocks(execution, cut)._asdict(),
            **{f"{clock.removesuffix('_s')}_host_wait_s": s for clock, s in host_waits(evidence, execution, cut)._asdict().items()},
        }
        for execution in evidence.executions
        for cut in execution.cuts
    ]
