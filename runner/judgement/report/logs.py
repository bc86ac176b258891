"""results/logs/: what each pipeline printed, read by a machine: `_analysis.md` for people, `_stats.json`, `_errors.json`.

    run_<execution>_<when>.log ─► lines ─► levels        Python's and Stageflow's own forms, level=…, JSON lines
                                       ├─► tracebacks    grouped by exception and last frame
                                       ├─► repetitions   lines that differ in numbers only
                                       └─► suspicious    words that nobody wants to read in a log

An error or a traceback in the log of an execution that ended `finished` is a **silent failure**: the pipeline said that all
was well. The logs are evidence, and hostile: bounded when read, escaped when shown.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runner.judgement.conclude import Conclusion
from runner.judgement.judge import one_line
from runner.judgement.report.markdown import code, table
from runner.lab.folder import RunFolder, json_text

READ_LIMIT_BYTES = 512 * 1024  # the device sends at most 256 KiB of a log
SHOWN_LINES = 20  # line numbers named for one word or one traceback
SHOWN_ROWS = 200  # rows of one list
LINE_LIMIT = 4096  # characters of a line that are looked at

_NAME = re.compile(r"run_([A-Za-z0-9._-]+)_\d{8}_\d{6}\.log")
_LEVELS = {"warn": "warning", "fatal": "critical", "exception": "error", "err": "error"}
_KNOWN = r"debug|info|notice|warn|warning|err|error|exception|critical|fatal"
_STAMP = r"(?:[\d\[\]:.,TZ+/-]{1,40}[\s|]+)+(?:[\w.-]{1,80}[\s|]+(?:-[\s|]+)?)?"  # a date, a time, perhaps a logger's name
_UPPER_LEVEL = re.compile(rf"^(?:{_STAMP}|[\w.]{{1,80}} - )?({_KNOWN.upper()})(?=[\s:|-])")
_BRACKETS = re.compile(rf"\[({_KNOWN})\s*\]", re.IGNORECASE)  # structlog's console form, and many others
_KEY_VALUE = re.compile(rf"\b(?:level|severity|lvl)=\"?({_KNOWN})\b", re.IGNORECASE)
_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*(?:\|\s*)*File "([^"]{1,300})", line (\d{1,9})(?:, in (.{1,100}))?')
_RAISED = re.compile(r"^(?:[|+\s-]*)([A-Za-z_][\w.]{0,150})(?::\s?(.*))?$")
_VARYING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{16,}\b|\d+", re.IGNORECASE)
SUSPICIOUS: dict[str, re.Pattern[str]] = {
    word: re.compile(pattern, re.IGNORECASE)
    for word, pattern in {
        "error": r"error",
        "exception": r"exception",
        "warning": r"\bwarn\b|warning\b",
        "timeout": r"time[ds]?[ -]?out",
        "killed": r"\bkilled\b|\bSIGKILL\b",
        "out of memory": r"\bOOM\b|out of memory|MemoryError|cannot allocate memory",
        "disk full": r"\bENOSPC\b|no space left",
        "input/output error": r"\bEIO\b|input/output error",
        "read-only": r"\bEROFS\b|read-only file system",
        "refused": r"connection (?:refused|reset)|\bECONNRE(?:FUSED|SET)\b|broken pipe",
        "denied": r"permission denied|\bEACCES\b|\bEPERM\b",
        "segmentation fault": r"segmentation fault|\bSIGSEGV\b|core dumped",
        "never awaited": r"was never (?:awaited|retrieved)",
        "deprecated": r"deprecat",
        "corrupt": r"corrupt",
    }.items()
}


@dataclass(frozen=True)
class Traceback:
    """One traceback as it stands in a log."""

    line: int
    exception: str
    message: str
    last_frame: str  # file:line in function; "" where none was printed


@dataclass(frozen=True)
class Log:
    """One execution's log."""

    execution: str
    ended: str  # how the execution ended, by the coordinator's word
    name: str  # the file, relative to the run folder
    bytes: int
    text: str

    @cached_property
    def lines(self) -> list[str]:
        lines = self.text.split("\n")  # and nowhere else: line numbers are those of any editor
        return [line.removesuffix("\r")[:LINE_LIMIT] for line in (lines if lines[-1] else lines[:-1])]

    @cached_property
    def entries(self) -> list[tuple[int, str | None, str, bool]]:
        """Each line: its number, its level where one can be told, its message, whether it is JSON."""
        return [(number, *_read(line)) for number, line in enumerate(self.lines, 1)]

    @cached_property
    def levels(self) -> Counter[str]:
        return Counter(level for _, level, _, _ in self.entries if level)

    @cached_property
    def errors(self) -> list[tuple[int, str, str]]:
        """Lines of level error or worse: number, level, message."""
        return [(number, level, message) for number, level, message, _ in self.entries if level in ("error", "critical")]

    @cached_property
    def tracebacks(self) -> list[Traceback]:
        """Every traceback, also one inside a JSON line, in order."""
        plain = list(enumerate(self.lines, 1))
        inside = [(number, line) for number, _, message, is_json in self.entries if is_json for line in message.splitlines()]
        return sorted([*_tracebacks(plain), *_tracebacks(inside)], key=lambda found: found.line)

    @cached_property
    def groups(self) -> dict[tuple[str, str], list[Traceback]]:
        """Tracebacks by exception and last frame, the most frequent first."""
        found: dict[tuple[str, str], list[Traceback]] = {}
        for traceback in self.tracebacks:
            found.setdefault((traceback.exception, traceback.last_frame), []).append(traceback)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[1][0].line)))

    @cached_property
    def repeated(self) -> list[tuple[int, int, str]]:
        """Lines that come more than once, numbers aside: how often, the first line's number, that line."""
        found: dict[str, list[int]] = {}
        for number, line in enumerate(self.lines, 1):
            if line.strip():
                found.setdefault(_VARYING.sub("#", line), []).append(number)
        groups = [(len(numbers), numbers[0], self.lines[numbers[0] - 1]) for numbers in found.values() if numbers[1:]]
        return sorted(groups, key=lambda group: (-group[0], group[1]))

    @cached_property
    def suspicious(self) -> dict[str, list[int]]:
        """Word → numbers of the lines that hold it; only words that were found."""
        found = {word: [n for n, line in enumerate(self.lines, 1) if pattern.search(line)] for word, pattern in SUSPICIOUS.items()}
        return {word: numbers for word, numbers in found.items() if numbers}

    @property
    def silent(self) -> bool:
        """Whether the log tells of an error that the execution's end does not."""
        return self.ended == "finished" and bool(self.errors or self.tracebacks)


