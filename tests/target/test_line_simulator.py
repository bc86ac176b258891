"""The line that this product ships for trying things: each option does what its page says, and nothing by itself."""

from __future__ import annotations

import contextlib
import os
import time
import tty

import pytest

from runner.target.line_simulator import LATE_S, LineSimulator, Noise, _Direction

CAT = ["cat"]
WORDS = bytes(range(256)) * 40


def opened(line: LineSimulator) -> int:
    """The near end; the far end's terminal leaves every byte as it is, whenever its command begins to read."""
    tty.setraw(line._far_tty)
    fd = os.open(line.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(fd)
    return fd


def heard(fd: int, until: bytes) -> bytes:
    said, deadline = b"", time.monotonic() + 60
    while until not in said:
        assert time.monotonic() < deadline, said
        with contextlib.suppress(BlockingIOError):
            said += os.read(fd, 4096)
        time.sleep(0.005)
    return said


@pytest.mark.parametrize("echo", [True, False])
def test_an_echo_is_what_was_asked_for(echo: bool) -> None:
    """All that the near end says comes back once more; without it only the far end answers."""
    with LineSimulator(CAT, echo=echo) as line:
        fd = opened(line)
        os.write(fd, b"words.")
        said = heard(fd, b"words.words." if echo else b"words.")
        os.write(fd, b"!")
        said += heard(fd, b"!!" if echo else b"!")
        os.close(fd)
    assert said.count(b"words.") == (2 if echo else 1)


def paced(looks_s: list[float], monkeypatch: pytest.MonkeyPatch, size: int = 4000) -> float:
    """How long a line of 1000 bytes a second takes for `size` bytes, in virtual time, when it is looked at with these delays in turn."""
    now = 100.0
    monkeypatch.setattr("runner.target.line_simulator.time.monotonic", lambda: now)
    source, put = os.pipe()
    os.set_blocking(source, False)
    os.write(put, bytes(size))
    way, looks = _Direction(source, -1, lambda data: data, 1000.0), 0
    while way.carried < size:
        now = max(way.open_at(), now) + looks_s[looks % len(looks_s)]
        looks += 1
        way.read()
    os.close(source)
    os.close(put)
    return way.open_at() - 100.0


def test_a_paced_line_keeps_its_pace_on_a_machine_that_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at in time, or late by less than it bears, it takes as long as its bytes do; and never less."""
    for looks_s in ([0.0], [0.001], [LATE_S / 2, *[0.0] * 9], [LATE_S * 0.9, *[0.0] * 19]):
        assert paced(looks_s, monkeypatch) == pytest.approx(4.0, abs=2 * LATE_S)
    assert paced([2 * LATE_S, *[0.0] * 29], monkeypatch) > 4.5  # the negative control: what is later than that has lost its time


def test_an_adapter_that_is_pulled_out_twice_is_gone_once() -> None:
    """Whoever has it open hears so, its path is gone, and the second time nothing happens."""
    with LineSimulator(CAT) as line:
        fd = opened(line)
        line.hang_up()
        line.hang_up()
        assert not os.path.exists(line.path)
        with contextlib.suppress(OSError):  # EIO, or the end
            assert os.read(fd, 100) == b""
        os.close(fd)


def test_one_seed_is_one_damage() -> None:
    """The same bytes in the same pieces meet the same; another seed is another damage, and none is none."""

    def damaged(seed: int, share: float = 1e-3) -> bytes:
        noise = Noise(seed=seed, flips=share, drops=share, inserts=share)
        return b"".join(noise(WORDS[at : at + 100]) for at in range(0, len(WORDS), 100))

    assert damaged(1) == damaged(1) != damaged(2)
    assert damaged(1) != WORDS == damaged(1, 0.0)
