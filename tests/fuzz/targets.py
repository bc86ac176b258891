"""What is fuzzed: one function per target, bytes in and nothing out. Whatever one of them raises is a find.

    bytes ─┬─ frames                            the wire, in random pieces
           ├─ journal                           a file as it is, and records forged with right sums out of its lines
           ├─ inventory type profile entry      a lab's YAML
           ├─ findings                          JSON that somebody else wrote
           └─ evidence                          one file of a run folder: the witness, a device's journal, the coordinator's

Each says what is *true* of any bytes, not only that nothing crashes: what was read stands in the input, nothing readable was left
out, and the only exception that leaves is the one that is promised. hypothesis, the kept corpus and atheris all call these.
"""

from __future__ import annotations

import json
import os
import random
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path

from runner.errors import AskError
from runner.judgement.imported import Incoming, import_findings
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder
from runner.lab.load import Reader
from runner.lab.where import Lab
from runner.model.finding import Findings
from runner.ondevice import frames, journal
from runner.ondevice.journal import FILE_HEADER, Journal
from runner.ondevice.results import state_hash
from tests.judgement.made_run import MadeRun

NOW = "2026-02-01T00:00:00.000Z"
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # these write thousands of files, and lose none of value


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=IN_MEMORY) as folder:
        yield Path(folder)


# ---- the wire -------------------------------------------------------------------------------------------------------------

AFTER = frames.encode_json({"event": "still here"})


def fuzz_frames(data: bytes) -> None:
    """The first byte chooses the pieces, the rest is the stream."""
    stream = data[1:]
    decoder = frames.Decoder()
    found = [frame for piece in pieces(stream, seed=data[:1]) for frame in decoder.feed(piece)]
    place = 0
    for frame in found:  # each stands in the stream, in this order
        wire = frames.encode(*frame)
        place = stream.index(wire, place) + len(wire)
        with suppress(ValueError):
            frame.json()

    waiting = len(decoder._buffer)
    assert waiting < frames._HEAD.size + frames.MAX_PAYLOAD_BYTES
    assert waiting + decoder.skipped_bytes + sum(len(frames.encode(*frame)) for frame in found) == len(stream)
    at_once = frames.Decoder()
    assert (list(at_once.feed(stream)), at_once.skipped_bytes) == (found, decoder.skipped_bytes)

    heard = list(decoder.feed(AFTER))
    if not heard:  # an intact head stands there: what it promised is at most one payload away
        heard = list(decoder.feed(bytes(frames.MAX_PAYLOAD_BYTES) + AFTER))
    assert heard[-1] == frames.Frame(frames.JSON, AFTER[frames._HEAD.size :])


def pieces(stream: bytes, seed: bytes) -> Iterator[bytes]:
    chance = random.Random(seed)
    begin = 0
    while begin < len(stream):
        size = chance.choice((1, 2, 7, 16, 100, 5000))
        yield stream[begin : begin + size]
        begin += size


# ---- the journal ----------------------------------------------------------------------------------------------------------


def fuzz_journal(data: bytes) -> None:
    """As a file; and each line as a record's kind and payload, with the length, the number and the sum that it should have."""
    check_journal(data)
    check_journal(FILE_HEADER + b"".join(forged(number, line) for number, line in enumerate(data.split(b"\n"), 1)))


def check_journal(data: bytes) -> None:
    """A file is read up to its last whole record and never beyond, and whatever is appended afterwards follows on."""
    raws = whole_records(data)
    records = journal.read(data)
    assert [record.raw for record in records] == raws
    end = len(FILE_HEADER) + sum(map(len, raws))
    beyond = journal.find_record(data, end, len(raws) + 1)
    assert beyond is None or beyond.raw in data[end:]
    with scratch() as folder:
        path = folder / "journal"
        path.write_bytes(data)
        if not data.startswith(FILE_HEADER):
            with suppress(OSError):
                Journal.open(str(path))
                raise AssertionError("this is no journal")
            assert path.read_bytes() == data
            return
        opened = Journal.open(str(path))
        try:
            assert (opened.records, opened.tail_cut_bytes, opened.flushed_sequence) == (records, len(data) - end, len(raws))
            assert path.read_bytes() == data[:end]
            added = opened.append("sample", {"metrics": {}})
            assert journal.read_file(str(path)) == [*records, added]
            assert opened.chains[-1] == journal.chain_on(opened.chains[-2], added.raw)
        finally:
            opened.close()


def whole_records(data: bytes) -> list[bytes]:
    """The records that must be read and no others: a second reader, written from the drawing in journal.py alone."""
    raws: list[bytes] = []
    if data[:8] != b"RJNL\x01\0\0\0":
        return raws
    rest = data[8:]
    while True:
        length = int.from_bytes(rest[:4], "big")
        body = rest[8 : 8 + length]
        fits = 41 <= length <= 1 << 20 and len(body) == length
        if not fits or zlib.crc32(rest[:4] + body) != int.from_bytes(rest[4:8], "big") or int.from_bytes(body[:8], "big") != len(raws) + 1:
            return raws
        try:
            body[41 : 41 + body[40]].decode("ascii")
            if not isinstance(json.loads(body[41 + body[40] :].decode("utf-8")), dict):
                return raws
        except (ValueError, RecursionError):
            return raws
        raws.append(rest[: 8 + length])
        rest = rest[8 + length :]


