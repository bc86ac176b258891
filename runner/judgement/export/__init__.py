"""A conclusion for other programs. Each module here is one format, by a pure function: conclusion → the file, piece by piece.

    otlp         OTLP/JSON, a message per line: the run as a trace, telemetry as metrics, findings as logs
    openmetrics  text that Prometheus backfills from
    parquet      every reading as a row, for notebooks and DuckDB; needs the extra of that name
    ctrf         the checks as a Common Test Report

A file is given in pieces because telemetry of days does not fit into memory as text. Two exports of one folder are equal byte
for byte. A device wrote most of what is in them: names are cleaned and bounded, what is no finite number is left out, and a
gap is a gap. Times are the coordinator's wall clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.judgement.conclude import Conclusion

FORMATS = {  # imported when, and only when, it is asked for
    "otlp": "runner.judgement.export.otlp",
    "openmetrics": "runner.judgement.export.openmetrics",
    "parquet": "runner.judgement.export.parquet",
    "ctrf": "runner.judgement.export.ctrf",
}
TEXT = {"otlp", "openmetrics", "ctrf"}  # what may be shown on a terminal


def export(conclusion: Conclusion, form: str) -> Iterator[bytes]:
    """The whole file in pieces; `form` is one of FORMATS. Raises AskError, before any piece, when an extra is missing."""
    pieces: Iterator[bytes] = import_module(FORMATS[form]).pieces(conclusion)
    return pieces
