"""A serial line that is as bad as you like, without a cable: for the tests of this product, and for yours.

    with LineSimulator(["sh"], Noise(seed=1, flips=1e-4), baud=115_200) as line:      line.path is a tty like /dev/ttyUSB0

    you ─► line.path ══ pty ═╗                             ╔═ pty ══ the far end's process, on a terminal of its own
                             ╠═► paced, damaged, echoed ══►╣
                             ╚◄══ paced, damaged, chatter ◄╝

Each direction has chance of its own, from one seed: the same bytes, written in the same pieces, meet the same damage. The far end is
started again when it ends, as `getty` is. docs/line-simulator.md says what each option is like.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import math
import os
import pty
import random
import select
import subprocess
import termios
import threading
import time
import tty
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

TICK_S = 0.005  # how much of a paced line moves at once
READ_BYTES = 65536
LATE_S = 0.05  # by which we may be late, before a paced line has lost its time
END_LIMIT_S = 5.0
AWAY_LOOK_S = 0.02  # how soon it is seen that somebody opens the port


@dataclass
class Noise:
    """What one direction does to its bytes, by shares of them: flips a bit, drops it, puts another one behind it.

    `repeats` is a share of what arrives at once: it comes twice. `changes` is what arrives in place of a value, always.
    """

    seed: int = 0
    flips: float = 0.0
    drops: float = 0.0
    inserts: float = 0.0
    repeats: float = 0.0
    changes: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._ahead = self._distance()

    def __call__(self, data: bytes) -> bytes:
        if self.changes:
            data = b"".join(self.changes.get(value, bytes((value,))) for value in data)
        heard, at = bytearray(), 0
        while at + self._ahead < len(data):
            heard += data[at : at + self._ahead]
            at += self._ahead + 1
            heard += self._damaged(data[at - 1])
            self._ahead = self._distance()
        heard += data[at:]
        self._ahead -= len(data) - at
        return bytes(heard) * (2 if self.repeats and self._chance.random() < self.repeats else 1)

    def _distance(self) -> int:
        """How many bytes pass before the next one that does not."""
        rate = self.flips + self.drops + self.inserts
        return int(math.log(1 - self._chance.random()) / math.log(1 - rate)) if rate else 1 << 62

    def _damaged(self, value: int) -> bytes:
        kind = self._chance.random() * (self.flips + self.drops + self.inserts)
        if kind < self.flips:
            return bytes((value ^ 1 << self._chance.randrange(8),))
        return b"" if kind < self.flips + self.drops else bytes((value, self._chance.randrange(256)))


class _Direction:
    """Bytes from one descriptor to another, at the line's pace."""

    def __init__(self, source: int, target: int, noise: Callable[[bytes], bytes], bytes_per_s: float) -> None:
        self.source, self.target, self.noise = source, target, noise
        self.waiting = bytearray()
        self.carried = 0
        self._bytes_per_s, self._free_at = bytes_per_s, time.monotonic()
        self._backlog = False  # more was waiting at the last look than the line could take

    def open_at(self) -> float:
        """When the line takes the next byte."""
        return self._free_at

    def read(self) -> bytes:
        """What may enter the line now; it counts as on its way."""
        limit = max(1, int(self._bytes_per_s * TICK_S)) if self._bytes_per_s else READ_BYTES
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.source, min(limit, READ_BYTES))
            self.put(data, late_s=LATE_S if self._backlog else 0.0)
            self._backlog = len(data) == limit
            return data
        return b""

    def put(self, data: bytes, late_s: float = 0.0) -> None:
        """What had been waiting goes on where the line was, though we come up to `late_s` late: a busy machine makes no slower line."""
        self.carried += len(data)
        if self._bytes_per_s:
            self._free_at = max(self._free_at, time.monotonic() - late_s) + len(data) / self._bytes_per_s
        self.waiting += self.noise(data)

    def write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self.waiting[: os.write(self.target, self.waiting)]


