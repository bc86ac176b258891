"""How fast a coordinator takes over a journal: mirroring.py FOLDER WHO COUNT prints microseconds a record.

session   a Session and its Mirror, on a device that is only a list of bytes: each record acknowledged
plain     the same records, written and flushed one by one, and nothing else
grouped   the same records, written, and flushed once for every read of 256 KiB
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from runner.clock import SystemClock
from runner.ondevice import frames
from runner.ondevice.journal import FILE_HEADER, encode, fsync_file
from runner.target.mirror import Mirror
from runner.target.session import Session

PIECE_BYTES = 262144  # what a stream hands over at once


def records(count: int) -> list[bytes]:
    payload = {"metrics": {f"system.made.up{{number={number:02}}}": number * 1.5 for number in range(12)}}
    return [encode(number, "0" * 32, number, number, "sample", payload).raw for number in range(1, count + 1)]


class Device:
    """A stream on which a supervisor's records come as fast as they are read; what is said to it is only counted."""

    def __init__(self, raw: list[bytes]) -> None:
        self._whole = b"".join(frames.encode(frames.RECORD, one) for one in raw)
        self._at = 0

    async def read(self) -> bytes:
        if self._at >= len(self._whole):
            await asyncio.Event().wait()  # a supervisor that has nothing new says nothing
        piece = self._whole[self._at : self._at + PIECE_BYTES]
        self._at += len(piece)
        return piece

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None:
        return None


async def session(folder: Path, raw: list[bytes]) -> float:
    mirror, device = Mirror(folder / f"{time.time_ns()}.journal"), Device(raw)
    began = time.perf_counter()
    talk = Session(device, SystemClock())
    talk.mirror = mirror
    await talk.record(lambda record: record.sequence == len(raw))
    took_s = time.perf_counter() - began
    await talk.close()
    mirror.close()
    return took_s


def plain(folder: Path, raw: list[bytes], every_bytes: int) -> float:
    fd = os.open(folder / f"{time.time_ns()}.raw", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, FILE_HEADER)
    began, unflushed = time.perf_counter(), 0
    for one in raw:
        os.write(fd, one)
        unflushed += len(one)
        if unflushed >= every_bytes:
            fsync_file(fd)
            unflushed = 0
    fsync_file(fd)
    return time.perf_counter() - began


def main(folder: str, who: str, count: str) -> None:
    place, raw = Path(folder), records(int(count))
    took_s = asyncio.run(session(place, raw)) if who == "session" else plain(place, raw, 1 if who == "plain" else PIECE_BYTES)
    print(took_s / len(raw) * 1e6)


if __name__ == "__main__":
    main(*sys.argv[1:])