def files(conclusion: Conclusion) -> dict[str, str]:
    found: dict[str, str] = {}
    for log in read_logs(conclusion):
        head = f"results/logs/run_{log.execution}"
        found |= {f"{head}_analysis.md": _analysis(log), f"{head}_stats.json": _stats(log), f"{head}_errors.json": _errors(log)}
    return found


def read_logs(conclusion: Conclusion) -> list[Log]:
    """The log of each execution that has one, in the order in which they ran; of two logs of one execution, the later."""
    named = {match[1]: path for path in sorted(conclusion.folder.logs.glob("run_*.log")) if (match := _NAME.fullmatch(path.name))}
    return [
        Log(execution.name, str(execution.ended.get("ending", "never ended")), *_bounded(conclusion.folder, named[execution.name].name))
        for execution in conclusion.evidence.executions
        if execution.name in named and named[execution.name].is_file() and not named[execution.name].is_symlink()
    ]


def _bounded(folder: RunFolder, name: str) -> tuple[str, int, str]:
    path = folder.logs / name
    with path.open("rb") as file:
        data = file.read(READ_LIMIT_BYTES)
    return str(path.relative_to(folder.root)), path.stat().st_size, data.decode("utf-8", "replace")


# ---- reading a line ---------------------------------------------------------------------------------------------


def _read(line: str) -> tuple[str | None, str, bool]:
    """A line's level where one can be told, its message, and whether the line is a JSON object."""
    said = _json(line)
    if said is not None:
        level = next((said[key] for key in ("level", "levelname", "log_level", "severity") if isinstance(said.get(key), str)), "").lower()
        parts = [str(said[key]) for key in ("event", "message", "msg", "exception", "exc_info", "stack") if isinstance(said.get(key), str)]
        return _level(level), "\n".join(parts) or line, True
    match = _KEY_VALUE.search(line) or _BRACKETS.search(line[:120]) or _UPPER_LEVEL.search(line)
    return _level(match[1].lower()) if match else None, line, False


def _level(word: str) -> str | None:
    return _LEVELS.get(word, word) if re.fullmatch(_KNOWN, word) else None


