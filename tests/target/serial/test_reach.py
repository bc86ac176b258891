"""From a console's login to a conversation, over simulated lines whose far ends are real shells; and what can be wrong on the way."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError, LabError
from runner.target.conformance import check_transport
from runner.target.credentials import Secret
from runner.target.line_simulator import LineSimulator, Noise
from runner.target.serial import bootstrap, port
from runner.target.serial.console_log import ConsoleLog
from runner.target.serial.port import Address, holders, open_port
from runner.target.serial.reach import Reach
from runner.target.transports.base import LinkLost, LinkRefused
from runner.target.transports.serial import SerialTransport

GETTY = """
import getpass, os, sys
while True:
    user = input("\\nboard login: ")
    if not user:
        continue
    if user == "root" and getpass.getpass("Password: ") == "correct-horse":
        os.environ["PS1"] = "root@board:~# "
        os.execvp("sh", ["sh", "-i"])
    print("\\nLogin incorrect")
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of the far end: a home of its own, and this machine's programs, this Python first."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    return {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path), "PS1": "# "}


def transport(line: LineSimulator, tmp_path: Path, said: list[str] | None = None, password: str | None = None, baud: int = 115_200) -> Any:
    say = (said if said is not None else []).append
    secret = Secret(password) if password else None
    return SerialTransport(Reach("board", lambda: Address(line.path, baud), "", secret, say, ConsoleLog(tmp_path)))


def opened(transport: SerialTransport, story: Callable[[], Awaitable[None]] | None = None) -> None:
    async def life() -> None:
        try:
            async with asyncio.timeout(200):
                await transport.open()
                if story:
                    await story()
        finally:
            await transport.close()

    asyncio.run(life())


@pytest.mark.real
def test_it_conforms_from_a_login_on(tmp_path: Path, home: dict[str, str]) -> None:
    """A getty with a password, a noisy line, every promise of a transport; only the first of all openings carries the device's end over."""
    said: list[str] = []
    with LineSimulator([sys.executable, "-c", GETTY], Noise(seed=5, flips=2e-5), environment=home) as line:
        asyncio.run(check_transport(lambda: transport(line, tmp_path, said, "correct-horse")))
    assert len(said) == 1 and "kB through the console of board" in said[0]
    assert "board login:" in (tmp_path / "console.log").read_text(errors="replace")
    assert stat.S_IMODE((tmp_path / "console.log").stat().st_mode) == 0o600
    assert "correct-horse" not in (tmp_path / "console.log").read_text(errors="replace")


@pytest.mark.real
def test_a_damaged_device_end_is_replaced(tmp_path: Path, home: dict[str, str]) -> None:
    """What is found on the device is run only if it is whole; else it is carried over anew."""
    said: list[str] = []
    with LineSimulator(["sh", "-i"], environment=home) as line:
        opened(transport(line, tmp_path, said))
        (found,) = (tmp_path / ".cache").glob("stageflow-runner-*/line-*")
        whole = found.read_bytes()
        found.write_bytes(whole[:-1] + b"!")
        opened(transport(line, tmp_path, said))
        assert found.read_bytes() == whole
    assert len(said) == 2


@pytest.mark.real
@pytest.mark.parametrize("writable", [True, False], ids=["it takes it", "it cannot"])
def test_it_lies_where_it_outlives_a_cut(tmp_path: Path, home: dict[str, str], writable: bool) -> None:
    """In the folder that is known to last, which nobody else may read then; a home that is gone with each cut costs no second transfer.
    Where that folder cannot be, it lies in the home."""
    lasting, said = tmp_path / "data" / "it's here", list[str]()
    if not writable:
        lasting.parent.write_text("no folder")
    with LineSimulator(["sh", "-i"], environment=home) as line:
        for _ in range(2):
            reach = Reach("board", lambda: Address(line.path), "", None, said.append, ConsoleLog(tmp_path), str(lasting))
            opened(SerialTransport(reach))
    assert len(said) == 1
    place = lasting if writable else tmp_path / ".cache"
    assert len(list(place.glob("stageflow-runner-*/line-*"))) == 1
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.real
def test_a_transfer_that_broke_off_goes_on_where_it_was(tmp_path: Path, home: dict[str, str]) -> None:
    """Half of it is there already, and only the other half is announced."""
    said: list[str] = []
    with LineSimulator(["sh", "-i"], environment=home) as line:
        opened(transport(line, tmp_path, said))
        (found,) = (tmp_path / ".cache").glob("stageflow-runner-*/line-*")
        whole = found.read_bytes()
        found.with_name(found.name + ".part").write_bytes(whole[:-3000])
        found.unlink()
        opened(transport(line, tmp_path, said))
    assert "putting 3 kB" in said[1]


