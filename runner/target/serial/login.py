"""Through whatever a console shows to a shell that does what it is told. Pure: bytes in, bytes out, time passed in.

    hear(bytes) ─► Login ─► due() ─► bytes to type          done: a shell answers      error: it will not, and why

What a prompt looks like is not guessed. A shell is there when a sum that we ask for comes back added up: that holds with any
prompt or none, with colours, with a kernel that talks in between and with a console that never falls silent, and an echo cannot
say it. Nothing is typed while a boot talks: a key would stop a boot loader. Only two prompts are looked for by their words,
because they want something else than a command: the login's, and the password's. A login that says no twice has said no; a boot
that begins three times is a loop; bytes that are no text, and no boot's noise, are another baud rate.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from typing import TYPE_CHECKING

from runner.errors import LabError
from runner.target.serial.hiding import INSTEAD, hidden
from runner.target.transports.base import LinkLost, LinkRefused, words

if TYPE_CHECKING:
    from runner.target.credentials import Secret

S = 1_000_000_000
QUIET_NS = 7 * S // 10  # without a word, after which the last line is taken for a prompt
LISTEN_NS = 12 * S // 10  # without a word, before anything is typed at all: a boot that is under way is not to be stopped by a key
BOOT_NS = 15 * S  # of words without a pause, after which it is no boot that talks
BOOTING = 4  # times as long are both, once a loader or a kernel has said that it boots: its pauses are longer than a prompt's
CHATTER_NS = 3 * S  # a console that does not fall silent is asked all the same
ANSWER_NS = 3 * S  # for what was typed, until something else is typed
PASSWORD_NS = 10 * S  # for a password: a login that says no sleeps before it does, three seconds, or four
SILENT_LIMIT_NS = 20 * S  # nothing was heard
LIMIT_NS = 180 * S  # much was heard, and nothing that helps
REFUSALS, BOOTS = 2, 3  # and so many passwords are told, whatever is said to them: a third one might lock the account
KEPT_BYTES = 4096
FOREIGN_CHARACTERS, FOREIGN_SHARE = 24, 0.3  # so many characters of which so many are no text: another baud rate
SETTLED_NS = 3 * S // 10  # what is heard before may have come at the rate that the port had before us
_FOREIGN = re.compile("[\x00-\x06\x0b\x0c\x10-\x1a\x1c-\x1f\x7f-\x9f\ufffd]")  # in no text, nor is what was no UTF-8 (U+FFFD)
_UNSEEN = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|\x1b[()][0-9A-B]|\x1b[=>78]|[\r\x00]")
_BEHIND = rb"\s*:[ \t]*(?:\Z|\[ *\d+\.\d+\] )"  # a prompt's colon: nothing comes behind it, or a kernel's words
_LOGIN = re.compile(rb"(?:login|user ?name|benutzername)" + _BEHIND, re.IGNORECASE)
_AT_LOGIN = re.compile(rb"(?:login|user ?name|benutzername)\s*:[ \t]*\Z", re.IGNORECASE)  # and nobody has spoken since
_PASSWORD = re.compile(rb"(?:password|passwort|passphrase|kennwort)[^:\n]{0,40}" + _BEHIND, re.IGNORECASE)
_NO = re.compile(rb"login incorrect|authentication failure|access denied|permission denied", re.IGNORECASE)
_COUNTDOWN = re.compile(rb"hit any key|press .{1,20} to (?:stop|interrupt|enter)|autoboot in", re.IGNORECASE)
_BOOT = re.compile(rb"\b(?:U-Boot 20|U-Boot SPL 20)\d\d|\] Linux version |Booting Linux on|^\s*GNU GRUB|^SeaBIOS")
# Enter; out of a program; out of a half-typed line or pager; out of an editor's question, or a shell in a shell; out of a terminal that
# is still raw, because the device's end was killed in it: there Enter is a line feed
_WAKES = (b"\r", b"\x03\r", b"\x15q\r", b"\n stty sane\n", b"\x04\r")


class Login:
    """`stop` ends the conversation of an earlier coordinator, should the device's end still be in one."""

    def __init__(self, user: str, password: Secret | None, now_ns: int, addends: tuple[int, int], stop: bytes = b"") -> None:
        self.done = False
        self.error: LabError | None = None
        self._user, self._password, self._stop = user, password, stop
        self._question = b" echo r$((%d+%d))r\r" % addends
        self._answer = b"r%dr" % sum(addends)
        self._line_now = b""  # the line that is being said, as far as it has come
        self._since = b""  # heard since something was typed
        self._began_ns = self._heard_ns = self._typed_ns = self._listens_ns = now_ns
        self._typed = "nothing"  # what last: nothing, wake, user, password, question
        self._wakes = self._refusals = self._passwords = 0
        self._told = False  # a password, and nothing was said to it yet
        self._stopped = False  # because what was heard is no text
        self._stages: Counter[bytes] = Counter()  # of a boot, each of which says so once: a loader, a kernel
        self._last_words = b""
        self._echoing = b""  # the line in which a password was typed, as it may be told, until it ends: its rest may be an echo
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = self._foreign = 0
        self._settled_ns = now_ns + SETTLED_NS

    def hear(self, data: bytes, now_ns: int) -> None:
        """Takes in what the console said."""
        self._heard_ns = now_ns if data else self._heard_ns
        text = self._decoder.decode(data)
        if now_ns >= self._settled_ns:
            self._characters += len(text)
            self._foreign += len(_FOREIGN.findall(text))
        heard = _UNSEEN.sub(b"", data)
        self._since = (self._since + heard)[-KEPT_BYTES:]
        *lines, rest = (self._line_now + heard).split(b"\n")
        for line in lines:
            self._line(line)
        self._line_now = rest[-KEPT_BYTES:]
        self._line_so_far(rest)

    def due(self, now_ns: int) -> bytes:
        """What is to be typed now, or b"". Call it again within a tenth of a second."""
        listened = self._listened(now_ns)
        if self.foreign and listened and self._stop and not self._stopped:
            return self._stop_once(now_ns)
        self._judge(now_ns, listened)
        if self.done or self.error or self.foreign or _COUNTDOWN.search(self._line_now):
            return b""
        quiet = now_ns - max(self._heard_ns, self._typed_ns) >= QUIET_NS
        if self._typed == "nothing" and not (quiet and _AT_LOGIN.search(self._line_now)):
            return self._type("wake", b"\r", now_ns) if listened else b""
        settled = quiet or now_ns - self._typed_ns >= CHATTER_NS  # a kernel that talks on behind a prompt does not hide it
        if settled and _LOGIN.search(self._since):
            return self._type("user", self._user.encode() + b"\r", now_ns)
        if settled and _PASSWORD.search(self._since):
            return self._at_password(now_ns)
        patience_ns = {"user": ANSWER_NS, "password": PASSWORD_NS}.get(self._typed, 0)
        if now_ns - self._typed_ns < patience_ns and not (quiet and self._line_now):
            return b""  # a login takes its time, and hates to be disturbed
        if self._typed == "question":
            return self._type("wake", self._next_wake(), now_ns) if now_ns - self._typed_ns >= ANSWER_NS else b""
        if settled:
            return self._type("question", self._question, now_ns)
        return b""

    def _listened(self, now_ns: int) -> bool:
        """Whether it was silent for so long, or spoke without a pause, that no boot is stopped by a key."""
        times = BOOTING if self._stages else 1
        pause_ns = now_ns - max(self._heard_ns, self._listens_ns)
        long = pause_ns >= times * LISTEN_NS or now_ns - self._listens_ns >= times * BOOT_NS
        return long and not _COUNTDOWN.search(self._line_now)

    # ---- what was said ---------------------------------------------------------------------------------------------------

    def _line(self, line: bytes) -> None:
        self._line_so_far(line)
        self._last_words = self._echoing or line.strip() or self._last_words
        self._echoing = b""
        if stage := _BOOT.search(line):
            self._stages[re.sub(rb"\d", b"", stage[0])] += 1
            self._typed, self._listens_ns = "nothing", self._heard_ns
            self._characters = self._foreign = 0  # it was the loader before this one, at a rate of its own, or noise
        if _NO.search(line) and self._told:
            self._refusals += 1
            self._told = False
            self._typed = "wake" if self._typed == "password" else self._typed

    def _line_so_far(self, line: bytes) -> None:
        self.done = self.done or self._answer in line

    def _judge(self, now_ns: int, listened: bool) -> None:
        """Whether it is time to say that this leads nowhere."""
        said = words(hidden(self._echoing or self._line_now.strip() or self._last_words, self._password)[-200:]) or "(nothing)"
        took_s = (now_ns - self._began_ns) / S
        if self.done or self.error:
            return
        if self._refusals >= REFUSALS:
            self.error = self._refused()
        elif (boots := max(self._stages.values(), default=0)) >= BOOTS:
            self.error = LinkLost(f"the device boots again and again: {boots} times in {took_s:.0f} s; the last words were: {said}")
        elif self.foreign and listened:
            self.error = LinkRefused(f"what arrives is no text: {self._foreign} of {self._characters} characters")
        elif now_ns - max(self._heard_ns, self._began_ns) >= SILENT_LIMIT_NS:
            self.error = LinkLost(
                f"no shell answered, and nothing was heard for {SILENT_LIMIT_NS // S} s; the last words were: {said}",
                do="look at its power, whether RX and TX are swapped, whether it has a console there, and at another baud rate",
            )
        elif took_s >= LIMIT_NS / S:
            self.error = LinkLost(f"no shell answered within {took_s:.0f} s; the last words were: {said}")

    def _refused(self) -> LinkRefused:
        return LinkRefused(f"the login refuses user {self._user}", do="check the user in the inventory, and the password (docs/serial.md)")

    @staticmethod
    def foreign_share(data: bytes) -> float:
        """How much of this no console prints, as a share of its characters: text at another baud rate is full of it."""
        text = data.decode("utf-8", "replace")
        return len(_FOREIGN.findall(text)) / max(1, len(text))

    @property
    def foreign(self) -> bool:
        """Whether it is no text that is heard: so is text at another baud rate."""
        return self._foreign >= FOREIGN_CHARACTERS * FOREIGN_SHARE and self._foreign >= self._characters * FOREIGN_SHARE

    # ---- what is typed -----------------------------------------------------------------------------------------------------

    def _at_password(self, now_ns: int) -> bytes:
        if self._typed != "user":  # it asks for somebody else's, whose name was never typed: past it
            return self._type("wake", b"\r", now_ns)
        if self._password is None:
            self.error = LinkRefused(
                f"the login asks for the password of {self._user}, and none is known",
                do="say it as `serial_password`: see docs/credentials.md",
            )
            return b""
        if self._passwords >= REFUSALS:
            self.error = self._refused()
            return b""
        self._passwords += 1
        self._told, self._echoing = True, self._line_now.strip() + INSTEAD
        return self._type("password", self._password.reveal().encode() + b"\r", now_ns)

    def _stop_once(self, now_ns: int) -> bytes:
        """Packets are no text either: the device's end may be in the conversation of a coordinator that is gone. What comes behind
        this is judged anew."""
        self._stopped, self._listens_ns = True, now_ns
        self._characters = self._foreign = 0
        self._settled_ns = now_ns + SETTLED_NS
        return self._type("wake", self._stop + b"\r", now_ns)

    def _next_wake(self) -> bytes:
        self._wakes += 1
        return (self._stop if self._wakes % len(_WAKES) == 2 else b"") + _WAKES[self._wakes % len(_WAKES)]

    def _type(self, what: str, keys: bytes, now_ns: int) -> bytes:
        self._typed, self._typed_ns, self._since = what, now_ns, b""  # a prompt is answered once
        return keys