def _json(line: str) -> dict[str, Any] | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _tracebacks(lines: Iterable[tuple[int, str]]) -> list[Traceback]:
    """Python's own form: a head, frames further in, and the exception where the indentation is the head's again."""
    found: list[Traceback] = []
    began: int | None = None
    indent, frame = 0, ""
    for number, line in lines:
        place = line.find(_TRACEBACK)
        if place >= 0:
            began, frame = number, ""
            indent = place if not line[:place].strip(" |+-") else 0  # behind words (a logger's prefix) the rest begins at the margin
        elif began is not None:
            if match := _FRAME.match(line[indent:] if not line[:indent].strip(" |+-") else line):
                frame = f"{match[1]}:{match[2]}" + (f" in {match[3]}" if match[3] else "")
            elif line[indent : indent + 1].strip() and (raised := _RAISED.match(line[indent:])):
                found.append(Traceback(began, one_line(raised[1]), one_line(raised[2] or "")[:300], one_line(frame)))
                began = None
    return found


# ---- saying so --------------------------------------------------------------------------------------------------


def _stats(log: Log) -> str:
    return json_text(
        {
            "execution": log.execution,
            "ended": one_line(log.ended),
            "log": log.name,
            "bytes": log.bytes,
            "bytes_read": min(log.bytes, READ_LIMIT_BYTES),
            "lines": len(log.lines),
            "empty_lines": sum(not line.strip() for line in log.lines),
            "distinct_lines": len({_VARYING.sub("#", line) for line in log.lines if line.strip()}),
            "json_lines": sum(is_json for *_, is_json in log.entries),
            "levels": dict(sorted(log.levels.items())),
            "tracebacks": len(log.tracebacks),
            "suspicious": {word: len(numbers) for word, numbers in log.suspicious.items()},
            "silent_failure": log.silent,
        }
    )


def _errors(log: Log) -> str:
    groups = [
        {
            "exception": exception,
            "last_frame": frame,
            "count": len(found),
            "message": found[0].message,
            "lines": [traceback.line for traceback in found[:SHOWN_LINES]],
        }
        for (exception, frame), found in list(log.groups.items())[:SHOWN_ROWS]
    ]
    errors = [{"line": number, "level": level, "text": one_line(text)[:500]} for number, level, text in log.errors[:SHOWN_ROWS]]
    suspicious = {word: {"count": len(numbers), "lines": numbers[:SHOWN_LINES]} for word, numbers in log.suspicious.items()}
    about = {"execution": log.execution, "ended": one_line(log.ended), "log": log.name, "silent_failure": log.silent}
    return json_text({**about, "tracebacks": groups, "error_count": len(log.errors), "errors": errors, "suspicious": suspicious})


def _analysis(log: Log) -> str:
    """For people. Every word of the log stands in code."""
    said = "nothing" if not log.lines else f"{len(log.lines)} lines, {log.bytes} bytes"
    lines = [f"# Log analysis: {code(log.execution)}", "", f"The execution ended as {code(log.ended)} and its pipeline printed {said}."]
    if log.bytes > READ_LIMIT_BYTES:
        lines.append(f"Only the first {READ_LIMIT_BYTES} bytes were read.")
    lines.append("")
    if log.silent:
        lines += [f"**Silent failure**: {silence(log)}.", ""]
    lines += [
        *_section("Levels", ("level", "lines"), sorted(log.levels.items())),
        *_section(
            "Tracebacks",
            ("exception", "last frame", "count", "at line", "message"),
            [
                (code(key[0]), code(key[1]), len(found), _numbers([t.line for t in found]), code(found[0].message))
                for key, found in log.groups.items()
            ],
        ),
        *_section("Errors", ("line", "level", "text"), [(number, level, code(text)) for number, level, text in log.errors]),
        *_section("Suspicious words", ("word", "count", "at line"), [(w, len(at), _numbers(at)) for w, at in log.suspicious.items()]),
        *_section(
            "Repeated lines, numbers aside", ("count", "first at line", "text"), [(n, at, code(text)) for n, at, text in log.repeated]
        ),
        f"The log: [{code(log.name)}]({log.name.rpartition('/')[2]}).",
        "",
    ]
    return "\n".join(lines)


def silence(log: Log) -> str:
    """What a silent failure is, in one sentence."""
    return f"{len(log.tracebacks)} tracebacks and {len(log.errors)} error lines in the log of an execution that ended finished"


def _section(title: str, head: tuple[str, ...], rows: list[Any]) -> list[str]:
    more = [f"… and {len(rows) - SHOWN_ROWS} more.", ""] if len(rows) > SHOWN_ROWS else []
    return [f"## {title}", "", *(table(head, rows[:SHOWN_ROWS]) if rows else ["None.", ""]), *more]


def _numbers(lines: list[int]) -> str:
    return ", ".join(map(str, lines[:SHOWN_LINES])) + (" …" if len(lines) > SHOWN_LINES else "")
