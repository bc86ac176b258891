"""One table of every metric: what kind of number it is, its unit, and what it means. Nobody else says so.

    counter   only grows, from zero, since a beginning     drawn as its rate; exported as a monotonic sum
    level     goes up and down, and may be added up        memory in use; OpenTelemetry calls it an updowncounter
    gauge     is what it is; a sum of two means nothing     a temperature

Names, units (UCUM) and kinds are those of OpenTelemetry's semantic conventions; what has no convention is named
`stageflow_runner.…`. A series is a metric with the attributes that tell it from another: `system.disk.io{disk.io.direction=write}`.
The sampler on the device writes the same names and imports nothing of ours, so a test holds the two together. A device may
send names of its own: those are told by their endings.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Metric(NamedTuple):
    kind: Literal["counter", "level", "gauge"]
    unit: str
    description: str
    since: Literal["boot", "process"] = "boot"  # where a counter begins at zero


METRICS: dict[str, Metric] = {
    "system.cpu.time": Metric("counter", "s", "Seconds that all CPUs together spent busy or idle"),
    "system.memory.usage": Metric("level", "By", "Memory in use: total less available"),
    "system.memory.linux.available": Metric("level", "By", "Memory that a new process could have without swapping"),
    "system.disk.io": Metric("counter", "By", "Bytes read from or written to all disks"),
    "system.network.io": Metric("counter", "By", "Bytes received or sent over all links but loopback"),
    "system.network.packet.dropped": Metric("counter", "{packet}", "Packets that were dropped, in both directions"),
    "system.filesystem.usage": Metric("level", "By", "Space in use on the file system that holds the run's data"),
    "hw.temperature": Metric("gauge", "Cel", "Temperature of a sensor"),
    "process.cpu.time": Metric("counter", "s", "CPU seconds of the supervisor itself: what watching costs", "process"),
    "process.memory.usage": Metric("level", "By", "The most memory that the supervisor itself ever held"),
    "stageflow_runner.restart.duration": Metric("gauge", "s", "How long a restart took after a cut, by each of the three clocks"),
    "stageflow_runner.cut.writes_lost": Metric("gauge", "{write}", "Accepted disk writes that a cut cost"),
    "stageflow_runner.cut.records_lost": Metric("gauge", "{record}", "Journal records that were written before a cut and gone after it"),
    "stageflow_runner.link.rtt": Metric("gauge", "s", "Round trip of a light packet over the data link, as the device measured it"),
    "stageflow_runner.link.loss": Metric("gauge", "1", "Share of the light packets that did not come to the far end"),
    "stageflow_runner.link.fault": Metric("gauge", "1", "Whether a fault of the data link is on, by the guard's journal"),
    "stageflow_runner.link.receipts": Metric("gauge", "{receipt}", "What had come to a service of the far end"),
    "stageflow_runner.telemetry.left_out": Metric("gauge", "{series}", "Series that were sampled and are not exported"),
}
_UNKNOWN = {  # by the last word of a name that is not in the table
    "time": Metric("counter", "s", ""),
    "io": Metric("counter", "By", ""),
    **dict.fromkeys(("count", "dropped", "errors", "operations", "packets", "faults"), Metric("counter", "", "")),
    **dict.fromkeys(("usage", "available"), Metric("level", "By", "")),
}


def metric_of(series: str) -> Metric:
    """What a series measures; of a name that nobody knows, what its ending says."""
    name = series.partition("{")[0]
    return METRICS.get(name) or _UNKNOWN.get(name.rpartition(".")[2], Metric("gauge", "", ""))


def is_counter(series: str) -> bool:
    return metric_of(series).kind == "counter"


def split(series: str) -> tuple[str, dict[str, str]]:
    """A series as its metric's name and its attributes; what is no attribute is left out."""
    name, _, rest = series.partition("{")
    pairs = (pair.partition("=") for pair in rest.rstrip("}").split(",")) if rest else ()
    return name, {key: value for key, _, value in pairs if key and value}
