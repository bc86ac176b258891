"""Broken supervisors, made from the real one by changing a few words of its source, and broken boots.

Each is a fault that a real product has had. The tests run them through the very checks that pass the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runner.ondevice import journal
from runner.target.bundle import make_zip, supervisor_sources
from runner.target.target import Target


def supervisor_with(*changes: tuple[str, str, str]) -> bytes:
    """The supervisor's zip with each (file, old words, new words) changed; the old words must stand there once."""
    sources = supervisor_sources()
    for name, old, new in changes:
        text = sources[f"ondevice/{name}"].decode()
        assert text.count(old) == 1, f"{name} holds {text.count(old)} × {old!r}"
        sources[f"ondevice/{name}"] = text.replace(old, new).encode()
    return make_zip(sources)


def using(archive: bytes) -> Callable[[Target], None]:
    def adjust(target: Target) -> None:
        target.supervisor = archive

    return adjust


FSYNC_DOES_NOTHING = (
    "journal.py",
    "def fsync_file(fd: int) -> None:\n",
    "def fsync_file(fd: int) -> None:\n    return\n\n\ndef unused(fd: int) -> None:\n",
)
JOURNAL_IS_NEVER_FLUSHED = ("journal.py", "self._guarded(lambda: fsync_file(self._fd))", "self._guarded(lambda: None)")
NO_FOLDER_FSYNC = (
    "journal.py",
    "    fd = os.open(path, os.O_RDONLY)\n    try:\n        fsync_file(fd)\n",
    "    fd = os.open(path, os.O_RDONLY)\n    try:\n        pass\n",
)
IGNORES_ITS_JOURNAL = (
    "execution.py",
    "replay = {name: result for name, result in finished.items() if name not in rejected}",
    "replay = {}",
)
SAYS_RESTORED_AND_REPEATS = ("execution.py", "        return replay\n\n    def _converse", "        return {}\n\n    def _converse")
NO_CRC = ("journal.py", "if zlib.crc32(body, zlib.crc32(data[offset : offset + 4])) != crc:", "if crc is None:")


def torn_tail(state: Path) -> None:
    """Leaves behind the newest local journal what a torn write leaves: a record whose first half is new and whose
    second half is an older record's, plausible to whoever does not check the sum over both."""
    newest = max(state.rglob("journal"), key=lambda path: path.stat().st_mtime_ns)
    records = journal.read_file(str(newest))
    old = next(record for record in records if record.kind == "stage_finished")
    torn = journal.encode(len(records) + 1, old.boot_id, old.boottime_ns, old.wall_ns, "stage_finished", {**old.payload, "stage": "seal"})
    damaged = torn.raw[:4] + b"\0\0\0\0" + torn.raw[8:]  # everything but the sum
    with newest.open("ab") as file:
        file.write(damaged)
