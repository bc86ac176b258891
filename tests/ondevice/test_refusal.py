"""Which journals must not go on: what a power cut leaves is opened, and what only damage leaves is refused, untouched.

torn off at the end          a power cut does that: opened, the tail cut off
changed before its end       no power cut does that: refused, with the place
somebody else's              refused, with its name
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import frames, journal
from runner.ondevice.claim import Claims
from runner.ondevice.execution import Execution
from runner.ondevice.journal import FILE_HEADER, Record, encode, find_record, read
from runner.ondevice.kept import JournalRefused, point_to, refuse
from runner.ondevice.store import Store, locate
from runner.ondevice.supervisor import LOG_LIMIT_BYTES, Client, Supervisor

NAME = "R/adversarial-1"
SPEC: dict[str, Any] = {"run": "R", "execution": "adversarial-1", "stages": ["ingest"], "holds": []}
NAMED = {key: SPEC[key] for key in ("run", "execution")}
KINDS: list[tuple[str, dict[str, Any]]] = [("began", SPEC), ("stage_started", {"stage": "ingest"}), ("sample", {}), ("finished", {"n": 1})]


def small(*kinds: tuple[str, dict[str, Any]]) -> list[Record]:
    return [encode(number, "ab" * 16, number, number, *each) for number, each in enumerate(kinds or KINDS, 1)]


def content(records: list[Record]) -> bytes:
    return FILE_HEADER + b"".join(record.raw for record in records)


WHOLE = content(small())
LAST = len(WHOLE) - len(small()[-1].raw)  # where the last record begins


def said_of(data: bytes, name: str = NAME) -> str:
    """Why a journal of these bytes is refused; "" when it is not."""
    try:
        refuse(data, read(data), name)
    except JournalRefused as error:
        return str(error)
    return ""


def flipped(data: bytes, bit: int) -> bytes:
    broken = bytearray(data)
    broken[bit // 8] ^= 1 << bit % 8
    return bytes(broken)


def test_a_whole_journal_goes_on() -> None:
    """The negative control of all that follows."""
    assert said_of(WHOLE) == ""


def test_a_tail_torn_at_any_byte_goes_on() -> None:
    """Short, zeroed or full of garbage from some byte of the last record on: a power cut leaves that, and it is no damage."""
    chance = random.Random(1)
    for torn in range(LAST, len(WHOLE)):
        lost = len(WHOLE) - torn
        for tail in (b"", bytes(lost), chance.randbytes(lost), b"\xff" * lost):
            assert said_of(WHOLE[:torn] + tail) == "", torn


def test_any_bit_flipped_before_the_last_record_is_refused() -> None:
    """Every single one; in the header it is no journal any more, and elsewhere the damaged record and a whole one behind it are named."""
    starts = [len(FILE_HEADER)]
    for record in small():
        starts.append(starts[-1] + len(record.raw))
    for bit in range(LAST * 8):
        whole = sum(start <= bit // 8 for start in starts) - 1
        expected = f"the journal is damaged at byte {starts[whole]}, behind record {whole}: record {whole + 2} after it is whole"
        assert said_of(flipped(WHOLE, bit)) == ("the journal does not begin as journals do" if bit < 64 else expected)


def test_any_bit_flipped_in_the_last_record_is_a_torn_tail() -> None:
    """Nobody can tell these apart from the file alone: whoever mirrored that record can, and does."""
    assert {said_of(flipped(WHOLE, bit)) for bit in range(LAST * 8, len(WHOLE) * 8)} == {""}


@pytest.mark.parametrize("header", [b"", b"RJNL", b"RJNL\x02\x00\x00\x00", bytes(8), b"LNJR\x00\x00\x00\x01"], ids=repr)
def test_another_header_is_refused(header: bytes) -> None:
    """Empty, short, of another version, or zeros."""
    assert said_of(header + WHOLE[8:] if len(header) == 8 else header) == "the journal does not begin as journals do"


@pytest.mark.parametrize("spec", [{"run": "R", "execution": "baseline-1"}, {"run": "S", "execution": "adversarial-1"}, {}], ids=str)
def test_a_foreign_journal_is_refused_by_name(spec: dict[str, Any]) -> None:
    """Of another execution, of another run, of nobody: however whole it is, or wherever it was cut off."""
    foreign = content(small(("began", spec), *KINDS[1:]))
    owner = f"{spec.get('run')}/{spec.get('execution')}"
    for data in (foreign, foreign[:-5], foreign[:-5] + bytes(5)):
        assert said_of(data) == f"the journal is that of {owner}"


def test_a_record_lost_in_the_middle_is_refused() -> None:
    """A gap in the numbers, with every sum right."""
    one, _, three, four = small()
    assert "behind record 1: record 3 after it is whole" in said_of(content([one]) + bytes(40) + three.raw + four.raw)


def test_a_journal_without_its_first_record_is_nobodys_and_begins_nothing(tmp_path: Path) -> None:
    """Torn into the very first record: there is nothing to refuse, and nothing to go on with."""
    data = WHOLE[:20] + bytes(len(WHOLE) - 20)
    assert said_of(data) == ""
    assert reopened(tmp_path, data) is None


def reopened(root: Path, data: bytes) -> Execution | None:
    """What a restart makes of a journal of these bytes."""
    folder = root / "runs" / "R" / "adversarial-1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "journal").write_bytes(data)
    return Execution.reopen(str(folder), Store(str(root)), lambda event: None, 0)


DAMAGED = {
    "bit flip": flipped(WHOLE, 500),
    "header": flipped(WHOLE, 9),
    "foreign": content(small(("began", {**SPEC, "execution": "baseline-1"}), *KINDS[1:])),
    "foreign with a tail": content(small(("began", {**SPEC, "execution": "baseline-1"}))) + bytes(700),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_refused_journal_is_left_as_found(tmp_path: Path, damage: str) -> None:
    """Not a byte of it is cut off or written, and it is only read: whoever looks into it later finds what was found."""
    with pytest.raises(JournalRefused):
        reopened(tmp_path, DAMAGED[damage])
    assert (tmp_path / "runs/R/adversarial-1/journal").read_bytes() == DAMAGED[damage]


def test_a_torn_journal_is_cut_and_goes_on(tmp_path: Path) -> None:
    """The negative control: what is not refused loses its tail, and nothing else."""
    found = reopened(tmp_path, WHOLE[:-3])
    assert found
    assert found.journal.tail_cut_bytes == len(WHOLE) - 3 - LAST
    assert (tmp_path / "runs/R/adversarial-1/journal").read_bytes() == WHOLE[:LAST]


# ---- looking for whole records behind the damage ----------------------------------------------------------------------


def test_a_record_is_found_anywhere_behind_an_offset() -> None:
    """At or after the offset, numbered as wanted or higher, between whatever garbage; None when there is none."""
    record = small()[2]
    for before in (b"", b"\x00", bytes(11), bytes(random.Random(2).randbytes(97))):
        data = before + record.raw + b"\x00"
        assert find_record(data, 0, 1) == find_record(data, len(before), 3) == record
        assert find_record(data, len(before) + 1, 1) is None
        assert find_record(data, 0, 4) is None
    assert find_record(b"", 0, 1) is None


@pytest.mark.parametrize("name", ["random", "zeros", "text", "ones"])
def test_a_megabyte_of_garbage_is_hardly_summed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what begins as a record does is looked at, and only with a possible length is a sum made: no work of one megabyte per byte."""
    data = {
        "random": random.Random(3).randbytes(1 << 20),
        "zeros": bytes(1 << 20),
        "text": b'{"a":0} ' * (1 << 17),
        "ones": b"\xff" * (1 << 20),
    }[name]
    summed: list[int] = []
    real = journal.zlib.crc32
    monkeypatch.setattr(journal.zlib, "crc32", lambda part, start=0: summed.append(len(part)) or real(part, start))
    assert find_record(data, 0, 1) is None
    assert sum(summed) < 1 << 20