@pytest.mark.real
def test_a_device_that_reboots_is_reached_again(tmp_path: Path, home: dict[str, str]) -> None:
    """Through what a boot prints, close and open lead to a new conversation."""
    words = "print('U-Boot 2024.01')\nfor _ in range(30):\n print('[    0.1] many words of a kernel', flush=True)\n time.sleep(0.1)\n"
    boot = "import time\n" + words + GETTY  # for so long that the port is open again before they end

    async def story() -> None:
        line.reboot()
        await way.close()
        await way.open()
        assert (await way.run(["printf", "back"])).stdout == b"back"

    with LineSimulator([sys.executable, "-c", boot], environment=home) as line:
        way = transport(line, tmp_path, password="correct-horse")
        opened(way, story)
    assert "many words of a kernel" in (tmp_path / "console.log").read_text(errors="replace")


@pytest.mark.real
def test_a_device_whose_coordinator_was_killed_is_reached_again(tmp_path: Path, home: dict[str, str]) -> None:
    """No goodbye was said, and a command's output is under way, packet after packet that is no text: it is stopped, and not taken for
    another baud rate."""

    async def killed() -> None:
        stream = await way.stream(["cat", "/dev/urandom"])
        for _ in range(20):
            await stream.read()
        assert way._talk
        way._talk._end()

    async def story() -> None:
        assert (await again.run(["printf", "back"])).stdout == b"back"

    with LineSimulator(["sh", "-i"], environment=home) as line:
        way, again = transport(line, tmp_path), transport(line, tmp_path)
        opened(way, killed)
        opened(again, story)


@pytest.mark.real
def test_a_device_without_python_says_what_it_is_and_how_it_may_get_one(
    tmp_path: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A POSIX shell is enough to hear that."""
    monkeypatch.setattr(bootstrap, "PROBE", bootstrap.PROBE.replace("/usr/bin/python3 /usr/local/bin/python3", ""))
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "uname", "sed", "df", "tail", "stty"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    (tools / "apk").write_text("#!/bin/sh\n")
    (tools / "apk").chmod(0o755)
    with LineSimulator(["sh", "-i"], environment={**home, "PATH": str(tools)}) as line:
        with pytest.raises(LabError, match="board has no Python \\(Linux") as error:
            opened(transport(line, tmp_path))
        assert error.value.complaints[0].expected == "Python 3.9 or later"
        assert error.value.complaints[0].do == "apk add python3"


@pytest.mark.real
def test_another_baud_rate_is_named(tmp_path: Path, home: dict[str, str]) -> None:
    """A device that speaks 57,600 is recognised as such, with the address that is right."""
    with LineSimulator([sys.executable, "-c", GETTY], baud=57_600, environment=home) as line:
        with pytest.raises(LinkRefused, match="board speaks 57600 baud, and not 9600") as error:
            opened(transport(line, tmp_path, baud=9600))
        assert error.value.complaints[0].do.endswith(f"serial://{line.path}?baud=57600")


@pytest.mark.real
def test_a_shell_that_quotes_what_it_was_told_at_another_rate_is_recognised_too(tmp_path: Path, home: dict[str, str]) -> None:
    """Its first answer at the right rate would be about our noise, in our noise's bytes."""
    said = pytest.raises(LinkRefused, match="board speaks 115200 baud, and not 9600")
    with LineSimulator(["sh", "-i"], baud=115_200, environment=home) as line, said:
        opened(transport(line, tmp_path, baud=9600))


@pytest.mark.parametrize(
    ("rounds", "text"),
    [([b"\r\nboard login: "], True), ([b"", b"board login: "], True), ([b"", b""], False), ([b"\xf8\x80\x00\x80" * 4], False)],
    ids=["text", "text after a silence", "silence", "no text"],
)
def test_a_rate_is_judged_by_what_answers_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: list[bytes], text: bool) -> None:
    """A silence counts only once both rounds are over: a login that our noise at other rates disturbed sleeps before it asks again."""

    class Says:
        heard = b""

        async def write(self, keys: bytes) -> None:
            self.heard = rounds.pop(0)

        async def read(self, limit_s: float) -> bytes:
            heard, self.heard = self.heard, b""
            return heard

    monkeypatch.setattr("runner.target.serial.reach.LISTEN_S", 0.02)
    reach = Reach("board", lambda: Address(""), "", None, print, ConsoleLog(tmp_path))
    assert asyncio.run(reach._is_text(Says())) == text  # type: ignore[arg-type]
    assert not rounds


