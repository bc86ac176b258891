"""The device's end of a serial line: it has the login's terminal for itself, and runs commands for the coordinator's end.

    tty, raw ◄─► Conversation ◄─► children with pipes       python3 -m … line EPOCH [SILENCE_LIMIT_S]

It begins with `ready_words`, once the terminal is raw: before that, what the coordinator says would be edited,
echoed, or taken for ^C. It ends when the other end says goodbye, acknowledges nothing for two minutes, hangs up, or says `STOP` in the
clear (a new coordinator that does not know the epoch). Then the terminal is as it was, and the login shell is there again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import select
import signal
import subprocess
import termios
import time
import tty

from .channels import CLOSE, END, ERR, IN, OPEN, OUT, REFUSED, STARTED, Conversation, Message
from .reliable import Reliable

SILENCE_LIMIT_S = 120.0
STOP = b"~stop the serial line~"
READ_BYTES = 65536
AHEAD_BYTES = 8192  # read from a child before the line has taken it
LOOK_S = 0.02  # how soon a child that has said all is found to have ended
QUIET_S, HEAR_OUT_LIMIT_S = 0.3, 3.0  # when the other end has said all, once it is over
GRACE_S = 2.0  # for a command whose channel was closed, before it is killed
STUCK_LIMIT_S = 2.0  # for one that was killed: what a system call holds that nothing interrupts is left behind


def ready_words(epoch: bytes) -> bytes:
    """What this end prints once it listens. The command that starts it does not hold these words, so its echo is not them."""
    return b"line ready: " + hashlib.sha256(epoch).hexdigest()[:16].encode()


class Child:
    """One command, and what its channel has for its standard input."""

    def __init__(self, channel: int, argv: list[str], errors: bool) -> None:
        """Raises OSError or ValueError when it cannot be started."""
        self.channel = channel
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if errors else subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        assert self.process.stdin and self.process.stdout
        self.input, self.input_ends, self.input_open = bytearray(), False, True
        self.outputs = {OUT: self.process.stdout.fileno()}
        if self.process.stderr:
            self.outputs[ERR] = self.process.stderr.fileno()
        self.stdin = self.process.stdin.fileno()
        os.set_blocking(self.stdin, False)
        self.killed_at = 0.0

    def feed(self) -> int:
        """Writes what its input takes now; how many bytes are done with. One that does not want its input has its reasons."""
        done = 0
        try:
            if self.input_open and self.input:
                done = os.write(self.stdin, self.input)
                del self.input[:done]
        except BlockingIOError:
            pass
        except OSError:
            self.close_input()
        if not self.input_open:
            done += len(self.input)
            self.input.clear()
        elif self.input_ends and not self.input:
            self.close_input()
        return done

    def close_input(self) -> None:
        if self.input_open:
            self.input_open = False
            self.process.stdin.close()  # type: ignore[union-attr]

    def close(self) -> None:
        """Lets go of it: its pipes are closed, and it is killed in a while if it is still there."""
        self.close_input()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
        self.outputs.clear()
        self.killed_at = time.monotonic() + GRACE_S

    def gone(self) -> bool:
        """Whether a closed one has ended by now. After the grace all of its group is killed that it leads: it has a session of its own."""
        if self.process.poll() is None and time.monotonic() >= self.killed_at:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.poll() is not None


class Far:
    """The loop over the line and its children. Everything happens in `live`, in one thread."""

    def __init__(self, line: int, conversation: Conversation) -> None:
        self._line, self._conversation = line, conversation
        self._children: dict[int, Child] = {}
        self._leaving: list[Child] = []
        self._pending = b""  # of one packet, for the line

    def live(self) -> str:
        """Until the conversation is over; why it is. No child is left behind that can be killed."""
        try:
            while not self._conversation.lost:
                self._turn()
            return self._conversation.lost
        except InterruptedError as error:
            self._say_goodbye(str(error))
            return str(error)
        except OSError as error:
            return f"the line is gone: {error.strerror}"
        finally:
            self._let_go()

    def _turn(self) -> None:
        now = time.monotonic_ns()
        if self._conversation.reliable.silent(now):
            return
        self._pending = self._pending or self._conversation.due(now)
        channels = self._conversation.channels
        sources = {
            fd: (child, stream)
            for child in self._children.values()
            for stream, fd in child.outputs.items()
            if channels.waiting(child.channel, stream) < AHEAD_BYTES
        }
        targets = [child.stdin for child in self._children.values() if child.input_open and child.input]
        wait_s = max(0.0, (self._conversation.deadline_ns(now, bool(self._pending)) - now) / 1e9)
        if self._leaving or any(not child.outputs for child in self._children.values()):
            wait_s = min(wait_s, LOOK_S)
        readable, writable, _ = select.select([self._line, *sources], [*targets, *([self._line] if self._pending else [])], [], wait_s)
        if self._line in writable:
            with contextlib.suppress(BlockingIOError):
                self._pending = self._pending[os.write(self._line, self._pending) :]
        if self._line in readable:
            self._listen()
        for fd in readable:
            if fd in sources:
                self._read(*sources[fd], fd)
        for child in list(self._children.values()):
            self._look_after(child)
        self._leaving = [child for child in self._leaving if not child.gone()]

    def _listen(self) -> None:
        data = os.read(self._line, READ_BYTES)
        if not data:
            raise OSError(errno.EIO, "it was hung up")
        for message in self._conversation.receive(data, time.monotonic_ns()):
            self._heard(message)
        reliable = self._conversation.reliable
        if STOP.strip(b"~") in reliable.beside:
            reliable.lost = "somebody else wants the line"
        reliable.beside.clear()

    def _heard(self, message: Message) -> None:
        child = self._children.get(message.channel)
        if message.kind == OPEN:
            self._open(message)
        elif child is None:
            return  # it has ended meanwhile
        elif message.kind == IN:
            child.input += message.payload
        elif message.kind == END:
            child.input_ends = True
        elif message.kind == CLOSE:
            self._forget(child)

    def _open(self, message: Message) -> None:
        """Starts what an OPEN asks for, or refuses it with errno and its words."""
        try:
            asked = json.loads(message.payload)
            argv = [str(word) for word in asked["argv"]]
            self._children[message.channel] = Child(message.channel, argv, bool(asked["errors"]))
            self._conversation.channels.tell(message.channel, STARTED)
        except OSError as error:
            self._refuse(message.channel, error.errno or 0, error.strerror or "")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self._refuse(message.channel, 0, str(error))

    def _refuse(self, channel: int, number: int, why: str) -> None:
        self._conversation.channels.tell(channel, REFUSED, json.dumps([number, why[:200]]).encode())

    def _read(self, child: Child, stream: int, fd: int) -> None:
        """What a command says, if it is still ours: a CLOSE that was heard meanwhile has closed `fd`, which may be another one's now."""
        if self._children.get(child.channel) is not child or child.outputs.get(stream) != fd:
            return
        data = os.read(fd, READ_BYTES)
        if data:
            self._conversation.channels.write(child.channel, stream, data)
        else:
            del child.outputs[stream]
            self._conversation.channels.end(child.channel, stream)

    def _look_after(self, child: Child) -> None:
        """Its input is fed. Once it has ended and all that it said is under way, its status follows."""
        channels = self._conversation.channels
        done = child.feed()
        if done:
            channels.grant(child.channel, IN, done)
        said_all = not child.outputs and not any(channels.waiting(child.channel, stream) for stream in (OUT, ERR))
        if said_all and child.process.poll() is not None:
            channels.forget(child.channel)
            channels.exited(child.channel, child.process.returncode)
            child.close()
            del self._children[child.channel]

    def _forget(self, child: Child) -> None:
        child.close()
        self._conversation.channels.forget(child.channel)
        del self._children[child.channel]
        self._leaving.append(child)

    def _say_goodbye(self, why: str) -> None:
        """So that the other end need not wait for silence; what the line does not take at once stays unsaid."""
        self._conversation.reliable.bye(why)
        with contextlib.suppress(OSError):
            while not self._conversation.lost:
                os.write(self._line, self._pending + self._conversation.due(time.monotonic_ns()))
                self._pending = b""

    def _let_go(self) -> None:
        """Every command is ended; what is there still when grace and limit are over is left behind: the terminal is wanted."""
        for child in list(self._children.values()):
            self._forget(child)
        until = time.monotonic() + GRACE_S + STUCK_LIMIT_S
        while self._leaving and time.monotonic() < until:
            self._leaving = [child for child in self._leaving if not child.gone()]
            time.sleep(LOOK_S if self._leaving else 0)