# ---- what a supervisor says of it -------------------------------------------------------------------------------------


class Coordinator:
    """The other end of one client's socket."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(10)
        self.decoder = frames.Decoder()
        client = Client(theirs, supervisor)
        supervisor._clients.append(client)
        threading.Thread(target=client.listen, daemon=True).start()

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """The answer, whole: {"id", "ok"} or {"id", "error"}."""
        self.socket.sendall(frames.encode_json({"id": 1, "do": do, **words}))
        while True:
            for frame in self.decoder.feed(self.socket.recv(1 << 20)):
                if frame.type == frames.JSON:
                    return frame.json()


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(str(tmp_path), 0, Claims(str(tmp_path), str(tmp_path)))


@pytest.fixture
def ask(supervisor: Supervisor) -> Iterator[Callable[..., dict[str, Any]]]:
    coordinator = Coordinator(supervisor)
    yield coordinator.ask
    coordinator.socket.close()


def leave(root: Path, data: bytes) -> None:
    """A journal of these bytes as the current execution's, as a restart finds it."""
    folder = root / "runs" / "R" / "adversarial-1"
    folder.mkdir(parents=True)
    (folder / "journal").write_bytes(data)
    point_to(str(root / "runs"), NAME)


@pytest.mark.parametrize("damage", DAMAGED)
def test_whoever_follows_a_refused_journal_is_told_why(
    tmp_path: Path, supervisor: Supervisor, ask: Callable[..., dict[str, Any]], damage: str
) -> None:
    """The supervisor starts all the same, runs nothing, and gives the reason to each coordinator that comes."""
    leave(tmp_path, DAMAGED[damage])
    supervisor.restore()
    assert supervisor.execution is None
    for _ in range(2):
        said = ask("follow", **NAMED, from_sequence=5, chain="f" * 64)["ok"]
        assert (said["agrees"], said["written"], said["refused"]) == (False, 0, said_of(DAMAGED[damage]))
    assert ask("hello")["ok"]["execution"] is None
    assert (tmp_path / "runs/R/adversarial-1/journal").read_bytes() == DAMAGED[damage]