@pytest.mark.real
def test_a_device_that_boots_in_a_loop_is_told_over_a_real_line(tmp_path: Path, home: dict[str, str]) -> None:
    """LinkLost with how often and its last words: it may come up yet, so whoever has time asks again."""
    boot = "import time\nprint('U-Boot 2024.01')\ntime.sleep(0.3)\nprint('panic: no root')\ntime.sleep(0.3)\n"
    again = pytest.raises(LinkLost, match=r"boots again and again: \d+ times in \d+ s; the last words were: ")
    with LineSimulator([sys.executable, "-c", boot], environment=home) as line, again:
        opened(transport(line, tmp_path))


@pytest.mark.real
@pytest.mark.parametrize(("password", "said"), [("wrong", "refuses user root"), (None, "asks for the password of root, and none is known")])
def test_a_login_that_refuses_is_told_over_a_real_line(tmp_path: Path, home: dict[str, str], password: str | None, said: str) -> None:
    """LinkRefused with what to do, and the port is free again: no run waits for what waiting does not mend."""
    with LineSimulator([sys.executable, "-c", GETTY], environment=home) as line:
        with pytest.raises(LinkRefused, match=said) as error:
            opened(transport(line, tmp_path, password=password))
        assert "password" in error.value.complaints[0].do and "wrong" not in str(error.value)
        open_port(Address(line.path)).close()


@pytest.mark.real
@pytest.mark.parametrize("password", ["wrong-horse", "correct-horse"])
def test_a_password_that_the_line_echoes_is_kept_nowhere(tmp_path: Path, home: dict[str, str], password: str) -> None:
    """Refused or taken: `…` stands in the log where it was echoed, and no error has it."""
    with LineSimulator([sys.executable, "-c", GETTY], echo=True, environment=home) as line:
        if password == "correct-horse":
            opened(transport(line, tmp_path, password=password))
        else:
            with pytest.raises(LinkRefused, match="refuses user root") as error:
                opened(transport(line, tmp_path, password=password))
            assert "horse" not in str(error.value)
    log = (tmp_path / "console.log").read_text(errors="replace")
    assert "Password: …" in log and "horse" not in log


@pytest.mark.real
def test_a_device_end_that_is_killed_leaves_a_terminal_that_can_be_typed_into(tmp_path: Path, home: dict[str, str]) -> None:
    """SIGKILL, as of a kernel without memory: the shell behind it puts the terminal back, and the device is reached again."""

    async def story() -> None:
        before = termios.tcgetattr(line._far_tty)
        assert not before[0] & termios.ICRNL
        pid = int((await way.run(["sh", "-c", "echo $PPID"])).stdout)
        os.kill(pid, signal.SIGKILL)
        while not termios.tcgetattr(line._far_tty)[0] & termios.ICRNL:
            await asyncio.sleep(0.05)
        await way.close()
        await way.open()
        assert (await way.run(["printf", "back"])).stdout == b"back"

    with LineSimulator(["sh", "-i"], environment=home) as line:
        way = transport(line, tmp_path)
        opened(way, story)


