"""Logins in virtual time, against consoles made of what real ones print."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from runner.errors import LabError
from runner.target.credentials import Secret
from runner.target.serial.login import BOOTS, Login, S
from runner.target.transports.base import LinkLost, LinkRefused

STOP = b"~stop~"
KERNEL = b"[   12.345678] random: crng init done\r\n"
BOOT = (
    b"\r\nU-Boot 2024.01 (Jan 08 2024 - 15:37:48 +0000)\r\nDRAM:  1 GiB\r\nStarting kernel ...\r\n"
    b"[    0.000000] Booting Linux on physical CPU 0x0\r\n"
)


class Console:
    """A device's console: lines typed at it are echoed, and answered by what it stands at (login, password, shell, line)."""

    def __init__(self, at: str = "login", prompt: bytes = b"root@board:~# ", password: str = "", user: str = "root") -> None:
        self.at, self.prompt, self.password, self.user = at, prompt, password, user
        self.typed: list[bytes] = []
        self.chatter: Callable[[int], bytes] = lambda now_ns: b""
        self._line = b""

    def type(self, keys: bytes) -> bytes:
        said = b""
        for key in re.findall(rb"[^\r\x03\x04\x15]+|.", keys, re.DOTALL):
            if self.at == "line":
                self.at = "shell" if STOP in key else "line"
            elif key == b"\r":
                line, self._line = self._line, b""
                self.typed.append(line)
                said += b"\r\n" + self._answer(line)
            elif key in (b"\x03", b"\x15"):
                self._line = b""
            elif key != b"\x04":
                self._line += key
                said += b"" if self.at == "password" else key
        return said

    def _answer(self, line: bytes) -> bytes:
        if self.at == "login":
            if not line:
                return b"board login: "
            self.name, self.at = line, "password" if self.password or line != self.user.encode() else "shell"
            return b"Password: " if self.at == "password" else b"Last login: Thu Jan  1\r\n" + self.prompt
        if self.at == "password":
            right = (self.name, line) == (self.user.encode(), self.password.encode())
            self.at = "shell" if right else "login"
            return self.prompt if right else b"\r\nLogin incorrect\r\nboard login: "
        if self.at == "pager":
            self.at = "shell" if line == b"q" else "pager"
            return self.prompt if line == b"q" else b":"
        asked = re.search(rb"r\$\(\((\d+)\+(\d+)\)\)r", line)
        return (b"r%dr\r\n" % (int(asked[1]) + int(asked[2])) if asked else b"") + self.prompt


def log_in(console: Console, password: str | None = None, user: str = "root", limit_s: float = 300) -> Login:
    """Both together until the login is done, or has an error."""
    now = 0
    login = Login(user, Secret(password) if password is not None else None, now, (1234, 4321), STOP)
    while not (login.done or login.error) and now < limit_s * S:
        keys = login.due(now)
        now += S // 20
        said = (console.type(keys) if keys else b"") + console.chatter(now)
        if said:
            login.hear(said, now)
    return login


@pytest.mark.parametrize(
    "console",
    [
        Console("login"),
        Console("shell"),
        Console("shell", prompt=b""),
        Console("shell", prompt=b"\x1b[?2004h\x1b]0;root@board: ~\x07\x1b[01;32mroot@board\x1b[00m:\x1b[01;34m~\x1b[00m$ "),
        Console("pager"),
        Console("line"),
    ],
    ids=["login", "root prompt", "no prompt", "bracketed paste and colours", "a pager", "an earlier coordinator's conversation"],
)
def test_a_shell_is_reached_through(console: Console) -> None:
    """Each of these is no obstacle, without a password."""
    assert log_in(console).done


def test_a_login_prompt_is_answered_without_another_key() -> None:
    """Enter would only bring the same prompt again; one behind which somebody has spoken is asked for again."""
    fresh, spoken = Console("login"), Console("login")
    fresh.chatter = lambda now_ns: b"Debian 12 ttyS0\r\n\r\nboard login: " if now_ns == S else b""
    spoken.chatter = lambda now_ns: b"board login: " + KERNEL if now_ns == S else b""
    assert log_in(fresh).done and fresh.typed[0] == b"root"
    assert log_in(spoken).done and spoken.typed[:2] == [b"", b"root"]