def test_an_unreadable_journal_is_no_crash(tmp_path: Path, supervisor: Supervisor, ask: Callable[..., dict[str, Any]]) -> None:
    """A folder where the journal should be: a reason too."""
    (tmp_path / "runs/R/adversarial-1/journal").mkdir(parents=True)
    point_to(str(tmp_path / "runs"), NAME)
    supervisor.restore()
    assert "Is a directory" in ask("follow", **NAMED, from_sequence=1, chain=journal.GENESIS)["ok"]["refused"]


# ---- what may be asked about files -----------------------------------------------------------------------------------


@pytest.fixture
def under_way(tmp_path: Path, supervisor: Supervisor) -> Execution:
    """An execution with a pipeline of one file, and a secret beside it."""
    tree = tmp_path / "trees" / ("a" * 64)
    (tree / "pipe").mkdir(parents=True)
    (tree / "pipe/baseline.py").write_bytes(b"x" * 5000)
    (tree / "secret").write_text("not yours")
    spec = {**SPEC, "pipeline": {"tree": "a" * 64, "files": {"pipe/baseline.py": "0" * 64}, "module": "pipe.baseline"}}
    folder = tmp_path / "runs" / NAME
    supervisor.execution = Execution.create(str(folder), spec, supervisor.store, supervisor.publish)
    return supervisor.execution


def test_the_journal_and_the_pipelines_files_are_located(tmp_path: Path, under_way: Execution, ask: Callable[..., dict[str, Any]]) -> None:
    """Their paths and sizes; and extents that do not reach beyond what the file system gave the file."""
    for what, path in (
        ("journal", tmp_path / "runs" / NAME / "journal"),
        ("pipe/baseline.py", tmp_path / "trees" / ("a" * 64) / "pipe/baseline.py"),
    ):
        said = ask("locate", what=what)["ok"]
        assert (said["path"], said["size"]) == (str(path), path.stat().st_size)
        assert all(len(extent) == 3 and min(extent) >= 0 for extent in said["extents"])


@pytest.mark.parametrize(
    "what",
    ["secret", "../../etc/passwd", "/etc/passwd", "", "pipe", "pipe/../secret", "pipe/baseline.py/", None, 7, ["journal"], {}],
    ids=repr,
)
def test_no_other_file_is_located(under_way: Execution, ask: Callable[..., dict[str, Any]], what: Any) -> None:
    """Only by the very names that the execution began with."""
    assert set(ask("locate", what=what)) == {"id", "error"}
    assert "ok" in ask("locate", what="journal")


def test_without_an_execution_nothing_is_located(ask: Callable[..., dict[str, Any]]) -> None:
    """There is no current journal then."""
    assert ask("locate", what="journal")["error"] == "ValueError: no execution is under way here"


def test_where_nobody_can_say_there_are_no_extents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without the request is not an error: whoever needs extents finds none."""
    (tmp_path / "file").write_bytes(b"12345")

    def refuses(*words: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.ioctl", refuses)
    assert locate(str(tmp_path / "file")) == {"path": str(tmp_path / "file"), "size": 5, "extents": []}


@pytest.mark.parametrize("printed", [b"x", b"\x00", b"\xff", b'"', "ü".encode()], ids=repr)
def test_a_log_is_told_from_its_end_and_within_a_frame(
    tmp_path: Path, under_way: Execution, ask: Callable[..., dict[str, Any]], printed: bytes
) -> None:
    """However long and whatever was printed: at most so many bytes of it, and how many there are."""
    log = tmp_path / "runs" / NAME / "host.log"
    log.write_bytes(printed * (LOG_LIMIT_BYTES * 2 // len(printed)) + b"the end")
    said = ask("log", run="R", execution="adversarial-1")["ok"]
    assert said["bytes"] == log.stat().st_size
    assert said["text"].endswith("the end")
    assert len(said["text"]) <= LOG_LIMIT_BYTES


def test_no_log_is_an_empty_one_and_no_other_file_is_told(under_way: Execution, ask: Callable[..., dict[str, Any]]) -> None:
    """A pipeline that printed nothing; and names that leave the folder of runs."""
    assert ask("log", run="R", execution="adversarial-1")["ok"] == {"text": "", "bytes": 0}
    for run, execution in (("..", "x"), ("R", "../.."), ("R", "/etc"), ("", "adversarial-1")):
        assert "expected a plain name" in ask("log", run=run, execution=execution)["error"]
