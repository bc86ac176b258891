"""Apache Parquet: every reading as one row, sorted by metric, attributes, execution and time; what the run is in the metadata.

SELECT execution, max(value) FROM 'run.parquet' WHERE metric = 'system.memory.usage' GROUP BY execution
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import islice
from typing import Any

from runner.errors import AskError
from runner.judgement.conclude import Conclusion
from runner.judgement.export.points import EXECUTION, Stream, streams_of
from runner.judgement.export.source import Source

ROWS = 50_000  # of one row group
INSTALL = "in a checkout of runner: pip install '.[parquet]'"


def pieces(conclusion: Conclusion) -> Iterator[bytes]:
    """Raises AskError when pyarrow is not installed, before anything is written."""
    try:
        arrow: Any = import_module("pyarrow")
        import_module("pyarrow.parquet")
    except ImportError as error:
        raise AskError("--format parquet needs pyarrow, which is not installed", expected="the extra `parquet`", do=INSTALL) from error
    return _pieces(conclusion, arrow)


def _pieces(conclusion: Conclusion, arrow: Any) -> Iterator[bytes]:
    source = Source(conclusion)
    moment, word = arrow.timestamp("us", tz="UTC"), arrow.dictionary(arrow.int32(), arrow.string())
    words = [(name, word) for name in ("entry", "run_id", "device", "execution", "metric", "kind", "unit")]
    rest = [
        ("attributes", arrow.map_(arrow.string(), arrow.string())),
        ("start_time", moment),
        ("time", moment),
        ("value", arrow.float64()),
    ]
    schema = arrow.schema([*words, *rest], metadata={"resource": json.dumps(source.resource, ensure_ascii=False)})
    rows, sink = _rows(streams_of(conclusion), source), _Sink()
    with arrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        while taken := list(islice(rows, ROWS)):
            columns = zip(*taken, strict=True)
            arrays = [arrow.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            yield sink.taken()
    yield sink.taken()


def _rows(streams: Iterable[Stream], source: Source) -> Iterator[tuple[Any, ...]]:
    """In the order of the schema. Only what counts has a start."""
    run = [source.resource[key] for key in ("stageflow_runner.entry.id", "stageflow_runner.run.id", "device.id")]
    for stream in streams:
        attributes = [(key, value) for key, value in stream.attributes.items() if key != EXECUTION]
        about = (*run, stream.attributes.get(EXECUTION), stream.metric_name, stream.metric.kind, stream.metric.unit, attributes)
        for point in stream.points():
            start_us = point.start_ns // 1000 if stream.metric.kind == "counter" else None
            yield *about, start_us, point.at_ns // 1000, point.value


class _Sink(io.RawIOBase):
    """A file that only grows; what was written can be taken away meanwhile."""

    def __init__(self) -> None:
        self._written, self._at = bytearray(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        self._at += len(memoryview(data).cast("B"))
        return len(memoryview(data).cast("B"))

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken
