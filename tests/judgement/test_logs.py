"""results/logs/: what the pipelines printed, understood; an error that nobody heard of is named."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from runner.judgement.conclude import conclude
from runner.judgement.report import events, final_report, logs
from runner.judgement.report.logs import Log
from runner.lab.folder import RunFolder

PRINTED = """INFO:stageflow.pipeline:stage ingest started
2026-11-21 10:00:00,123 - stageflow.kernel - WARNING - slow disk, waited 12 ms
2026-11-21 10:00:01,123 - stageflow.kernel - WARNING - slow disk, waited 340 ms
2026-11-21T10:00:02Z [error    ] retry failed                   [edge.link] attempt=3
{"event": "upload refused", "level": "error", "logger": "edge.link", "timestamp": "2026-11-21T10:00:03Z"}
{"message": "fine", "severity": "INFO"}
ts=10:00 level=debug msg="nothing"
there was no ERROR found in 3 files
Traceback (most recent call last):
  File "/data/pipelines/stages/metering.py", line 41, in train
    return fit(rows)
           ^^^^^^^^^
  File "/data/pipelines/stages/metering.py", line 77, in fit
    raise ValueError("no rows")
ValueError: no rows

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/data/pipelines/stages/metering.py", line 90, in retry
    raise edge.errors.Gone("gone") from None
edge.errors.Gone: gone
OSError: [Errno 28] No space left on device
"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "run.py", line 3, in <module>
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "run.py", line 9, in body
    | TimeoutError: too slow
    +------------------------------------