@pytest.mark.real
def test_a_terminal_that_was_left_raw_is_reached(tmp_path: Path, home: dict[str, str]) -> None:
    """Whoever left it so: Enter does nothing there, and a line feed does."""
    with LineSimulator(["sh", "-i"], environment=home) as line:
        tty.setraw(line._far_tty)
        opened(transport(line, tmp_path))
        deadline = time.monotonic() + 60
        while not termios.tcgetattr(line._far_tty)[0] & termios.ICRNL:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.real
def test_a_line_that_was_only_disturbed_is_not_said_to_have_another_rate(
    tmp_path: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text at first, and then text, at the very rate that was written down: LinkLost, and whoever asks again gets through."""
    upper = {value: bytes((0x80 | value,)) for value in range(0x20, 0x7F)}
    with LineSimulator([sys.executable, "-c", GETTY], Noise(changes=upper), baud=115_200, environment=home) as line:
        is_text = Reach._is_text

        async def judged(reach: Reach, console: Any) -> bool:
            line.become(Noise())  # it is found to be no text by now, and no rate was tried yet
            return await is_text(reach, console)

        monkeypatch.setattr(Reach, "_is_text", judged)
        with pytest.raises(LinkLost, match="said at 115200 baud was no text, and now is"):
            opened(transport(line, tmp_path, password="correct-horse"))


@pytest.mark.real
def test_no_text_where_there_was_some_is_a_lost_line_and_no_rate_is_tried(
    tmp_path: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A boot's first loader at a rate of its own, or noise: whoever asks again gets through, and no key was typed at nine rates."""
    with LineSimulator(["sh", "-i"], environment=home) as line:
        way = transport(line, tmp_path)

        async def story() -> None:
            await way.close()
            line.become(Noise(changes={value: bytes((0x80 | value,)) for value in range(0x20, 0x7F)}))
            with pytest.raises(LinkLost, match="says at 115200 baud is no text, and was"):
                await way.open()
            line.become(Noise())
            await way.open()
            assert (await way.run(["printf", "back"])).stdout == b"back"

        monkeypatch.setattr(port.Port, "set_baud", None)
        opened(way, story)


# ---- the port -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no address"), ("pi-04.local", "no address"), ("serial://ttyUSB0", "no address"), ("serial:///dev/x?speed=9", "no address"),
        ("serial:///dev/x?baud=", "no baud rate"), ("serial:///dev/x?baud=fast", "no baud rate"),
        ("serial:///dev/x?baud=0", "no baud rate"),
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_with_an_example(text: str, wrong: str) -> None:
    """Before anything is opened."""
    with pytest.raises(AskError, match=wrong) as error:
        Address.parse(text)
    assert "serial:///dev/serial/by-id/NAME?baud=115200" in str(error.value)


def test_an_address_says_port_and_rate() -> None:
    """The rate is 115,200 unless it is said."""
    assert Address.parse("serial:///dev/serial/by-id/usb-FTDI_A:1?baud=9600") == Address("/dev/serial/by-id/usb-FTDI_A:1", 9600)
    assert Address.parse("serial:///dev/ttyUSB0") == Address("/dev/ttyUSB0", 115_200)


def test_a_port_in_use_is_said_to_be_so_and_by_whom() -> None:
    """By a process that locks it, and by one that only has it open: pid and command are in the sentence."""
    locks = "import fcntl, sys; fcntl.flock(0, fcntl.LOCK_EX)\n"
    with LineSimulator(["cat"]) as line:
        for code in (locks, ""):
            code += "print('here', flush=True); sys.stdin.read()" if code else "import sys; print('here', flush=True); sys.stdin.read()"
            fd = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
            other = subprocess.Popen([sys.executable, "-c", code], stdin=fd, stdout=subprocess.PIPE)
            os.close(fd)
            try:
                assert other.stdout and other.stdout.readline() == b"here\n"
                with pytest.raises(LinkRefused, match=f"is in use by process {other.pid} .*python"):
                    open_port(Address(line.path))
                assert other.pid in dict(holders(line.path))
            finally:
                other.kill()
                other.wait()
        open_port(Address(line.path)).close()


def test_a_child_that_is_just_being_forked_does_not_hold_the_port() -> None:
    """Whatever we start has our port for the moment before it is another program; on a busy machine that moment is long."""
    with LineSimulator(["cat"]) as line:
        before = open_port(Address(line.path))
        child = os.fork()
        if child == 0:
            signal.pause()
        try:
            before.close()
            assert any(os.stat(each).st_rdev == os.stat(line.path).st_rdev for each in Path(f"/proc/{child}/fd").iterdir())
            assert list(holders(line.path)) == []
            open_port(Address(line.path)).close()
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_silence_is_not_the_end_of_a_port() -> None:
    """A read that finds nothing says so, also after the rate was changed; b"" means that the adapter is gone."""
    with LineSimulator(["cat"]) as line:
        opened_port = open_port(Address(line.path))
        for baud in (115_200, 9600):
            opened_port.set_baud(baud)
            with pytest.raises(BlockingIOError):
                os.read(opened_port.fd, 100)
        opened_port.close()


@pytest.mark.parametrize("left", [3, 0])
def test_a_port_is_closed_without_waiting_for_what_was_not_sent(monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """The kernel would wait for it, half a minute on a line that takes nothing, and the event loop with it: it is dropped first. What was
    sent is not, though nobody may have read it yet behind an emulator's tty."""
    calls: list[int] = []
    with LineSimulator(["cat"]) as line:
        opened_port = open_port(Address(line.path))
        monkeypatch.setattr(termios, "tcflush", lambda fd, queue: calls.append(queue))
        monkeypatch.setattr(port, "unsent", lambda fd: left)
        opened_port._serial.close = lambda: calls.append(-1)  # type: ignore[method-assign]
        opened_port.close()
        os.close(opened_port.fd)
    assert calls == ([termios.TCOFLUSH, -1] if left else [-1])


def test_a_port_that_is_open_here_is_not_opened_twice() -> None:
    """Two runs of one process do not talk into each other's line."""
    with LineSimulator(["cat"]) as line:
        first = open_port(Address(line.path))
        with pytest.raises(LinkRefused, match="in use by this process, or"):
            open_port(Address(line.path))
        first.close()
        first.close()
        open_port(Address(line.path)).close()


def test_a_port_that_is_not_there_is_said_with_those_that_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LabError: it may come back. A file that is no port is said to be none."""
    monkeypatch.setattr(port, "ports", lambda: ["/dev/serial/by-id/usb-A"])
    with pytest.raises(LabError, match="there is no port") as error:
        open_port(Address(str(tmp_path / "ttyUSB7")))
    assert "/dev/serial/by-id/usb-A" in error.value.complaints[0].expected
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="is no serial port"):
        open_port(Address(str(tmp_path / "file")))


@pytest.mark.parametrize("call", ["tcgetattr", "tcsetattr", "tcflush", "our own"])
def test_a_port_that_goes_while_it_is_opened_is_trouble_of_the_lab(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """An adapter that goes again right after it came back: no refusal, and no error of ours; nothing stays open."""

    def gone(*given: object) -> None:
        raise termios.error(5, "Input/output error")

    with LineSimulator(["cat"]) as line, monkeypatch.context() as patched:
        before = len(os.listdir("/proc/self/fd"))
        patched.setattr(*((port.Port, "_tell_silence_from_the_end") if call == "our own" else (termios, call)), gone)
        with pytest.raises(LabError, match=r"cannot be opened: .*Input/output error") as error:
            open_port(Address(line.path))
        assert not isinstance(error.value, LinkRefused)
        patched.undo()
        assert len(os.listdir("/proc/self/fd")) == before
        open_port(Address(line.path)).close()


def test_a_port_that_goes_while_its_rate_is_changed_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's words; and of a port that is gone there are no holders to be named."""

    def gone(*given: object) -> None:
        raise termios.error(5, "Input/output error")

    with LineSimulator(["cat"]) as line:
        opened_port = open_port(Address(line.path))
        with monkeypatch.context() as patched:
            patched.setattr(termios, "tcsetattr", gone)
            with pytest.raises(LinkLost, match="does not take 9600 baud: Input/output error"):
                opened_port.set_baud(9600)
        opened_port.close()
    assert list(holders("/dev/ttyUSB-gone")) == []


@pytest.mark.parametrize(("mode", "gid"), [(0o660, 1), (0o600, 1), (0o660, 0)], ids=["a group's", "its owner's", "of root's group"])
def test_a_port_that_we_may_not_open_says_who_may(mode: int, gid: int) -> None:
    """A group that one can join, and what to type; where there is none its mode, and how udev changes that."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    with LineSimulator(["cat"]) as line:
        os.chown(line.path, 0, gid)
        os.chmod(line.path, mode)
        code = (
            "import os, sys, serial, serial.tools.list_ports\n"
            "from runner.target.serial.port import Address, open_port\n"
            "os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))\n"
            "open_port(Address(sys.argv[3]))"
        )
        nobody, group = pwd.getpwnam("nobody"), grp.getgrgid(gid).gr_name
        words = [sys.executable, "-c", code, str(nobody.pw_uid), str(nobody.pw_gid), line.path]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path.cwd())
    assert "may not be opened by user" in done.stderr
    assert (f"it is for the group {group}" in done.stderr) == (f"usermod -aG {group}" in done.stderr) == ((mode, gid) == (0o660, 1))
    assert (f"mode 0{mode:o}, owner 0 and group {group}" in done.stderr) == ("let udev" in done.stderr) == ((mode, gid) != (0o660, 1))


@pytest.mark.real
def test_a_run_goes_on_over_an_adapter_that_is_back_under_another_name(
    tmp_path: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pulled out in the middle: the line is lost, and opened again it is there, and says under which name."""

    class Adapter:
        vid, pid, location, serial_number = 0x0403, 0x6001, "1-1.2", "A1"

        def __init__(self, device: str) -> None:
            self.device = device

    said: list[str] = []
    with LineSimulator(["sh", "-i"], environment=home) as first, LineSimulator(["sh", "-i"], environment=home) as second:
        plugged = [first.path]
        monkeypatch.setattr(port, "_comports", lambda: [Adapter(path) for path in plugged])
        way = transport(first, tmp_path, said)

        async def story() -> None:
            first.hang_up()
            plugged[:] = [second.path]
            with pytest.raises(LinkLost, match="the port is gone"):
                await way.run(["true"])
            await way.open()
            assert (await way.run(["printf", "back"])).stdout == b"back"

        opened(way, story)
    assert said[-1] == f"the adapter of board is back under another name: {second.path}, it was {first.path}"


def test_an_adapter_that_returns_under_another_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it is: vendor, product, serial number; one without a number by its socket."""

    class Adapter:
        vid, pid, location = 0x0403, 0x6001, "1-1.2"

        def __init__(self, device: str, number: str | None) -> None:
            self.device, self.serial_number = device, number

    with LineSimulator(["cat"]) as line:
        monkeypatch.setattr(port, "_comports", lambda: [Adapter("/dev/ttyUSB1", "B2"), Adapter(line.path, "A1")])
        first = open_port(Address(line.path))
        assert first.adapter == port.Adapter("0403:6001 A1", "1-1.2", alone=True)
        first.close()
        again = open_port(Address("/dev/ttyUSB-gone"), first.adapter)
        assert again.path == line.path
        again.close()
        with pytest.raises(LabError, match="there is no port"):
            open_port(Address("/dev/ttyUSB-gone"), port.Adapter("0403:6001 C3", "1-1.2", alone=True))
        monkeypatch.setattr(port, "_comports", lambda: [Adapter(line.path, None)])
        assert port.adapter_of(line.path) == port.Adapter("0403:6001 ", "1-1.2", alone=False)


def test_another_adapter_under_the_known_name_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that have swapped their names are told apart; where ours is gone there is no port, whoever has its name."""

    class Adapter:
        vid, pid = 0x10C4, 0xEA60

        def __init__(self, device: str, number: str, location: str) -> None:
            self.device, self.serial_number, self.location = device, number, location

    def plugged(*adapters: Adapter) -> None:
        monkeypatch.setattr(port, "_comports", lambda: list(adapters))

    def known_at(path: str, known: port.Adapter | None = None) -> port.Adapter | None:
        opened_port = open_port(Address(path), known)
        opened_port.close()
        return opened_port.adapter

    def leads_to(path: str, known: port.Adapter | None) -> str:
        opened_port = open_port(Address(path), known)
        opened_port.close()
        return opened_port.path

    with LineSimulator(["cat"]) as one, LineSimulator(["cat"]) as two:
        plugged(Adapter(one.path, "A1", "1-1"), Adapter(two.path, "B2", "1-2"))
        known = known_at(one.path)
        assert known == port.Adapter("10c4:ea60 A1", "1-1", alone=True)
        plugged(Adapter(two.path, "A1", "1-1"), Adapter(one.path, "B2", "1-2"))
        assert leads_to(one.path, known) == two.path
        plugged(Adapter(one.path, "A1", "3-4"))
        assert leads_to(one.path, known) == one.path  # in another socket it is the same one
        plugged(Adapter(one.path, "B2", "1-2"))
        with pytest.raises(LabError, match=f"there is no port {one.path}"):
            open_port(Address(one.path), known)

        plugged(Adapter(one.path, "0001", "1-1"))
        alone = known_at(one.path)
        plugged(Adapter(two.path, "0001", "1-1"), Adapter(one.path, "0001", "1-2"))
        assert leads_to(one.path, alone) == two.path
        assert leads_to(one.path, known_at(one.path)) == one.path

        ours = known_at(two.path)  # and the other one of the same number is there
        plugged(Adapter(two.path, "0001", "1-1"))
        ours = known_at(two.path, ours)
        for name in (one.path, two.path):  # ours is gone, and the other one has a name of its own, or ours
            plugged(Adapter(name, "0001", "1-2"))
            with pytest.raises(LabError, match=f"there is no port {two.path}"):
                open_port(Address(two.path), ours)


def test_a_known_adapter_that_is_held_for_a_moment_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after hot-plug a port is root's alone, and then ModemManager's: it is lost, in the words of a refusal."""

    class Adapter:
        vid, pid, location, serial_number = 0x0403, 0x6001, "1-1.2", "A1"

        def __init__(self, device: str) -> None:
            self.device = device

    def said(error: pytest.ExceptionInfo[LabError]) -> tuple[object, ...]:
        return error.value.complaints

    with LineSimulator(["cat"]) as line:
        monkeypatch.setattr(port, "_comports", lambda: [Adapter(line.path)])
        first = open_port(Address(line.path))
        with pytest.raises(LinkRefused, match="is in use by") as refused:
            open_port(Address(line.path))
        with pytest.raises(LinkLost, match="is in use by") as lost:
            open_port(Address(line.path), first.adapter)
        assert said(refused) == said(lost)
        first.close()

        def forbidden(path: str) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(port, "_check", forbidden)
        with pytest.raises(LinkRefused, match="may not be opened by user") as refused:
            open_port(Address(line.path))
        with pytest.raises(LinkLost, match="may not be opened by user") as lost:
            open_port(Address(line.path), first.adapter)
        assert said(refused) == said(lost)


def test_a_refused_port_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five failures to log in, and no descriptor more than before: the port is free again."""

    async def no(self: object, *rest: object) -> None:
        raise LinkLost("no shell")

    monkeypatch.setattr("runner.target.serial.shell.Console.log_in", no)
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    with LineSimulator(["cat"]) as line:
        for _ in range(5):
            with pytest.raises(LinkLost, match="no shell"):
                opened(transport(line, tmp_path))
            open_port(Address(line.path)).close()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (before, threads)
