"""results/metrics/: what was measured, as JSON."""

from __future__ import annotations

from typing import Any

from runner.judgement.conclude import Conclusion, cut_rows
from runner.judgement.evidence import Evidence
from runner.lab.folder import json_text


def files(conclusion: Conclusion) -> dict[str, str]:
    evidence = conclusion.evidence
    found = {"cuts": cut_rows(evidence), "latency": _latency(evidence), "resource_usage": _resources(evidence)}
    return {f"results/metrics/{name}.json": json_text(value) for name, value in found.items()}


def _latency(evidence: Evidence) -> dict[str, dict[str, float]]:
    """Each stage's duration in seconds in each execution, as the device measured it."""
    return {
        execution.name: {r.payload["stage"]: round(r.payload["duration_ns"] / 1e9, 4) for r in execution.of_kind("stage_finished")}
        for execution in evidence.executions
    }


def _resources(evidence: Evidence) -> dict[str, Any]:
    """The last sample of each execution; every sample is in its journal."""
    return {
        execution.name: {"samples": len(samples), "last": samples[-1].payload["metrics"]}
        for execution in evidence.executions
        if (samples := execution.of_kind("sample"))
    }