"""


def log(text: str, ended: str = "finished") -> Log:
    return Log("recovery-1", ended, "results/logs/run_recovery-1_20261121_100000.log", len(text.encode()), text)


def test_levels_are_read_in_every_form() -> None:
    """Python's two, structlog's console, JSON lines and key=value; a word in a sentence is no level."""
    levels = {number: level for number, level, _, _ in log(PRINTED).entries if level}
    assert levels == {1: "info", 2: "warning", 3: "warning", 4: "error", 5: "error", 6: "info", 7: "debug"}
    assert log(PRINTED).errors[1] == (5, "error", "upload refused")


def test_tracebacks_are_grouped_by_exception_and_last_frame() -> None:
    """The frame that raised, not the one that called; chained exceptions are two; the same one twice is one group of two."""
    assert [(t.line, t.exception, t.message, t.last_frame) for t in log(PRINTED).tracebacks] == [
        (9, "ValueError", "no rows", "/data/pipelines/stages/metering.py:77 in fit"),
        (19, "edge.errors.Gone", "gone", "/data/pipelines/stages/metering.py:90 in retry"),
    ]
    assert [len(group) for group in log(PRINTED * 2).groups.values()] == [2, 2]


def test_tracebacks_are_found_inside_json_and_exception_groups() -> None:
    """Where a logger put them into one field, and where Python indented them."""
    inside = json.dumps(
        {"level": "error", "event": "failed", "exception": "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'x'"}
    )
    assert [(t.line, t.exception, t.last_frame) for t in log(f"one\n{inside}\n").tracebacks] == [(2, "KeyError", "a.py:1")]
    assert [(t.line, t.exception, t.last_frame) for t in log(GROUP).tracebacks] == [(5, "TimeoutError", "run.py:9 in body")]


def test_a_traceback_that_was_cut_off_is_no_traceback() -> None:
    """The power went in the middle of it: what was raised is not known, and not invented."""
    assert log('Traceback (most recent call last):\n  File "a.py", line 1, in x\n').tracebacks == []


def test_repetitions_are_collapsed_numbers_aside() -> None:
    """How often, where first, and that line as it stood."""
    assert log(PRINTED).repeated[0][:2] == (2, 2)
    assert log("tick 1\ntick 22\nonce\ntick 0x3f\n").repeated == [(3, 1, "tick 1")]


def test_suspicious_words_have_line_numbers() -> None:
    """Those of any editor, also where a line holds other line breaks."""
    found = log(PRINTED).suspicious
    assert found["disk full"] == [23]
    assert log("a\x0b\x1cb\u2028c\r\nOOM\r\n").suspicious == {"out of memory": [2]}
    assert log("all is well\n").suspicious == {}


@pytest.mark.parametrize(
    ("text", "ended", "silent"),
    [(PRINTED, "finished", True), (PRINTED, "failed", False), ("INFO:a:fine\n", "finished", False), ("", "finished", False)],
)
def test_a_silent_failure_is_an_error_in_a_log_of_what_finished(text: str, ended: str, silent: bool) -> None:
    """An execution that said that it had failed is not silent; one that printed nothing wrong has not failed."""
    assert log(text, ended).silent is silent


def test_a_hostile_log_is_read_in_no_time() -> None:
    """The largest that is read, in shapes that make careless expressions take for ever."""
    began = time.process_time()
    for line in ("a" * 4000, "-" * 4000, "| " * 2000, "1:" * 2000, " " * 4000, "0x" + "f" * 4000, "{" * 4000, "[" * 4000):
        hostile = log((line + "\n") * 60)
        assert (hostile.errors, hostile.tracebacks) == ([], [])
        assert len(hostile.suspicious) == 0
    assert time.process_time() - began < 5


def printed(run: RunFolder, text: bytes) -> Path:
    """Makes `text` the log of the first recovery."""
    (path,) = run.logs.glob("run_recovery-1_*.log")
    path.write_bytes(text)
    return path


@pytest.mark.real
def test_each_log_has_its_three_files(real_run: RunFolder) -> None:
    """Beside the evidence, named like it; figures agree; the report counts the same lines."""
    printed(real_run, PRINTED.encode())
    conclusion = conclude(real_run, "now")
    files = logs.files(conclusion)
    names = [f"results/logs/run_recovery-1_{kind}" for kind in ("analysis.md", "stats.json", "errors.json")]
    assert set(names) <= set(files)
    assert len(files) == 3 * len(list(real_run.logs.glob("run_*.log")))
    stats, errors = (json.loads(files[name]) for name in names[1:])
    assert (stats["lines"], stats["tracebacks"], stats["json_lines"], stats["silent_failure"]) == (23, 2, 2, True)
    assert [(group["exception"], group["count"]) for group in errors["tracebacks"]] == [("ValueError", 1), ("edge.errors.Gone", 1)]
    assert "**Silent failure**: 2 tracebacks and 2 error lines" in files[names[0]]
    assert final_report.fourteen_metrics(conclusion, logs.read_logs(conclusion))["log lines captured"] == 23


@pytest.mark.real
def test_a_hostile_log_stays_in_code(real_run: RunFolder) -> None:
    """No tag, link, table cell or fence of it gets out, nor a byte that is no text."""
    printed(real_run, b"ERROR:x:<img src=x onerror=alert(1)> | ``` [a](javascript:x)\x1b[2J \xff\n" * 2)
    files = logs.files(conclude(real_run, "now"))
    analysis = files["results/logs/run_recovery-1_analysis.md"]
    (row,) = [line for line in analysis.splitlines() if line.startswith("| 1 |")]
    assert re.search(r"\| ````+ ?ERROR:x:<img.*\\\|.*````+ \|$", row)
    assert "\x1b" not in "".join(files.values())


@pytest.mark.real
def test_only_a_bounded_part_of_a_huge_log_is_read(real_run: RunFolder) -> None:
    """And the analysis says so; a log that is no plain file is not read at all."""
    path = printed(real_run, b"x" * 99 + b"\n" + b"y\n" * (logs.READ_LIMIT_BYTES // 2))
    conclusion = conclude(real_run, "now")
    found = logs.files(conclusion)
    assert "Only the first" in found["results/logs/run_recovery-1_analysis.md"]
    assert len(found["results/logs/run_recovery-1_errors.json"]) < 1000
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "recovery-1" not in [one.execution for one in logs.read_logs(conclusion)]


@pytest.mark.real
def test_the_coordinators_journal_can_be_read_as_lines(real_run: RunFolder) -> None:
    """One line per record, in order, with its time; long ones are shortened."""
    conclusion = conclude(real_run, "now")
    (text,) = events.files(conclusion).values()
    rows = [line.split(maxsplit=3) for line in text.splitlines()[1:]]
    assert [(int(row[1]), row[2]) for row in rows] == [(record.sequence, record.kind) for record in conclusion.evidence.coordinator]
    assert [float(row[0]) for row in rows] == sorted(float(row[0]) for row in rows)
    assert max(map(len, text.splitlines())) < 2 * events.LINE_LIMIT


@pytest.mark.real
def test_a_very_long_journal_keeps_its_first_and_last_lines(real_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle is left out, and counted."""
    conclusion = conclude(real_run, "now")
    monkeypatch.setattr(events, "MAX_LINES", 10)
    (text,) = events.files(conclusion).values()
    records: list[Any] = conclusion.evidence.coordinator
    lines = text.splitlines()
    assert len(lines) == 1 + 10 + 1
    assert lines[6] == f"… {len(records) - 10} records left out …"
    assert (lines[1].split()[1], lines[-1].split()[1]) == ("1", str(len(records)))