def _be_raw(line: int) -> None:
    """As `tty` has it, and without an XOFF of the terminal's own when it has much to read: nobody heeds it, the window does its work."""
    tty.setraw(line)
    settings = termios.tcgetattr(line)
    settings[0] &= ~termios.IXOFF
    termios.tcsetattr(line, termios.TCSANOW, settings)


def _hear_out(line: int) -> None:
    """What is still on its way, the repetitions of a goodbye, is not left for the login shell to read as typed. Raises OSError."""
    until = time.monotonic() + HEAR_OUT_LIMIT_S
    while time.monotonic() < until and select.select([line], [], [], QUIET_S)[0] and os.read(line, READ_BYTES):
        pass


def _interrupt(number: int, frame: object) -> None:
    raise InterruptedError(errno.EINTR, f"it was told to end by signal {number}")


def main(argv: list[str]) -> int:
    """`line EPOCH [SILENCE_LIMIT_S]` on a terminal."""
    epoch, limit_s = bytes.fromhex(argv[0]), float(argv[1]) if len(argv) > 1 else SILENCE_LIMIT_S
    line = os.open(os.ttyname(0), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)  # anew: a login shell shares its own with us
    before = termios.tcgetattr(line)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        _be_raw(line)
        os.write(line, (b"\r\n" + ready_words(epoch) + b"\r\n") * 3)  # nothing repeats what a line may damage here
        why = Far(line, Conversation(Reliable(epoch, False, time.monotonic_ns(), limit_s))).live()
    finally:
        with contextlib.suppress(OSError):
            _hear_out(line)
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(line, termios.TCIOFLUSH)
            termios.tcsetattr(line, termios.TCSANOW, before)
    print(f"the serial line is a shell again: {why}", flush=True)
    return 0
