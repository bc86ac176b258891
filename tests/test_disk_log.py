"""The disk log: pasted from nbdkit 1.32.5 (log filter over cache filter), driven by qemu-io."""

from __future__ import annotations

from pathlib import Path

from runner.disk_log import DiskLogReader, Write, read_disk_log, read_power_ons, unflushed

REAL = """\
2026-11-21 20:04:58.206520 Ready thread_model=3
2026-11-21 20:04:58.267205 Preconnect id=1 readonly=0 ...
2026-11-21 20:04:58.267225 ...Preconnect id=1 return=0
2026-11-21 20:04:58.267501 connection=1 Connect export="" tls=0 size=0x1000000 minsize=0x1 prefsize=0x1000 \
maxsize=0xffffffff write=1 flush=1 rotational=0 trim=1 zero=2 fua=2 extents=1 cache=2 fast_zero=1
2026-11-21 20:04:58.267925 connection=1 Write id=1 offset=0x0 count=0x1000 fua=0 ...
2026-11-21 20:04:58.267951 connection=1 ...Write id=1 return=0
2026-11-21 20:04:58.268331 connection=1 Write id=2 offset=0x2000 count=0x1000 fua=0 ...
2026-11-21 20:04:58.268347 connection=1 ...Write id=2 return=0
2026-11-21 20:04:58.268429 connection=1 Flush id=3 ...
2026-11-21 20:04:58.269040 connection=1 ...Flush id=3 return=0
2026-11-21 20:04:58.269156 connection=1 Write id=4 offset=0x4000 count=0x1000 fua=1 ...
2026-11-21 20:04:58.269401 connection=1 ...Write id=4 return=0
2026-11-21 20:04:58.269518 connection=1 Write id=5 offset=0x8000 count=0x2000 fua=0 ...
2026-11-21 20:04:58.269531 connection=1 ...Write id=5 return=0
2026-11-21 20:04:58.269613 connection=1 Zero id=6 offset=0x10000 count=0x1000 trim=0 fua=0 fast=0 ...
2026-11-21 20:04:58.269624 connection=1 ...Zero id=6 return=0
2026-11-21 20:04:58.269686 connection=1 Trim id=7 offset=0x20000 count=0x10000 fua=0 ...
2026-11-21 20:04:58.269706 connection=1 ...Trim id=7 return=0
2026-11-21 20:04:58.269783 connection=1 Zero id=8 offset=0x40000 count=0x1000 trim=1 fua=0 fast=0 ...
2026-11-21 20:04:58.269796 connection=1 ...Zero id=8 return=0
2026-11-21 20:04:58.269867 connection=1 Zero id=9 offset=0x80000 count=0x1000 trim=0 fua=1 fast=0 ...
2026-11-21 20:04:58.270086 connection=1 ...Zero id=9 return=0
2026-11-21 20:04:58.270172 connection=1 Read id=10 offset=0x0 count=0x200 ...
2026-11-21 20:04:58.270182 connection=1 ...Read id=10 return=0
"""


def log_of(folder: Path, text: str) -> Path:
    path = folder / "disk.log"
    path.write_text(text)
    return path


def line(what: str) -> str:
    return f"2026-11-21 20:04:59.000000 connection=1 {what}\n"


def test_a_real_log_is_counted(tmp_path: Path) -> None:
    """Writes and zeros are changes, trims are counted apart, and a request is counted once."""
    log = read_disk_log(log_of(tmp_path, REAL))
    assert (log.writes, log.flushes, log.trims, log.reads, log.fua, log.failed) == (7, 1, 1, 1, 2, 0)


def test_what_a_cut_would_take(tmp_path: Path) -> None:
    """Neither a flushed write, nor one with FUA, nor a trim (it passes the cache) is lost; zeros are."""
    lost = unflushed(read_disk_log(log_of(tmp_path, REAL)))
    assert [(each.offset, each.length) for each in lost] == [(0x8000, 0x2000), (0x10000, 0x1000), (0x40000, 0x1000)]
    assert lost[0] == Write(0x8000, 0x2000, 1795291498.269518)


def test_fua_covers_itself_only(tmp_path: Path) -> None:
    """A write before a FUA write stays volatile: measured, SIGKILL lost it."""
    text = (
        line("Write id=1 offset=0x0 count=0x1000 fua=0 ...") + line("...Write id=1 return=0")
        + line("Write id=2 offset=0x2000 count=0x1000 fua=1 ...") + line("...Write id=2 return=0")
    )  # fmt: skip
    assert [each.offset for each in unflushed(read_disk_log(log_of(tmp_path, text)))] == [0]


def test_an_unanswered_flush_covers_nothing(tmp_path: Path) -> None:
    """A flush that the server did not live to answer is told as such, and what came before it counts as lost."""
    text = line("Write id=1 offset=0x0 count=0x1000 fua=0 ...") + line("...Write id=1 return=0")
    text += line("Flush id=2 ...")
    log = read_disk_log(log_of(tmp_path, text))
    assert (log.flushes, log.flushes_unanswered, len(log.uncovered)) == (0, 1, 1)


def test_a_flush_covers_what_was_answered_before_it_came(tmp_path: Path) -> None:
    """A write in flight while a flush runs is not covered by it."""
    text = (
        line("Write id=1 offset=0x0 count=0x200 fua=0 ...") + line("Flush id=2 ...")
        + line("...Write id=1 return=0") + line("...Flush id=2 return=0")
    )  # fmt: skip
    assert [each.offset for each in unflushed(read_disk_log(log_of(tmp_path, text)))] == [0]


def test_a_failed_write_is_not_lost(tmp_path: Path) -> None:
    """Who was told that a write failed has nothing to lose."""
    text = line("Write id=1 offset=0x0 count=0x200 fua=0 ...") + line("...Write id=1 return=-1 error=EIO")
    log = read_disk_log(log_of(tmp_path, text))
    assert (log.writes, log.failed, log.uncovered) == (0, 1, ())


def test_a_power_on_starts_the_count_afresh(tmp_path: Path) -> None:
    """Many power-ons lie in one file; the numbers are those of the last one."""
    log = read_disk_log(log_of(tmp_path, REAL + "2026-11-21 21:00:00.000000 Ready thread_model=3\n"))
    assert (log.writes, log.flushes, log.uncovered) == (0, 0, ())


def test_reading_in_pieces_is_reading_at_once(tmp_path: Path) -> None:
    """However the log grows, even within a line, the sum is the same."""
    path = log_of(tmp_path, "")
    reader = DiskLogReader(path)
    for start in range(0, len(REAL), 97):
        with path.open("a") as file:
            file.write(REAL[start : start + 97])
        reader.read()
    assert reader.read() == read_disk_log(path)


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    """Before the first power-on nothing was written."""
    assert read_disk_log(tmp_path / "none").writes == 0


def test_power_ons_are_told_apart_and_a_server_nobody_used_is_none() -> None:
    """The keeper starts the disk server again when the machine would not come up: that was no power-on."""
    unused = REAL.splitlines(keepends=True)[0]
    whole = read_power_ons(REAL.encode())
    assert len(whole) == 1
    assert read_power_ons((unused + REAL + REAL).encode()) == whole * 2
    assert read_power_ons(unused.encode()) == read_power_ons(b"") == []
    assert read_power_ons(REAL.partition("\n")[2].encode()) == []  # its beginning is missing
