"""The guard: a process of its own that carries out programs, and takes them back whatever becomes of everybody else.

    supervisor ── JSON line over <runtime>/guard.sock ──► guard ══ a lock file ══ its twin, which waits for that lock
                                                            │
                                       one watch per program (watch.py): steps, deadline, undo

It is nobody's child, sits in the root cgroup and is not killed when memory runs out, where it may. Killed all the same, its twin
has the lock at that moment and is the guard. It ends by itself when no program is left.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Callable

from . import failpoints, programs
from .acts import Acts
from .guarded import FOLDER, SOCKET, lock_paths, open_lock, standing, unreached
from .journal import boot_id, boottime_ns
from .notes import Notes
from .programs import ARMED, FAILED, REVERTED
from .say import say, say_what_was_raised
from .watch import Surroundings, Watch, read_kept

IDLE_S = 5.0
LINE_LIMIT_BYTES = 4 << 20
REVERT_ANSWER_S = 45.0  # a revert that takes longer goes on, and its answer says so
STAGE_WAIT_S = 10.0  # how long a stage waits for the steps that are due with it
START_WAIT_S = 30.0  # … and whoever starts a program; half of what a renewal may be late
LOCK_TRIES, LOCK_PAUSE_S = 10, 0.02  # the lock is held for a moment by whoever looks whether there is a guard
JOURNAL_LIMIT_S = 30.0


class Guard:
    """All armed programs of one device. Verbs are the methods named `do_*`."""

    def __init__(self, state: str, runtime: str, why: str, reboot: Callable[[], None] | None = None) -> None:
        """Adopts what the disk holds. `why` this guard was started is noted in each journal that it opens."""
        folder = os.path.join(state, FOLDER)
        make_folder(folder)
        notes = Notes(os.path.join(state, "runs"), {"pid": os.getpid(), "why": why})
        acts = Acts(os.path.join(folder, "acts"), os.path.join(runtime, "guard.acts"))
        self.around = Surroundings(state, runtime, boot_id(), acts, notes, reboot or reboot_now)
        self._path = os.path.join(runtime, SOCKET)
        self._asking = 0  # requests under way
        self._ending = False
        self._twin: subprocess.Popen[bytes] | None = None
        notes.start()
        self._adopt()

    def _adopt(self) -> None:
        for kept in [*self._files(self.around.folder), *unreached(self.around.runtime)]:
            try:
                watch = Watch(self.around, kept)
                watch.remember()
            except Exception as error:  # it costs this one, and none of the others
                say(f"a program is left out: {type(error).__name__}: {error}")
                continue
            self.around.watches.setdefault(watch.program_name, watch)
            self.around.notes.open(watch.run_token)

    def _files(self, folder: str) -> list[dict[str, Any]]:
        """Every program on the disk; where the disk does not give it, what its mark says.

        What is no program is put aside: it was never whole, and nothing applied, or the disk has damaged it.
        """
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
        except OSError as error:
            say(f"{folder} cannot be read, so the marks count: {error}")
            return list(standing(self.around.runtime).values())
        found = []
        for name in names:
            try:
                found.append(read_kept(os.path.join(folder, name)))
                continue
            except OSError as error:
                say(f"{name} cannot be read: {error}")
            except Exception as error:
                say(f"{name} is put aside: {type(error).__name__}: {error}")
                self._put_aside(os.path.join(folder, name))
            found += [kept for marked, kept in standing(self.around.runtime).items() if f"{marked}.json" == name]
        return found

    def _put_aside(self, path: str) -> None:
        try:
            os.rename(path, path + ".damaged")
        except OSError as error:
            say(f"{path} cannot be put aside: {error}")

    def start_watches(self) -> None:
        for watch in list(self.around.watches.values()):
            watch.start()

    # ---- verbs ------------------------------------------------------------------------------------------

    def do_arm(
        self, program: Any, run: str, holder: str, renew_s: float, cap_s: float, elapsed_s: float, confirm_s: float,
        escalate: bool | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """The program's undo and deadlines are durable, and so is the note of it, when this answers. Nothing is applied yet.

        Raises ValueError where it is not armed, with what was wrong; nothing of it is left then. Without a word on `escalate` the
        device is rebooted for an undo that does not work, if nobody can reach it to do better.
        """
        programs.check(program, renew_s=renew_s, cap_s=cap_s, elapsed_s=elapsed_s, confirm_s=confirm_s)
        if escalate is not None and not isinstance(escalate, bool):
            raise ValueError(f"escalate: expected true or false, found {escalate!r}")
        escalate = program.get("severs_management", False) if escalate is None else escalate
        kept = {
            "program": program, "run": run, "holder": holder, "boot": self.around.boot, "armed_ns": boottime_ns(), "renew_s": renew_s,
            "cap_s": cap_s, "elapsed_s": elapsed_s, "confirm_s": confirm_s, "escalate": escalate,
        }  # fmt: skip
        watch = Watch(self.around, kept)
        if hot := watch.too_hot():
            raise ValueError(f"{watch.program_name} is not armed: {hot}")
        with self.around.changed:
            self.around.changed.wait_for(lambda: getattr(self._find(watch.program_name), "state", "") != REVERTED, 5)
            self._refuse_a_second(watch)
            self.around.watches[watch.program_name] = watch
        try:
            for wrong in self.around.acts.all(program["prepare"]):
                say(f"{watch.program_name} is prepared without: {wrong}")
            for seen in filter(None, map(self.around.acts.seen, program["signs"])):
                raise ValueError(f"something of {watch.program_name} is here already, and nobody has armed it: {seen}")
            self._or_refuse(self.around.notes.open(run).wait(JOURNAL_LIMIT_S))
            failpoints.reached("guard.arming")
            watch.keep()
            watch.mark()
            self._or_refuse(watch.note_armed().wait(JOURNAL_LIMIT_S))
        except BaseException as error:
            watch.go()
            if isinstance(error, OSError):
                raise ValueError(self._disk_refused(error)) from error
            raise
        failpoints.reached("guard.armed")
        watch.start()
        return {"armed": watch.program_name}

    def do_start(self, name: str) -> dict[str, Any]:
        """The program's time begins now; one that has begun goes on. What is due at once is done when this answers.

        Raises ValueError where it is not, with what was wrong. One that cuts the only path answers before it does.
        """
        with self.around.changed:
            watch = self._find(name)
            if watch is None:
                raise ValueError(f"no program {name!r} is armed here; armed are: {', '.join(sorted(self.around.watches)) or 'none'}")
            settled = watch.begin()
            if watch.severs:
                return {}
            if not self.around.changed.wait_for(settled, START_WAIT_S):
                raise ValueError(f"what is due at once of {name} is not done after {START_WAIT_S:g} s; it goes on")
            if watch.trouble():
                raise ValueError(watch.trouble())
        return {}

    def do_stage(self, stage: str, edge: str) -> dict[str, Any]:
        """Programs whose time begins with this begin; what is due at once is done when this answers, or `failed` says why not."""
        with self.around.changed:
            begun = [watch for watch in self.around.watches.values() if watch.state == ARMED and watch.begins_with(stage, edge)]
            settled = [watch.begin() for watch in begun]
            self.around.changed.wait_for(lambda: all(each() for each in settled), STAGE_WAIT_S)
            late = [f"program {watch.program_name} is not in effect yet" for watch, done in zip(begun, settled) if not done()]
            return {"begun": [watch.program_name for watch in begun], "failed": [*filter(None, map(Watch.trouble, begun)), *late]}

    def do_renew(self) -> dict[str, Any]:
        with self.around.changed:
            return {"renewed": [watch.program_name for watch in self.around.watches.values() if watch.renew()]}

    def do_revert(self, name: str, why: str) -> dict[str, Any]:
        """Answers when it is done, or given up for now, or after REVERT_ANSWER_S."""
        with self.around.changed:
            asked = [watch for watch in self.around.watches.values() if name in ("", watch.program_name) and watch.state != REVERTED]
            for watch in asked:
                watch.left = []
                watch.ask_to_revert(why)
            self.around.changed.wait_for(lambda: all(_settled(watch) for watch in asked), REVERT_ANSWER_S)
            return outcome(asked)

    def do_programs(self) -> dict[str, Any]:
        with self.around.changed:
            standing = [watch.said() for _, watch in sorted(self.around.watches.items())]
        return {"programs": standing, "guard": {"pid": os.getpid(), "alive": True}}

    def _find(self, name: str) -> Watch | None:
        return self.around.watches.get(name)

    def _refuse_a_second(self, new: Watch) -> None:
        """Raises ValueError where the name, or a resource, is another program's already."""
        for name, watch in self.around.watches.items():
            common = sorted(watch.takes() & new.takes())
            if name == new.program_name or (common and watch.state != REVERTED):
                raise ValueError(f"program {name} is {watch.state} here already{': both want ' + ', '.join(common) if common else ''}")

    def _or_refuse(self, wrong: str) -> None:
        if wrong:
            raise OSError(f"the guard's journal cannot be written: {wrong}")

    def _disk_refused(self, error: OSError) -> str:
        """One sentence on why nothing is armed, and what to do about a full disk."""
        do = f"; make room in {self.around.state}" if os.strerror(errno.ENOSPC) in str(error) else ""
        return f"nothing is armed, because the device's disk does not take it: {error}{do}"

    # ---- the process ------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Answers until no program is left for IDLE_S."""
        listener, idle = self._listen(), time.monotonic()
        while self._accept(listener) or self.around.watches or self._asking or time.monotonic() - idle < IDLE_S:
            if self.around.watches or self._asking:
                idle = time.monotonic()
                listener = listener if os.path.exists(self._path) else self._listen()
        if os.path.exists(self._path):
            os.unlink(self._path)
        listener.setblocking(False)
        if self._accept(listener):  # it came before the name was gone
            listener.close()
            self.serve()
            return
        self._ending = True
        listener.close()
        self.around.notes.settle(5)
        if self._twin is not None:
            self._twin.kill()
            self._twin.wait()

    def _accept(self, listener: socket.socket) -> bool:
        """Whether somebody came, and is being answered."""
        try:
            connection, _ = listener.accept()
        except (socket.timeout, BlockingIOError):
            return False
        with self.around.changed:
            self._asking += 1
        threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
        return True

    def _listen(self) -> socket.socket:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        if os.path.exists(self._path):
            os.unlink(self._path)
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(self._path)
        finally:
            os.umask(before)
        listener.listen(8)
        listener.settimeout(1.0)
        return listener

    def _answer(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(True)
            with connection, connection.makefile("rwb") as stream:
                connection.settimeout(JOURNAL_LIMIT_S)
                request = json.loads(stream.readline(LINE_LIMIT_BYTES) or b"{}")
                answer: dict[str, Any]
                try:
                    answer = {"ok": self.ask(request)}
                except Exception as error:
                    if not isinstance(error, ValueError):
                        say_what_was_raised()
                    answer = {"error": str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"}
                stream.write(json.dumps(answer).encode() + b"\n")
        except (OSError, ValueError) as error:
            say(f"whoever asked is gone: {error}")
        finally:
            with self.around.changed:
                self._asking -= 1

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carries out one request. `heard`: it comes from a coordinator, and so somebody has reached this device."""
        verb = str(request.pop("do", ""))
        method = getattr(self, f"do_{verb}", None)
        if method is None:
            raise ValueError(f"unknown request {verb!r} to the guard")
        if request.pop("heard", False):
            with self.around.changed:
                self.around.heard_ns = boottime_ns()
                self.around.changed.notify_all()
        answer: dict[str, Any] = method(**request)
        return answer

    def keep_a_twin(self) -> None:
        """Another twin, when this one was killed."""
        pause_s = 0.1
        while not self._ending:
            began = time.monotonic()
            if self._twin is not None:
                self._twin.wait()
            pause_s = 0.1 if time.monotonic() - began > 5 else min(5.0, pause_s * 2)
            time.sleep(pause_s)
            if not self._ending:
                self.start_a_twin()

    def start_a_twin(self) -> None:
        try:
            command = [*own_command(), "guard", self.around.state, self.around.runtime, "twin"]
            self._twin = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        except OSError as error:
            say(f"the guard has no twin: {error}")
            self._twin = None


def _settled(watch: Watch) -> bool:
    return watch.gone or watch.state == REVERTED or (watch.state == FAILED and bool(watch.left))


def outcome(watches: list[Watch]) -> dict[str, Any]:
    """Which were reverted, and what is left of the others."""
    done = [watch for watch in watches if watch.gone or watch.state == REVERTED]
    others = [watch for watch in watches if watch not in done]
    left = [f"{watch.program_name}: {seen}" for watch in others for seen in watch.left or ["its revert is still under way"]]
    return {"reverted": [watch.program_name for watch in done], "left": left}


def revert_here(state: str, runtime: str, name: str = "", *, why: str, only_other_boots: bool = False) -> dict[str, Any] | None:
    """Reverts programs in this very process: at boot, and by hand where no guard is. None when there is a guard to ask.

    Never reboots the device.
    """
    locks = take_lock(state, runtime, wait=False)
    if locks is None:
        return None
    try:
        guard = Guard(state, runtime, "boot" if only_other_boots else why)
        boot = guard.around.boot
        found = [watch for key, watch in sorted(guard.around.watches.items()) if name in ("", key) and watch.state != REVERTED]
        asked = [watch for watch in found if not only_other_boots or watch.standing().boot != boot]
        for watch in asked:
            watch.revert(programs.ANOTHER_BOOT if watch.standing().boot != boot else why, by_hand=True)
        guard.around.notes.settle(5)
        guard.around.acts.close()
        return outcome(asked)
    finally:
        release(locks)


def take_lock(state: str, runtime: str, *, wait: bool) -> list[int] | None:
    """Who holds these locks is the guard of these folders; its pid stands in the files. None: somebody else is.

    One of them cannot be opened on a dead disk; then the other is enough. Raises OSError where there is none at all.
    """
    held: list[int] = []
    for path in lock_paths(state, runtime):
        make_folder(os.path.dirname(path))
        lock = open_lock(path)
        if lock is None:
            continue
        held.append(lock)
        if not _locked(lock, wait):
            release(held)
            return None
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        except OSError:
            pass  # a full disk: the lock itself is what counts
    if not held:
        raise OSError(f"neither of {' and '.join(lock_paths(state, runtime))} can be opened")
    return held


def _locked(lock: int, wait: bool) -> bool:
    for number in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return True
        except OSError:
            if number + 1 < LOCK_TRIES:
                time.sleep(LOCK_PAUSE_S)
    return False


def release(locks: list[int]) -> None:
    for lock in locks:
        os.close(lock)


def make_folder(path: str) -> None:
    """Makes it, if the disk lets us; whoever needs it finds out."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        say(f"{path}: {error}")


def own_command() -> list[str]:
    return [sys.executable, os.path.abspath(sys.argv[0])]


def stand_apart() -> None:
    """Out of the cgroup of whoever started it, and not to be killed for want of memory: where this process may."""
    places = ["/proc/self/oom_score_adj"]
    values = ["-1000"]
    try:
        with open("/proc/self/cgroup") as file:
            for line in file.read().splitlines():
                _, controllers, path = line.split(":", 2)
                if path != "/":
                    places.append(os.path.join("/sys/fs/cgroup", controllers.replace("name=", ""), "cgroup.procs"))
                    values.append("0")
    except (OSError, ValueError):
        pass
    for place, value in zip(places, values):
        try:
            with open(place, "w") as file:
                file.write(value)
        except OSError:
            pass


def reboot_now() -> None:
    """At once, and without a file system's help: what was promised is on the disk. RUNNER_GUARD_REBOOT names a file to write instead."""
    instead = os.environ.get("RUNNER_GUARD_REBOOT")
    if instead:
        with open(instead, "a") as file:
            file.write("reboot\n")
        return
    for place, value in (("/proc/sys/kernel/sysrq", "1"), ("/proc/sysrq-trigger", "b")):
        try:
            with open(place, "w") as file:
                file.write(value)
        except OSError as error:
            say(f"{place}: {error}")
    try:
        subprocess.run(["/sbin/reboot", "-f"], stdin=subprocess.DEVNULL, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        say(f"this device cannot be rebooted: {error}")


def main(state: str, runtime: str, role: str) -> int:
    """`role`: "start" for a new guard, which is nobody's child when this returns; "twin" for one that waits until the guard is dead."""
    if role == "start":
        if os.fork():
            return 0
        os.setsid()
        if os.fork():
            os._exit(0)
    failpoints.play(role)
    stand_apart()
    if take_lock(state, runtime, wait=role == "twin") is None:
        return 0
    failpoints.play("guard")
    guard = Guard(state, runtime, "asked" if role == "start" else "its twin ended")
    if role == "twin" and not guard.around.watches:
        return 0
    guard.start_a_twin()  # before anybody can arm anything
    threading.Thread(target=guard.keep_a_twin, daemon=True, name="twin").start()
    guard.start_watches()
    guard.serve()
    return 0