def test_a_password_is_told_to_its_prompt_and_to_nothing_else() -> None:
    """Once, after the user's name; and its text is in no answer of the login."""
    console = Console("login", password="correct-horse")
    assert log_in(console, "correct-horse").done
    assert [line for line in console.typed if b"horse" in line] == [b"correct-horse"]


def test_a_prompt_for_somebody_elses_password_is_left_alone() -> None:
    """Whoever typed a name before us is asked for theirs: ours is not told, and we begin again at the login."""
    console = Console("login", password="correct-horse")
    console.type(b"admin\r")
    console.typed.clear()
    assert log_in(console, "correct-horse").done
    assert console.typed.index(b"root") < console.typed.index(b"correct-horse")


def test_kernel_messages_in_between_do_not_matter() -> None:
    """Behind the login prompt, between question and answer, at any time: a shell is reached."""
    console = Console("login", password="pw")
    console.chatter = lambda now_ns: KERNEL if now_ns // (S // 20) % 37 == 0 else b""
    assert log_in(console, "pw").done


def test_a_console_that_never_falls_silent_is_no_obstacle() -> None:
    """An autologin that says something ten times a second."""
    console = Console("shell")
    console.chatter = lambda now_ns: b"temperature=41.2\r\n" if now_ns // (S // 20) % 2 else b""
    assert log_in(console).done


def test_a_boot_is_waited_for() -> None:
    """A minute of a kernel's words, then a login: it is reached."""
    console = Console("boot")

    def boot(now_ns: int) -> bytes:
        if now_ns > 60 * S and console.at == "boot":
            console.at = "login"
            return b"\r\nDebian GNU/Linux 12 board ttyS0\r\n\r\nboard login: "
        return b"[    1.0] usb 1-1: new device\r\n" if console.at == "boot" and now_ns // (S // 20) % 20 == 0 else b""

    console.chatter = boot
    console._answer = (lambda line, answer=console._answer: b"" if console.at == "boot" else answer(line))  # type: ignore[method-assign]
    assert log_in(console).done


def test_a_boot_that_pauses_is_not_typed_into() -> None:
    """A kernel that has nothing to say for three seconds: nobody reads yet, and what is typed then would be a login's first answer."""
    console = Console("boot")

    def boot(now_ns: int) -> bytes:
        if now_ns == 4 * S:
            console.at = "login"
            return b"\r\nboard login: "
        return b"[    0.000000] Linux version 6.1\r\n" if now_ns == S else b""

    console.chatter = boot
    assert log_in(console).done
    assert console.typed[0] == b"root"


def test_a_boot_loader_that_counts_down_is_not_stopped() -> None:
    """Not a key is typed before the kernel has spoken, however long the pauses in which it waits for one."""
    console, loader = Console("boot"), b"\r\nU-Boot 2024.01\r\nHit any key to stop autoboot:  3 "
    typed: list[int] = []

    def boot(now_ns: int) -> bytes:
        at = now_ns // (S // 20)
        if at == 200:
            console.at = "shell"
            return b"\r\n[    0.000000] Linux version 6.1\r\n[    2.1] Run /sbin/init\r\n# "
        return {5: loader, 45: b"\x08\x08\x08 2 ", 85: b"\x08\x08\x08 1 ", 125: b"\x08\x08\x08 0 \r\nStarting kernel ...\r\n"}.get(at, b"")

    def type_(keys: bytes, original: Callable[[bytes], bytes] = console.type) -> bytes:
        typed.append(len(keys) if console.at == "boot" and not started else 0)
        return original(keys)

    started: list[bool] = []
    console.chatter = lambda now_ns: (started.append(True) if now_ns // (S // 20) == 125 else None) or boot(now_ns)
    console.type = type_  # type: ignore[method-assign]
    console._answer = (lambda line, answer=console._answer: b"" if console.at == "boot" else answer(line))  # type: ignore[method-assign]
    assert log_in(console).done
    assert sum(typed) == 0


def test_a_login_that_refuses_is_refused_and_the_password_is_not_quoted() -> None:
    """After two noes it is said, with what to look at; waiting does not help."""
    login = log_in(Console("login", password="right"), "wrong-horse")
    assert isinstance(login.error, LinkRefused)
    assert "refuses user root" in str(login.error) and "horse" not in str(login.error)


class Slow(Console):
    """A login that says no `no`, and so long after it was told."""

    def __init__(self, after_s: int, no: bytes = b"Login incorrect") -> None:
        super().__init__("login", password="right")
        self.after_s, self.no, self.now_ns, self.due_ns = after_s, no, 0, 0
        self.chatter = self._later

    def _answer(self, line: bytes) -> bytes:
        if self.at != "password":
            return b"" if self.due_ns else super()._answer(line)
        self.due_ns, self.at = self.now_ns + self.after_s * S, "login"
        return b""

    def _later(self, now_ns: int) -> bytes:
        self.now_ns = now_ns
        if not self.due_ns or now_ns < self.due_ns:
            return b""
        self.due_ns = 0
        return b"\r\n" + self.no + b"\r\nboard login: "


@pytest.mark.parametrize("after_s", [1, 3, 4, 8])
@pytest.mark.parametrize("no", [b"Login incorrect", b"Anmeldung fehlgeschlagen", b"\xe5\xaf\x86\xe7\xa0\x81"])
def test_a_login_that_sleeps_before_it_says_no_is_told_two_passwords_and_not_three(after_s: int, no: bytes) -> None:
    """BusyBox sleeps three seconds, others four: it is refused all the same, whatever its words are, and no account is locked by us."""
    console = Slow(after_s, no)
    login = log_in(console, "wrong-horse")
    assert isinstance(login.error, LinkRefused) and "refuses user root" in str(login.error)
    assert console.typed.count(b"wrong-horse") == 2


def test_a_no_counts_once_and_only_after_a_password() -> None:
    """A shell whose greeting speaks of refusals is a shell; of one password, two lines that say no are one refusal."""
    console = Console("login", password="right")
    greeting = b"cat: /etc/motd: Permission denied\r\n"
    console.prompt = greeting + greeting + console.prompt
    assert log_in(console, "right").done


@pytest.mark.parametrize("password", ["", "correct-horse"])
def test_a_login_prompt_under_a_kernel_that_never_falls_silent_is_answered(password: str) -> None:
    """It speaks twice a second: so are a name, and a password, where they are asked for."""
    console = Console("login", password=password)
    console.chatter = lambda now_ns: KERNEL if now_ns // (S // 20) % 10 == 0 else b""
    assert log_in(console, password or None).done


def test_text_of_any_language_is_text() -> None:
    """UTF-8 of which hardly a byte is ASCII, in pieces that end within letters: it is no other baud rate."""
    console, text = Console("shell"), "Καλώς ήρθατε στο σύστημα 欢迎使用本系统 добро пожаловать\r\n".encode()
    console.chatter = lambda now_ns: text[now_ns // (S // 20) * 5 % len(text) :][:5]
    assert log_in(console).done


def test_an_indented_grub_is_a_boot() -> None:
    """It centres its title: its pauses are a boot's, and not a key is typed into them."""
    console = Console("boot")
    console._answer = lambda line: b""  # type: ignore[method-assign]
    console.chatter = lambda now_ns: b"          GNU GRUB  version 2.06\r\n" if now_ns == S else b""
    log_in(console, limit_s=5)
    assert console.typed == []


def test_a_password_that_nobody_knows_is_said_to_be_missing() -> None:
    """With where it may be written."""
    login = log_in(Console("login", password="right"))
    assert isinstance(login.error, LinkRefused) and "serial_password" in str(login.error)


def test_a_device_that_boots_in_a_loop_is_recognised() -> None:
    """Long before the limit, with how often and its last words."""
    console = Console("boot")
    console._answer = lambda line: b""  # type: ignore[method-assign]
    console.chatter = lambda now_ns: BOOT if now_ns // (S // 20) % 160 == 5 else b""
    login = log_in(console)
    assert isinstance(login.error, LinkLost)
    assert re.search(rf"boots again and again: {BOOTS} times in \d+ s; the last words were: .*Booting Linux", str(login.error))


def test_one_boot_is_no_loop() -> None:
    """The negative control: U-Boot and the kernel of one boot count as less than a loop."""
    console = Console("shell")
    console.chatter = lambda now_ns: BOOT if now_ns == S else b""
    assert log_in(console).done


def test_text_of_another_baud_rate_is_recognised() -> None:
    """Bytes that are no text are said to be so, with their count; a few broken letters are not taken for them."""
    foreign, broken = Console("boot"), Console("shell")
    foreign._answer = lambda line: b""  # type: ignore[method-assign]
    foreign.chatter = lambda now_ns: bytes(0x80 | value * 37 & 0xFF for value in b"board login: ")
    login = log_in(foreign)
    assert isinstance(login.error, LinkRefused) and login.foreign and "no text" in str(login.error)
    broken.chatter = lambda now_ns: "Größe: 5 µm, Temperatur: 41,2 °C\r\n".encode() if now_ns // (S // 20) % 3 == 0 else b""
    assert log_in(broken).done


@pytest.mark.parametrize("countdown", [b"Hit any key to stop autoboot:  3 ", b""], ids=["that counts down", "that is silent"])
def test_a_boot_that_begins_with_no_text_is_not_typed_into(countdown: bytes) -> None:
    """A first loader at a rate of its own, or the noise of a UART without power, and then one at ours: not a key before the kernel."""
    console, noise = Console("boot"), bytes(range(0x80, 0xA0))
    console._answer = (lambda line, answer=console._answer: b"" if console.at == "boot" else answer(line))  # type: ignore[method-assign]
    typed_at: list[str] = []

    def boot(now_ns: int) -> bytes:
        at = now_ns // (S // 20)
        if at == 130:
            console.at = "shell"
            return b"\r\n[    0.000000] Linux version 6.1\r\n[    2.1] Run /sbin/init\r\n# "
        return {10: noise, 25: noise, 45: b"\r\nU-Boot 2024.01\r\n" + countdown}.get(at, b"")

    def type_(keys: bytes, original: Callable[[bytes], bytes] = console.type) -> bytes:
        typed_at.append(console.at)
        return original(keys)

    console.chatter = boot
    console.type = type_  # type: ignore[method-assign]
    assert log_in(console).done
    assert "boot" not in typed_at


def test_packets_of_a_conversation_that_nobody_is_in_are_stopped_and_not_taken_for_another_rate() -> None:
    """A coordinator was killed, and the device's end still asks for it: it is told to stop, and the shell is reached."""
    console = Console("line")
    console.chatter = lambda now_ns: bytes(range(0x80, 0x91)) if console.at == "line" and now_ns // (S // 10) % 10 == 0 else b""
    login = log_in(console)
    assert login.done and not login.error


def test_what_a_port_still_held_at_its_old_rate_is_not_held_against_the_device() -> None:
    """Sixty bytes of no text in the moment of opening: a shell is reached all the same."""
    login, console = Login("root", None, 0, (1, 2)), Console("shell")
    login.hear(bytes(range(0xA0, 0xDC)), S // 10)
    now = S // 10
    while not login.done and not login.error and now < 60 * S:
        now += S // 10
        if keys := login.due(now):
            login.hear(console.type(keys), now)
    assert login.done and not login.error


@pytest.mark.parametrize("says", [b"", b"U-Boot> "], ids=["mute", "a boot loader's prompt"])
def test_nobody_there_is_an_error_within_its_limit(says: bytes) -> None:
    """A dead wire, and what answers everything with the same prompt: the last words are in the sentence; what to look at of
    a silence, which another baud rate may be, too."""
    console = Console("shell")
    console.type = lambda keys: says  # type: ignore[method-assign]
    login = log_in(console)
    assert isinstance(login.error, LabError) and "no shell answered" in str(login.error)
    assert (says.decode() or "(nothing)").strip() in str(login.error)
    assert ("RX and TX are swapped" in str(login.error) and "baud rate" in str(login.error)) == (not says)


def test_an_echo_alone_is_no_shell() -> None:
    """A line whose other end sends everything back says nothing that a shell would."""
    console = Console("shell")
    console.type = lambda keys: keys  # type: ignore[method-assign]
    assert isinstance(log_in(console).error, LabError)
