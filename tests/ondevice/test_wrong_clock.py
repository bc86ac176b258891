"""A clock that is wrong: what it is set to, and what puts it right. No test sets the clock of the machine that it runs on."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from runner.judgement.clocks import DRIFT_STEP_S
from runner.ondevice import scarcity, wrong_clock
from runner.ondevice.journal import boot_id

S = 1_000_000_000
OFFSET = 1_790_000_000 * S


class Clocks:
    """Two clocks of a made-up machine, an hour after it was started."""

    def __init__(self) -> None:
        self.boot_ns, self.offset_ns = 3600 * S, OFFSET

    def set_realtime(self, clock: int, wall_ns: int) -> None:
        if wall_ns < self.boot_ns + S // 100:  # time went on since it was asked for
            raise OSError(22, "Invalid argument")  # as Linux says it
        self.offset_ns = wall_ns - self.boot_ns


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(wrong_clock, "boottime_ns", lambda: made.boot_ns)
    monkeypatch.setattr(time, "time_ns", lambda: made.boot_ns + made.offset_ns)
    monkeypatch.setattr(time, "clock_settime_ns", made.set_realtime)
    monkeypatch.setattr(wrong_clock, "drifting", lambda: 0)
    return made


@pytest.mark.parametrize(
    ("asked", "wall_s"),
    [
        ({"jump_s": -3600.0}, 1_790_000_000),
        ({"jump_s": 60.5}, 1_790_003_660.5),
        ({"to_s": 4294967295.0}, 4294967295),
        ({"to_s": 0.0}, 3600.2),  # a moment before the boot is the boot: it shows its own uptime, as nearly as the kernel takes it
        ({"jump_s": -4e9}, 3600.2),
    ],
)
def test_it_jumps_and_is_put_right(clocks: Clocks, asked: dict[str, float], wall_s: float) -> None:
    """To where it was asked; back by the boot-time clock, however long that took."""
    wrong_clock.make_wrong(OFFSET, asked)
    assert time.time_ns() == int(wall_s * S)
    assert wrong_clock.seen(OFFSET) != []
    clocks.boot_ns += 777 * S
    assert wrong_clock.put_right(OFFSET) == []
    assert time.time_ns() == OFFSET + clocks.boot_ns
    assert wrong_clock.seen(OFFSET) == []


def test_a_clock_that_somebody_else_sets_is_not_ours(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time server that puts it right at once: the act fails, so the fault was not reached."""
    monkeypatch.setattr(time, "clock_settime_ns", lambda clock, wall_ns: None)
    with pytest.raises(ValueError, match="somebody sets it, too"):
        wrong_clock.make_wrong(OFFSET, {"jump_s": -3600.0})


def test_another_boot_has_nothing_to_put_back(clocks: Clocks, capsys: pytest.CaptureFixture[str]) -> None:
    """The undo does nothing there, its sign is not seen, and nothing new is made wrong."""
    before = clocks.offset_ns = OFFSET + 5 * S
    assert wrong_clock.main(["back", "f" * 32, str(OFFSET)]) == 0
    assert wrong_clock.main(["shown", "f" * 32, str(OFFSET)]) == 0
    assert (clocks.offset_ns, capsys.readouterr().out) == (before, "")
    assert wrong_clock.main(["set", "f" * 32, str(OFFSET)]) == wrong_clock.FAILED


def test_the_acts(clocks: Clocks, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As the guard runs them, in this boot."""
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"jump_s": -60.0, "to_s": None, "drift_ppm": 0.0})))
    assert wrong_clock.main(["set", boot_id(), str(OFFSET)]) == 0
    assert wrong_clock.main(["shown", boot_id(), str(OFFSET)]) == 0
    assert "wrong: the clock is -60.0 s off" in capsys.readouterr().out
    assert wrong_clock.main(["back", boot_id(), str(OFFSET)]) == 0
    assert clocks.offset_ns == OFFSET
    assert wrong_clock.main(["back", boot_id()]) == wrong_clock.WRONG


def test_a_drift_has_one_process_which_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves the clock (here it only says to what), is found by its name, and is gone when it was stopped."""
    monkeypatch.setenv("RUNNER_STATE", str(tmp_path))
    said = tmp_path / "said"

    def say(offset: int) -> None:
        with said.open("a") as file:
            file.write(f"{offset}\n")

    monkeypatch.setattr(wrong_clock, "set_offset", say)
    assert wrong_clock.drifting() == 0
    wrong_clock.start_drift(OFFSET, 100_000.0)
    try:
        assert wrong_clock.drifting() > 1
        deadline = time.monotonic() + 30
        while (not said.exists() or len(said.read_text().split()) < 3) and time.monotonic() < deadline:
            time.sleep(0.01)
        offsets = [int(word) for word in said.read_text().split()]
        assert offsets == sorted(offsets)
        assert OFFSET <= offsets[0] < offsets[2] < OFFSET + 30 * S
        found = {wrong_clock.drifting() for _ in range(30)}
        assert len(found) == 1 and found.pop() > 1, "however often somebody looks"
    finally:
        assert wrong_clock.stop_drift()
    assert wrong_clock.drifting() == 0
    assert wrong_clock.stop_drift()


def test_two_clocks_are_read_at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look between whose two clocks the device was busy is none: the quietest of a few is taken, and no work lies within it."""
    boot_ns, looks = [3600 * S], iter([0, 300, 20, 0, 7, 7, 300, 300, 300, 300, 300])  # milliseconds that pass behind each reading

    def boottime_ns() -> int:
        now_ns = boot_ns[0]
        boot_ns[0] += next(looks, 0) * S // 1000
        return now_ns

    monkeypatch.setattr("runner.ondevice.journal.boottime_ns", boottime_ns)
    monkeypatch.setattr(time, "time_ns", lambda: boot_ns[0] + OFFSET)
    said = scarcity.both_clocks()
    assert abs(said["wall_ns"] - said["boottime_ns"] - OFFSET) < S // 1000


def test_the_judge_knows_the_step_of_a_drift() -> None:
    """By which a reading may be behind: two figures, because the judge takes nothing from whom it judges."""
    assert DRIFT_STEP_S == wrong_clock.STEP_S
