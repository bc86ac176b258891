"""OpenMetrics text with timestamps, as `promtool tsdb create-blocks-from openmetrics` reads it.

    system.disk.io, By  ─►  # TYPE system_disk_io_bytes counter
                            # UNIT system_disk_io_bytes bytes
                            system_disk_io_bytes_total{disk_io_direction="write",…} 4096.0 1769860002.000
                            system_disk_io_bytes_created{…} 1769859990.000 1769860002.000   once for each beginning

A metric's samples stand together, those of one set of labels in order of time. What would take the name of another family,
or the labels of another series, is left out; what the run is stands in `target_info`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from runner.judgement.conclude import Conclusion
from runner.judgement.export.points import Point, Stream, streams_of
from runner.judgement.export.source import SCOPE, Source

_UNITS = {"s": "seconds", "By": "bytes", "Cel": "celsius"}
_SUFFIXES = ("", "_total", "_created", "_info", "_bucket", "_count", "_sum")


def pieces(conclusion: Conclusion) -> Iterator[bytes]:
    source = Source(conclusion)
    own = {"job": SCOPE, "instance": source.name}
    yield b"# TYPE target info\n# HELP target The run that all of this was measured in\n"
    yield f"target_info{_labels(source.resource, own)} 1 {_seconds(source.wall_ns(0.0))}\n".encode()
    taken = _names("target")
    for name, streams in groupby(streams_of(conclusion), key=lambda stream: stream.metric_name):
        first, *more = streams
        family = _family(name, _UNITS.get(first.metric.unit, ""))
        if taken.isdisjoint(_names(family)):
            taken |= _names(family)
            yield from _of_family(family, [first, *more], own)
    yield b"# EOF\n"


def _of_family(family: str, streams: list[Stream], own: dict[str, str]) -> Iterator[bytes]:
    metric, unit = streams[0].metric, _UNITS.get(streams[0].metric.unit, "")
    head = f"# TYPE {family} {'counter' if metric.kind == 'counter' else 'gauge'}\n"
    head += f"# UNIT {family} {unit}\n" if unit else ""
    head += f"# HELP {family} {metric.description}\n" if metric.description else ""
    seen: set[str] = set()
    for stream in streams:
        labels = _labels(stream.attributes, own)
        if labels not in seen:
            seen.add(labels)
            lines = _counted(family, labels, stream.points()) if metric.kind == "counter" else _levels(family, labels, stream.points())
            for line in lines:
                yield (head + line).encode()
                head = ""


def _levels(family: str, labels: str, points: Iterator[Point]) -> Iterator[str]:
    last = ""
    for point in points:
        if (at := _seconds(point.at_ns)) != last:
            yield f"{family}{labels} {point.value!r} {at}\n"
        last = at


def _counted(family: str, labels: str, points: Iterator[Point]) -> Iterator[str]:
    last, start_ns = "", -1
    for point in points:
        if (at := _seconds(point.at_ns)) != last:
            yield f"{family}_total{labels} {point.value!r} {at}\n"
            if point.start_ns != start_ns:
                yield f"{family}_created{labels} {_seconds(point.start_ns)} {at}\n"
            start_ns = point.start_ns
        last = at


def _seconds(at_ns: int) -> str:
    """Milliseconds are all that Prometheus keeps."""
    return f"{at_ns // 10**9}.{at_ns // 10**6 % 1000:03}"


def _names(family: str) -> set[str]:
    """All that a family of this name might be mistaken for."""
    return {family + suffix for suffix in _SUFFIXES}


def _family(name: str, unit: str) -> str:
    """The metric's name as Prometheus allows it, without an ending that would make it another kind, and with its unit."""
    bare = re.sub(r"(_total|_created|_info|_bucket|_count|_sum)+$", "", _word(name)) or "metric"
    return f"{bare}_{unit}" if unit and not bare.endswith(f"_{unit}") else bare


def _word(text: str) -> str:
    word = re.sub(r"[^a-zA-Z0-9]+", "_", text).strip("_")
    return word if re.match("[a-zA-Z]", word) else f"x_{word}"


def _labels(attributes: dict[str, str], own: dict[str, str]) -> str:
    escaped = {_word(key): value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, value in attributes.items()}
    return "{" + ",".join(f'{key}="{value}"' for key, value in ({**escaped, **own}).items()) + "}"
