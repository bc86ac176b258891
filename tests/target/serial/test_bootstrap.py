"""What is typed into a shell to put the device's end there: on damaged lines, on full disks, and to devices that mislead."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shlex
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import LabError
from runner.ondevice.line import ready_words
from runner.target.serial import bootstrap
from runner.target.serial.bootstrap import CLEAR, FIND, PIECE_BYTES, PROBE, START_LIMITS_S, STUB, find_python, put, start
from runner.target.serial.shell import Console
from runner.target.transports.base import LinkLost

DATA = bytes(range(256)) * 8


class Device(Console):
    """A console in no time: `says` answers each line that is typed; where nothing comes, every limit has passed."""

    def __init__(self, says: Callable[[bytes], bytes]) -> None:
        super().__init__(-1, lambda data: None)
        self.says, self.typed, self.limits, self.heard = says, list[bytes](), list[float](), b""

    async def write(self, data: bytes) -> None:
        self.typed.append(data)
        self.heard += self.says(data)

    async def until(self, wanted: re.Pattern[bytes], limit_s: float, what: str) -> re.Match[bytes]:
        self.limits.append(limit_s)
        found = wanted.search(self.heard)
        if not found:
            raise LinkLost(f"waited {limit_s:g} s for {what}")
        self.heard = self.heard[found.end() :]
        return found


def putting(device: Device, baud: int = 115_200) -> str:
    return asyncio.run(put(device, "python3", DATA, "board", lambda words: None, baud))


def honest(damaged: dict[int, bytes] | None = None) -> Callable[[bytes], bytes]:
    """A stub that takes what follows on what it has; its answers of these numbers are damaged."""
    has, answers = 0, 0

    def says(typed: bytes) -> bytes:
        nonlocal has, answers
        words = typed.split()
        if len(words) == 3 and words[0] == b"%d" % has:
            has = min(has + PIECE_BYTES, len(DATA))
        answers += 1
        answer = (damaged or {}).get(answers, b"have=%d" % has)
        return b"\r\n" + (b"at=/there" if has == len(DATA) else answer) + b"\r\n"

    return says


def test_pieces_are_taken_though_answers_are_damaged() -> None:
    """One that speaks of too much, of too little, of nothing that it can have, or of nothing: it costs itself."""
    assert putting(Device(honest())) == "/there"
    assert putting(Device(honest({2: b"have=9000", 4: b"have=1", 6: b"h#ve=5", 8: b"have=999999999"}))) == "/there"


@pytest.mark.parametrize(
    ("answers", "said"),
    [([b"have=0", b"have=180"], "what cannot be"), ([b"have=180"], "refused one piece"), ([b"have=" + b"9" * 5000], "waited")],
    ids=["to and fro", "never more", "5000 digits"],
)
def test_a_device_that_leads_nowhere_is_given_up(answers: list[bytes], said: str) -> None:
    """After some tries, in words; no answer of it is an error of ours."""
    number = 0

    def says(typed: bytes) -> bytes:
        nonlocal number
        number += 1
        return b"\r\n" + answers[number % len(answers)] + b"\r\n"

    device = Device(says)
    with pytest.raises(LinkLost, match=said):
        putting(device)
    assert len(device.typed) < 200


def test_all_of_it_has_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """However willing the device seems; no second try begins behind it."""
    monkeypatch.setattr(bootstrap, "PUT_LIMIT_S", -1.0)
    device = Device(honest())
    with pytest.raises(LinkLost, match=r"has 0 of 2048 bytes .* the time for it is over"):
        putting(device, baud=0)
    assert len(device.typed) == 1


def test_an_exit_status_of_many_digits_is_no_error_of_ours() -> None:
    """Whatever a device prints there."""

    def says(typed: bytes) -> bytes:
        word = re.search(rb"echo '<'(\w+);", typed)
        return b"\r\n<%b\r\nwords\r\n%b>%b\r\n" % (word[1], b"9" * 5000, word[1]) if word else b""

    _, status = asyncio.run(Device(says).ask("true"))
    assert 0 <= status <= 999


@pytest.mark.parametrize("good", [1, 2, 3, 0])
def test_a_start_that_the_line_damaged_is_typed_again(good: int) -> None:
    """The line is cleared in between; the last try has the time that a slow board takes. After it, it is lost."""
    number = 0

    def says(typed: bytes) -> bytes:
        nonlocal number
        number += b"python3" in typed
        return b"\r\n" + ready_words(b"epoch") + b"\r\n" if number == good and b"python3" in typed else b""

    device = Device(says)
    if good:
        assert asyncio.run(start(device, "python3", DATA, b"epoch", "board"))
    else:
        with pytest.raises(LinkLost, match="waited 60 s for the device's end of the line to begin on board"):
            asyncio.run(start(device, "python3", DATA, b"epoch", "board"))
    tries = good or len(START_LIMITS_S)
    assert tuple(device.limits) == START_LIMITS_S[:tries]
    assert [keys == CLEAR for keys in device.typed] == [False, True] * (tries - 1) + [False]


def test_the_no_of_an_earlier_start_is_not_that_of_a_later_one() -> None:
    """It comes late, once the line was cleared."""
    number = 0

    def says(typed: bytes) -> bytes:
        nonlocal number
        number += b"python3" in typed
        return {CLEAR: b"\r\nno=line1\r\n"}.get(typed, b"\r\n" + ready_words(b"epoch") + b"\r\n" if number == 2 else b"")

    assert asyncio.run(start(Device(says), "python3", DATA, b"epoch", "board"))


# ---- what runs on the device ------------------------------------------------------------------------------------------------


class Shell(Device):
    """A shell of this machine that is asked."""

    def __init__(self, tools: Path) -> None:
        super().__init__(lambda typed: b"")
        self.tools = tools

    async def ask(self, command: str, limit_s: float = 10.0, tries: int = 3) -> tuple[str, int]:
        command = command.replace("/usr/bin/python3 /usr/local/bin/python3 ", "")  # this machine's own
        done = subprocess.run(["/bin/sh", "-c", command], env={"PATH": str(self.tools)}, capture_output=True, text=True, check=False)
        return done.stdout.strip("\n"), done.returncode


def python(tools: Path, name: str, version: str) -> None:
    patched = f"import sys; sys.version_info = ({version}); sys.executable = '$0'\n$2"
    (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} -S -c "{patched}"\n')
    (tools / name).chmod(0o755)


def test_a_python_that_is_new_enough_wins_over_an_older_one_before_it(tmp_path: Path) -> None:
    """3.7 stands first, and 3.11 behind it; where 3.7 is all there is, its version is said."""
    assert "/usr/bin/python3 /usr/local/bin/python3 " in PROBE
    python(tmp_path, "python3", "3, 7, 0")
    with pytest.raises(LabError, match=r"board has Python 3\.7 "):
        asyncio.run(find_python(Shell(tmp_path), "board"))
    python(tmp_path, "python3.11", "3, 11, 2")
    assert asyncio.run(find_python(Shell(tmp_path), "board")) == str(tmp_path / "python3.11")


FULL = """
import builtins, errno, os, sys
true_open = open
def open(path, mode="r"):
    file = true_open(path, mode)
    if mode == "wb" and path.startswith(sys.argv.pop()):
        file.close()
        raise OSError(errno.ENOSPC, "No space left on device")
    return file
