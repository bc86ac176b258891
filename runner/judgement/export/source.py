"""Who measured: the run as OpenTelemetry's resource, and its seconds as nanoseconds of the coordinator's wall clock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runner.judgement.conclude import Conclusion
from runner.judgement.judge import one_line
from runner.judgement.timeline import Timeline

SCOPE = "stageflow-runner"
LONGEST = 200  # characters of a name or a value that a device chose
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm32", "armv6l": "arm32", "i686": "x86", "ppc64le": "ppc64"}


def short(text: Any) -> str:
    """A device's words as one line of bounded length."""
    return one_line(str(text)[:LONGEST])


@dataclass(frozen=True)
class Source:
    conclusion: Conclusion

    @cached_property
    def timeline(self) -> Timeline:
        return Timeline(self.conclusion.evidence)

    def wall_ns(self, at_s: float) -> int:
        """Seconds since the run began as nanoseconds since 1970: the wall clock is read once, when the run begins."""
        return max(0, self.conclusion.evidence.coordinator[0].wall_ns + round(at_s * 1e9))

    def wall_ms(self, at_s: float) -> int:
        return self.wall_ns(at_s) // 1_000_000

    @property
    def name(self) -> str:
        """This run among all runs: EDGE-002/run-2026-11-21-001."""
        return f"{short(self.conclusion.evidence.plan['entry'])}/{self.conclusion.folder.run_id}"

    @property
    def version(self) -> str:
        """Of the runner that made the run; "" of one that did not say."""
        return short((self.conclusion.evidence.note("run_began") or {}).get("runner_version", ""))

    @cached_property
    def resource(self) -> dict[str, str]:
        """The attributes that all telemetry of the run has in common; what is not known is left out."""
        evidence = self.conclusion.evidence
        hello = evidence.note("hello") or {}
        machine = short(hello.get("machine", ""))
        known = {
            "service.name": SCOPE,
            "service.version": self.version,
            "service.instance.id": self.name,
            "device.id": short(evidence.plan["device"]),
            "host.arch": _ARCHITECTURES.get(machine, machine),
            "os.type": short(hello.get("platform", "")),
            "stageflow.version": short(evidence.config["stageflow_version"]),
            "stageflow_runner.entry.id": short(evidence.plan["entry"]),
            "stageflow_runner.run.id": self.conclusion.folder.run_id,
        }
        return {key: value for key, value in known.items() if value}
