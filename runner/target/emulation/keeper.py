"""The keeper: a small process that owns QEMU and the disk server of one board, and outlives its coordinator.

    coordinator ── keeper.sock, one JSON object per line ──> keeper ─┬─> nbdkit
         (may be killed: the board stays on)                         └─> QEMU   (both die with the keeper)

The board goes off when it is told to, or when nobody has renewed the lease in time; then nothing remains but files.

A cut is exactly: freeze QEMU (SIGSTOP), kill the disk server (its volatile cache is lost), kill QEMU. QMP `stop` and
`quit` flush, so neither is used before a cut; `quit` is used by `off`, which is an orderly close.

Started as `python -m runner.target.emulation.keeper --board DIR --token T --lease S`; DIR/keeper.json says the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from runner.disk_log import DiskLogReader
from runner.errors import LabError, RunnerError
from runner.ondevice.heater import Threads
from runner.ondevice.quota import sweep
from runner.target.emulation.disk import nbdkit_arguments
from runner.target.emulation.heater import SENSORS, Heater
from runner.target.emulation.machine import Wiring, free_port, qemu_arguments, tool_version
from runner.target.emulation.messages import CONFIG, DISK, DISK_LOG, FENCE, LOCK, SOCKET, Config, CutFacts, Moment, Reply
from runner.target.emulation.processes import (
    STOP_LIMIT_S,
    Process,
    ended,
    kill_leftovers,
    spawn,
    status_text,
    stopped,
    until,
    write_down,
)
from runner.target.emulation.tap import Tap, open_tap

LISTED_WRITES, CUT_WRITES = 4096, 64
NO_NETWORK = "this machine has no network"
LOOKING = ("facts", "disk")  # verbs that change nothing


def lease_is_over(now_s: float, ends_s: float) -> bool:
    """Whether a lease that ends at `ends_s` has run out at `now_s` (both on the boot-time clock)."""
    return now_s >= ends_s


class Keeper:
    """One board's power. Every verb leaves either both processes running or neither.

    The host's end of the data NIC outlives both: whoever serves there is not cut off because the board is.
    """

    def __init__(self, config: Config, token: str, lease_s: float) -> None:
        self._config = config
        self._token = token
        self._nbd_socket = Path(f"nbd-{token}.sock")
        self._lease_s = lease_s
        self._lease_ends_s = Moment.now().boottime_s + lease_s
        self._machine: Process | None = None
        self._disk: Process | None = None
        self._tap: Tap | str = "not powered on yet"
        self._port = 0
        self._line = ""  # the host's tty on which the board offers a login
        self._power_ons = 0
        self._on_since: Moment | None = None
        self._last_end = ""
        self._log = DiskLogReader(Path(DISK_LOG))
        self._one_at_a_time = asyncio.Lock()
        self._over = asyncio.Event()
        self._fence = read_fence()
        self._processors: tuple[Process, list[int]] | None = None  # QEMU, and which of its threads are the board's
        self._heater = Heater(self._threads, say)
        self._verbs: dict[str, Callable[[Reply], Awaitable[Reply]]] = {
            "on": self.on, "cut": self.cut, "off": self.off,
            "renew": self.renew, "keep_on": self.keep_on, "facts": self.facts, "disk": self.disk,
            "heat": self.heat, "warm": self.warm, "cool": self.cool,
        }  # fmt: skip

    # --- A life

    async def run(self) -> None:
        """Serve until `off`, SIGTERM or the end of the lease; then nothing of this board is left running."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._over.set)
        os.umask(0o077)
        Path(SOCKET).unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, SOCKET)
        say(f"keeper {os.getpid()} of {self._config.name}: serving, lease {self._lease_s:g} s")
        waiting = asyncio.create_task(self._over.wait())
        try:
            while not self._over.is_set():
                await self._look_after()
                await asyncio.wait({waiting}, timeout=0.25)
        finally:
            server.close()
            async with self._one_at_a_time:
                await self._heater.end("the keeper ends")
                await self._power_off()
            if isinstance(self._tap, Tap):
                self._tap.close()
            Path(SOCKET).unlink(missing_ok=True)
            say("keeper ends; the board is off")

    async def _look_after(self) -> None:
        """One look: is the lease over, and did the machine end by itself (a guest's poweroff, or a crash)?"""
        if lease_is_over(Moment.now().boottime_s, self._lease_ends_s):
            say(f"nobody renewed the lease of {self._lease_s:g} s")
            self._over.set()
        else:
            async with self._one_at_a_time:
                await self._notice_end()

    async def _notice_end(self) -> None:
        if self._on_since is not None and not self._both_run():
            ends = f"QEMU {status_text(self._machine)}, disk server {status_text(self._disk)}"
            self._last_end = f"ended by itself: {ends}"
            say(self._last_end)
            await self._power_off()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: answer each line until the other side leaves."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):  # ValueError: a line beyond the stream's limit
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Reply:
        """The reply to one request; errors become replies, because a bad request must not cost a board its power."""
        try:
            request = json.loads(line)
            verb = self._verbs[request["verb"]]
        except (ValueError, KeyError, TypeError):
            return {"error": f"not a request: {line[:80]!r}; verbs: {', '.join(self._verbs)}"}
        try:
            async with self._one_at_a_time:
                if self._over.is_set():
                    raise LabError("the keeper is about to end")
                await self._notice_end()
                if request["verb"] not in LOOKING:
                    self._admit(int(request["fence"]))
                return await verb(request)
        except (RunnerError, OSError, ValueError, KeyError, TypeError) as error:
            found = error.complaints[0].found if isinstance(error, RunnerError) else repr(error)
            say(f"{request['verb']} failed: {found}")
            return {"error": found}

    def _admit(self, fence: int) -> None:
        """Whoever acts comes with the fence of its lease. Raises LabError for one that is over; a higher one is durable first."""
        if fence < self._fence:
            remedy = f"if the lease file was removed by hand, remove {Path(FENCE).absolute()}, too"
            raise LabError(f"fence {fence} is over: fence {self._fence} was granted since, and this board is its holder's ({remedy})")
        if fence > self._fence:
            write_fence(fence)
            self._fence = fence

    # The verbs

    async def on(self, _: Reply) -> Reply:
        """Disk server, then machine; changes nothing when the board is on. After a failure the board is off."""
        if not self._both_run():
            await self._power_off()
            await self._start()
            self._power_ons += 1
            self._on_since = Moment.now()
            self._last_end = ""
            say(f"power on {self._power_ons}: " + (f"SSH at 127.0.0.1:{self._port}" if self._port else f"a login at {self._line}"))
        return {"port": self._port, "line": self._line, "power_ons": self._power_ons}

    async def cut(self, _: Reply) -> Reply:
        """Cut the power; LabError when it was not on. Afterwards the board is off and `on` works again."""
        machine, disk = self._machine, self._disk
        if machine is None or disk is None or not self._both_run():
            raise LabError(f"the board is not on, so its power cannot be cut; {self._last_end or 'never was on'}")
        machine.send_signal(signal.SIGSTOP)
        await until(lambda: stopped(machine.pid), machine, "the frozen QEMU")
        frozen_at = Moment.now()
        disk.kill()
        disk_killed_at = Moment.now()
        machine.kill()
        machine_killed_at = Moment.now()
        disk_status, machine_status = await ended(disk), await ended(machine)
        log = self._log.read()
        facts = CutFacts(
            frozen_at, disk_killed_at, machine_killed_at, log.writes, log.flushes, log.flushes_unanswered,
            len(log.uncovered), sum(each.length for each in log.uncovered), log.uncovered[:CUT_WRITES],
            -disk_status, -machine_status,
        )  # fmt: skip
        self._last_end = f"cut at {frozen_at.wall_s:.3f}"
        await self._power_off()
        say(f"cut: {facts.writes} writes, {facts.flushes} flushes, {facts.writes_lost_count} writes lost")
        return asdict(facts)

    async def off(self, _: Reply) -> Reply:
        """An orderly close; then the keeper ends."""
        await self._power_off()
        self._over.set()
        return {"off": True}

    async def renew(self, request: Reply) -> Reply:
        """The lease runs at least `seconds` from now, and the heat its own time: nobody's sign of life shortens what somebody was
        promised."""
        self._heater.renew()
        return self._granted(float(request["seconds"]), self._lease_ends_s)

    async def keep_on(self, request: Reply) -> Reply:
        """The lease runs exactly `seconds` from now."""
        return self._granted(float(request["seconds"]), 0.0)

    def _granted(self, seconds: float, not_before_s: float) -> Reply:
        self._lease_s = seconds
        self._lease_ends_s = max(Moment.now().boottime_s + seconds, not_before_s)
        return {"seconds": seconds}

    async def heat(self, request: Reply) -> Reply:
        """Heat over the board until `cool`, its own end, or for want of renewal; LabError where this host cannot do it."""
        return await self._heater.begin(request["told"])

    async def warm(self, _: Reply) -> Reply:
        """The time of a heat that waits begins."""
        return self._heater.warm()

    async def cool(self, _: Reply) -> Reply:
        """The board is as fast as it was when this returns; what is left all the same is in `left`."""
        return {"left": await self._heater.end(), "heat": self._heater.facts()}

    async def facts(self, _: Reply) -> Reply:
        """What is known about the board and its tools; changes nothing."""
        config, on, owned = self._config, self._both_run(), {"qemu": self._machine, "nbdkit": self._disk}
        return {
            "name": config.name, "on": on, "on_since": asdict(self._on_since) if self._on_since else None,
            "power_ons": self._power_ons, "last_end": self._last_end, "port": self._port if on else None,
            "spec": asdict(config.spec), "accelerator": config.accelerator.name,
            "accelerator_reason": config.accelerator.reason,
            "image_digest": config.image.digest, "packages": config.image.packages,
            "qemu_version": tool_version(f"qemu-system-{config.spec.arch}"), "nbdkit_version": tool_version("nbdkit"),
            "data_nic": "tap" if isinstance(self._tap, Tap) else "hub" if config.spec.networked else "none",
            "data_nic_reason": "" if isinstance(self._tap, Tap) else self._tap,
            "data_namespace": f"/proc/{os.getpid()}/fd/{self._tap.namespace_fd}" if isinstance(self._tap, Tap) else "",
            "token": self._token, "lease_s": self._lease_s,
            "lease_left_s": self._lease_ends_s - Moment.now().boottime_s,
            "heat": self._heater.facts(),
            "pids": {"keeper": os.getpid()} | {name: each.pid for name, each in owned.items() if on and each},
        }  # fmt: skip

    async def disk(self, _: Reply) -> Reply:
        """Counts since the last power-on, and the first writes that no flush has covered yet; costs what is new."""
        log = self._log.read()
        reply = {name: value for name, value in asdict(log).items() if name != "uncovered"}
        listed = [asdict(each) for each in log.uncovered[:LISTED_WRITES]]
        total = sum(each.length for each in log.uncovered)
        return {**reply, "unflushed_count": len(log.uncovered), "unflushed_bytes": total, "unflushed": listed}

    # --- Processes

    async def _start(self) -> None:
        """Both processes, or neither: three tries, because somebody may take the port that was free a moment ago."""
        for tries_left in (2, 1, 0):
            try:
                await self._start_disk()
                await self._start_machine()
            except BaseException as error:
                await self._power_off()
                if not (isinstance(error, LabError) and tries_left):
                    raise
                say(f"once more: {error.complaints[0].found}")
            else:
                return

    async def _start_disk(self) -> None:
        self._log = DiskLogReader(Path(DISK_LOG), Path(DISK_LOG).stat().st_size if Path(DISK_LOG).exists() else 0)
        self._disk = spawn(nbdkit_arguments(DISK, self._nbd_socket.name, DISK_LOG))
        self._write_down()
        await until(self._nbd_socket.exists, self._disk, "the disk server")

    async def _start_machine(self) -> None:
        networked = self._config.spec.networked
        if not isinstance(self._tap, Tap):
            self._tap = open_tap() if networked else NO_NETWORK
        if isinstance(self._tap, Tap):
            self._tap.drain()
        tap_fd = self._tap.tap_fd if isinstance(self._tap, Tap) else None
        for name in ("qmp.sock", SENSORS):
            Path(name).unlink(missing_ok=True)
        self._port = free_port() if networked else 0
        wiring = Wiring(f"runner-{self._token}", self._port, self._nbd_socket.name, tap_fd, called=self._config.name)
        arguments = qemu_arguments(self._config.spec, self._config.image, wiring)
        self._machine = spawn(arguments, () if tap_fd is None else (tap_fd,))
        self._write_down()
        await until(lambda: listens("qmp.sock"), self._machine, "QEMU")  # the file is there a moment before anybody listens
        await qmp("query-status")
        self._line = line_of(await qmp("query-chardev"), self._config.spec.login_chardev)

    async def _power_off(self) -> None:
        """Orderly when QEMU still listens, by SIGKILL when it does not; afterwards both processes are gone."""
        if self._machine is not None and self._machine.poll() is None:
            try:
                await qmp("quit")
                await ended(self._machine)
            except (LabError, OSError) as error:
                say(f"QEMU did not quit, so it is killed: {error}")
                self._machine.kill()
                await ended(self._machine)
        if self._disk is not None and self._disk.poll() is None:
            self._disk.terminate()
            try:
                await ended(self._disk)
            except LabError:
                self._disk.kill()
                await ended(self._disk)
        self._nbd_socket.unlink(missing_ok=True)
        self._machine = self._disk = self._on_since = None
        self._write_down()

    async def _threads(self) -> Threads | None:
        """QEMU, and its threads that are the board's processors; None while it has no power."""
        machine = self._machine
        if machine is None or machine.poll() is not None or self._on_since is None:
            return None
        if self._processors is None or self._processors[0] is not machine:
            said = await qmp("query-cpus-fast")
            assert isinstance(said, list)
            self._processors = machine, sorted({int(each["thread-id"]) for each in said})
        return machine.pid, self._processors[1]

    def _write_down(self) -> None:
        write_down(Path(), self._token, (self._machine, self._disk))

    def _both_run(self) -> bool:
        return all(each is not None and each.poll() is None for each in (self._machine, self._disk))