class LineSimulator:
    """`far` is the command at the far end, on a terminal of its own; `chatter` is said by a second talker, over and over.

    Where its `environment` names a HOME it begins there, as after a login: what noise types into a shell may well be `> FILE`.
    `baud` 0 does not pace; else whoever opens the near end at another rate hears, and says, what is no text. With `echo` all that
    the near end says comes back to it as well.
    """

    def __init__(
        self,
        far: Sequence[str],
        noise: Noise | None = None,
        *,
        baud: int = 0,
        echo: bool = False,
        chatter: bytes = b"",
        chatter_interval_s: float = 1.0,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._argv, self._environment = list(far), environment
        self._echo, self._chatter, self._chatter_interval_s = echo, chatter, chatter_interval_s
        to_far, to_near = noise or Noise(), dataclasses.replace(noise or Noise(), seed=(noise or Noise()).seed + 1)
        self._near, near_tty = pty.openpty()
        self._far, self._far_tty = pty.openpty()
        self.path = os.ttyname(near_tty)
        tty.setraw(near_tty)  # before whoever opens it has done so, it would echo what is said, and the far end would take that for typed
        os.close(near_tty)  # so that nobody has the port before you do
        self._away_until = 0.0  # nobody has it open, as of the last look
        self._speed = getattr(termios, f"B{baud}") if baud else 0
        for fd in (self._near, self._far):
            os.set_blocking(fd, False)
        self._to_far = _Direction(self._near, self._far, self._sampled(to_far), baud / 10)
        self._to_near = _Direction(self._far, self._near, self._sampled(to_near), baud / 10)
        self._wake_read, self._wake_write = os.pipe()
        self._ended = False
        self._fresh = termios.tcgetattr(self._far_tty)
        self._process = self._start()
        self._thread = threading.Thread(target=self._live, name=f"line {self.path}", daemon=True)

    @property
    def carried_bytes(self) -> tuple[int, int]:
        """How many bytes went to the far end and to the near one, before they were damaged."""
        return self._to_far.carried, self._to_near.carried

    def reboot(self, words: bytes = b"") -> None:
        """The far end's process is killed and started anew on a fresh terminal; `words` are what a boot prints meanwhile."""
        self._process.kill()
        self._process.wait(END_LIMIT_S)
        self._to_near.put(words)
        os.write(self._wake_write, b"x")

    def become(self, noise: Noise) -> None:
        """From now on the line is like this; what is on its way has passed."""
        self._to_far.noise = self._sampled(noise)
        self._to_near.noise = self._sampled(dataclasses.replace(noise, seed=noise.seed + 1))

    def chat(self, words: bytes, interval_s: float = 1.0) -> None:
        """From now on the second talker says that; b"" silences it."""
        self._chatter_interval_s, self._chatter = interval_s, words

    def hang_up(self) -> None:
        """The near end's adapter is pulled out: whoever has it open hears that it is gone, and so is the path. Twice is once."""
        self._ended = True
        os.write(self._wake_write, b"x")
        self._thread.join(END_LIMIT_S)
        if self._near >= 0:
            os.close(self._near)
        self._near = -1

    def __enter__(self) -> LineSimulator:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.hang_up()
        self._process.kill()
        self._process.wait(END_LIMIT_S)
        for fd in (self._far, self._far_tty, self._wake_read, self._wake_write):
            os.close(fd)

    def _sampled(self, noise: Noise) -> Callable[[bytes], bytes]:
        """The noise, and what becomes of bytes that are read at another rate than they were written at."""

        def sampled(data: bytes) -> bytes:
            if self._speed and termios.tcgetattr(self._near)[5] != self._speed:
                data = bytes(0x00 if value % 4 == 0 else 0x80 | value * 37 & 0xFF for value in data)
            return noise(data)

        return sampled

    def _start(self) -> subprocess.Popen[bytes]:
        termios.tcsetattr(self._far_tty, termios.TCSANOW, self._fresh)
        return subprocess.Popen(
            self._argv,
            stdin=self._far_tty,
            stdout=self._far_tty,
            stderr=self._far_tty,
            env=self._environment,
            cwd=(self._environment or {}).get("HOME"),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def _live(self) -> None:
        directions = (self._to_far, self._to_near)
        says_at = time.monotonic() + self._chatter_interval_s
        while not self._ended:
            now = time.monotonic()
            if self._process.poll() is not None:
                self._process = self._start()
            if self._chatter and now >= says_at:
                self._to_near.put(self._chatter)
                says_at = now + self._chatter_interval_s
            away = now < self._away_until
            hungry = [each for each in directions if each.open_at() <= now and len(each.waiting) < READ_BYTES]
            later = [each.open_at() - now for each in directions if each.open_at() > now]
            readable, writable, _ = select.select(
                [*(each.source for each in hungry if not (away and each is self._to_far)), self._wake_read],
                [each.target for each in directions if each.waiting],
                [],
                min([*later, AWAY_LOOK_S if away else 0.1, *([max(0.0, says_at - now)] if self._chatter else [])]),
            )
            if self._wake_read in readable:
                os.read(self._wake_read, READ_BYTES)
            for each in directions:
                self._move(each, each.source in readable, each.target in writable)

    def _move(self, direction: _Direction, readable: bool, writable: bool) -> None:
        try:
            data = direction.read() if readable else b""
            if self._echo and direction is self._to_far and data:
                self._to_near.put(data)
            if writable:
                direction.write()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._away_until = time.monotonic() + AWAY_LOOK_S
            self._to_near.waiting.clear()  # what is said while nobody listens is not kept