def forged(number: int, line: bytes) -> bytes:
    """A record with a right length, number and sum around whatever stands there: the kind up to the first blank, then the payload."""
    kind, _, payload = line.partition(b" ")
    body = journal._BODY.pack(number, bytes(16), 0, 0, len(kind) % 256) + kind + payload
    length = len(body).to_bytes(4, "big")
    return length + zlib.crc32(length + body).to_bytes(4, "big") + body


# ---- a lab's files --------------------------------------------------------------------------------------------------------

FILES = {
    "inventory": "inventory.yaml",
    "type": "devices/fuzzed.yaml",
    "profile": "profiles/fuzzed.yaml",
    "entry": "pipelines/edge_002/entry.yaml",
}


def fuzz_yaml(noun: str, data: bytes) -> None:
    """A value, or an AskError in which every complaint has a line of the file."""
    with scratch() as root:
        path = root / FILES[noun]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        reader = Reader(Lab(root, root / "runs", builtin=False))
        read: dict[str, Callable[[], object]] = {
            "inventory": reader.inventory,
            "type": lambda: reader.device_type("fuzzed", ""),
            "profile": lambda: reader.profile("fuzzed", ""),
            "entry": lambda: reader.entry("EDGE-002", ""),
        }
        value = read[noun]()
        try:
            reader.finish()
        except AskError as error:
            assert value is None
            for complaint in error.complaints:
                place = re.fullmatch(rf"{re.escape(str(path))}:(\d+)", complaint.where)
                assert place, complaint
                assert 1 <= int(place[1]) <= len(data.decode("utf-8", "replace").splitlines()) + 1
                assert complaint.found and (complaint.expected or complaint.do)
        else:
            assert value is not None


# ---- findings of others ---------------------------------------------------------------------------------------------------


def fuzz_findings(data: bytes) -> None:
    """Imported whole, every row accounted for, and readable again; twice is once. Or an AskError, and nothing was written."""
    file = Incoming(("bugs.json", "strengths.json", "what #1 is.json")[len(data) % 3], data)
    with scratch() as runs:
        stored = runs / "EDGE-002" / "imported" / "findings.json"
        try:
            (came,) = import_findings(runs, "EDGE-002", [file], NOW)
        except AskError:
            assert not stored.exists()
            return
        before = stored.read_bytes()
        findings = Findings.model_validate_json(before).findings
        assert [finding.id for finding in findings] == came["added"]
        assert len(set(came["added"])) == len(came["added"])
        document = json.loads(data.decode("utf-8-sig"))
        rows = document["findings"] if isinstance(document.get("findings"), list) else document["entries"]
        assert len(findings) + len(came["known_already"]) == sum(isinstance(row, dict) for row in rows)
        import_findings(runs, "EDGE-002", [file], "later")
        assert stored.read_bytes() == before


# ---- a run folder ---------------------------------------------------------------------------------------------------------


def fuzz_evidence(data: bytes) -> None:
    """The first line names a file of a good run folder, the rest replaces it: as it is, or for a journal line by line as records."""
    name, _, rest = data.partition(b"\n")
    with scratch() as root:
        folder = RunFolder(root / "EDGE-002" / "run-2026-01-31-001")
        for relative, good in good_run().items():
            (folder.root / relative).parent.mkdir(parents=True, exist_ok=True)
            (folder.root / relative).write_bytes(good)
        lines = FILE_HEADER + b"".join(forged(number, line) for number, line in enumerate(rest.rstrip(b"\n").split(b"\n"), 1))
        device, coordinator = folder.device_journal("recovery-1"), folder.coordinator_journal
        files = {
            b"device": (device, lines),
            b"raw device": (device, rest),
            b"coordinator": (coordinator, lines),
            b"raw coordinator": (coordinator, rest),
            b"configuration": (folder.run_config, rest),
        }
        path, content = files.get(name, (folder.witness, rest))
        path.write_bytes(content)
        with suppress(AskError):
            evidence = load_evidence(folder)
            for execution in evidence.executions:
                assert [record.sequence for record in execution.records] == list(range(1, len(execution.records) + 1))
                assert len(execution.chains) == len(execution.records) + 1
                state_hash(execution.outputs)
            for cut in evidence.cuts:
                assert cut.counted in (True, False)
            assert evidence.slowdown is None or isinstance(evidence.slowdown, float)
            assert evidence.completed_at is None or evidence.completed_at.endswith("Z")


@cache
def good_run() -> dict[str, bytes]:
    """Every file of a run with one cut, by its path."""
    with scratch() as root:
        run = MadeRun(root)
        run.note(0.5, "benchmark", slowdown=1.5)
        run.begin("recovery-1")
        run.stage("recovery-1", "ingest", 2.0, 3.0)
        run.cut(4.0, "recovery-1", "ingest", back_s=5.0)
        run.stage("recovery-1", "seal", 8.0, 9.0)
        run.device(9.5, "recovery-1", "finished", state_sha256="")
        run.end(10.0, "recovery-1")
        run.end(11.0)
        run.conclusion()
        return {str(path.relative_to(run.folder.root)): path.read_bytes() for path in run.folder.root.rglob("*") if path.is_file()}


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": fuzz_frames,
    "journal": fuzz_journal,
    "inventory": partial(fuzz_yaml, "inventory"),
    "type": partial(fuzz_yaml, "type"),
    "profile": partial(fuzz_yaml, "profile"),
    "entry": partial(fuzz_yaml, "entry"),
    "findings": fuzz_findings,
    "evidence": fuzz_evidence,
}