# --- The fence, the machine's monitor, and the start of this process


def read_fence() -> int:
    try:
        return int(Path(FENCE).read_text())
    except (OSError, ValueError):
        return 0


def write_fence(fence: int) -> None:
    """Whole and durable when this returns."""
    with open(f"{FENCE}.new", "w") as file:
        file.write(str(fence))
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{FENCE}.new", FENCE)
    folder = os.open(".", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def listens(path: str) -> bool:
    """Whether somebody takes connections at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def line_of(chardevs: object, label: str) -> str:
    """The tty of QEMU's character device `label`, by its answer to query-chardev ("pty:/dev/pts/7"); "" without one."""
    rows = chardevs if isinstance(chardevs, list) else []
    name = next((str(row.get("filename")) for row in rows if label and row.get("label") == label), "")
    return name.removeprefix("pty:") if name.startswith("pty:/dev/") else ""


async def qmp(command: str, path: str = "qmp.sock") -> object:
    """Send one command over a connection of its own; LabError when QEMU refuses or is silent for 10 s."""

    async def talk() -> object:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            await reader.readline()  # the greeting
            for each in ("qmp_capabilities", command):
                writer.write(json.dumps({"execute": each}).encode() + b"\n")
                while "return" not in (reply := json.loads(await reader.readline() or '{"error": "closed"}')):
                    if "error" in reply:
                        raise LabError(f"QEMU refused {each}: {reply['error']}")
            answer: object = reply["return"]
            return answer
        finally:
            writer.close()

    try:
        return await asyncio.wait_for(talk(), STOP_LIMIT_S)
    except (OSError, ValueError, TimeoutError) as error:
        raise LabError(f"QEMU did not answer {command}: {error!r}") from error


def say(line: str) -> None:
    """One line into keeper.log, which is this process's stderr."""
    print(f"{time.time():.3f} {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Own the board until its power is off; 3 when another keeper owns it already."""
    parser = argparse.ArgumentParser(prog="keeper", description="owns the power of one emulated board")
    parser.add_argument("--board", type=Path, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--lease", type=float, default=120.0)
    asked = parser.parse_args()
    os.chdir(asked.board)  # sockets are named relative to it: their paths may have 107 bytes only
    with open(LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another keeper owns this board")
            return 3
        for pid in kill_leftovers(Path.cwd()):
            say(f"killed {pid}, left by an earlier keeper")
        for path in sweep():
            say(f"removed {path}, left by a keeper that is dead")
        asyncio.run(Keeper(Config.from_json(Path(CONFIG).read_text()), asked.token, asked.lease).run())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