"""


def found(home: Path, other: Path, full: str) -> str:
    """Where the device's end is to lie, and why nowhere; `full` is the folder in which there is no room."""
    assert '"/var/tmp","/tmp"' in FIND
    where = FIND.replace('"/var/tmp","/tmp"', repr(str(other)))
    code = FULL.replace("sys.argv.pop()", repr(full)) + where + "print(N, P)"
    environment = {**os.environ, "HOME": str(home)}
    argv = [sys.executable, "-S", "-c", code, "0" * 64, "1", ""]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_disk_that_is_full_is_passed_over_and_said(tmp_path: Path) -> None:
    """An empty file can be made there, and no byte of it: the next place is taken, and where there is none, it is said why."""
    home, other = tmp_path / "home", tmp_path / "other"
    at = f"stageflow-runner-{os.getuid()}/line-{'0' * 16}"
    assert found(home, other, "/nowhere") == f"place {home}/.cache/{at}"
    assert found(home, other, str(home)) == f"full {other}/{at}"
    assert found(home, other, str(tmp_path)) == "full None"
    assert not list(tmp_path.rglob(".try"))
    with pytest.raises(LabError, match="the disk of board is full"):
        putting(Device(lambda typed: b"\r\nno=full\r\n"))


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a disk that fills up")
def test_a_disk_that_fills_up_in_the_middle_is_said_to_be_full(tmp_path: Path) -> None:
    """It had room when it was asked: 40 kB, of 64 that are to come. The answer is not that its Python failed, and what came stays."""
    at = tmp_path / ".cache" / f"stageflow-runner-{os.getuid()}"
    stub = STUB.replace('"/var/tmp","/tmp"', "").replace("/var/tmp", str(tmp_path))
    run = shlex.join([sys.executable, "-S", "-c", stub, "0" * 64, "65536", ""])
    script = f"mount -t tmpfs -o size=40k none {shlex.quote(str(tmp_path))} && {run}; ls {shlex.quote(str(at))}"
    near, far = os.openpty()
    environment = {**os.environ, "HOME": str(tmp_path)}
    with subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdin=far, stdout=subprocess.PIPE, env=environment) as done:
        assert done.stdout
        said, piece = [""], bytes(PIECE_BYTES)
        for _ in range(65536 // PIECE_BYTES):
            while (line := done.stdout.readline().decode().strip()) == "":
                assert done.poll() is None
            said.append(line)
            if not line.startswith("have="):
                break
            os.write(near, b"%d %d %b\n" % (int(line[5:]), zlib.crc32(piece), base64.b64encode(piece)))
        left = done.stdout.read().decode().split()
    os.close(near)
    os.close(far)
    assert said[-1] == "no=full"
    assert int(said[-2].removeprefix("have=")) > 30_000
    assert left == ["line-" + "0" * 16 + ".part"]
