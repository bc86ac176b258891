"""The coordinator's side of an emulated board: keys, image, disk, and a line to the keeper that owns its power.

    board = Board("pi-emu-1", folder, ARM64, cache)
    await board.start(print)        # a minute when the image must be built, else about a second
    endpoint = await board.on()     # SSH answers some seconds later: await board.reachable()
    facts = await board.cut()       # what the power cut took
    await board.off()               # orderly; nothing remains but the folder

Killing the process that holds a Board leaves the board powered until its lease ends; a new Board on the same folder
finds the keeper again and goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.disk_log import DiskLog, Write
from runner.errors import LabError
from runner.target.emulation.disk import create_data_disk
from runner.target.emulation.heater import HEAT
from runner.target.emulation.image import ensure_image, refuse_missing_tools
from runner.target.emulation.machine import MachineSpec, choose_accelerator
from runner.target.emulation.messages import CONFIG, DISK, DISK_LOG, LOG, SOCKET, Config, CutFacts
from runner.target.emulation.processes import kill_leftovers, start_time

ANSWER_LIMIT_S = 60.0
TAIL_LINES = 12
LOG_LIMIT_BYTES = 64 << 20  # a larger log is put aside (one is kept) when the board starts
START_IT = "start the board: runner device power NAME on"
KEEPER = "runner.target.emulation.keeper"


@dataclass(frozen=True)
class Endpoint:
    """Where SSH listens, who may come in, and the key that proves it is this board ("ssh-ed25519 AAAA…")."""

    host: str
    port: int
    user: str
    host_public_key: str
    client_key: Path
    line: str = ""  # the tty of a login, where the machine offers one


class KeeperGone(LabError):
    """Nothing listens in the board's folder: it was never started, or it ended with `off` or with its lease."""


class Board:
    """One emulated board in one folder. Methods raise LabError; what it says ends with the log that tells more."""

    def __init__(
        self, name: str, folder: Path, spec: MachineSpec, cache: Path, lease_s: float = 120.0, disk_mib: int = 1024, fence: int = 1
    ) -> None:
        self.name = name
        self.folder = folder.absolute()
        self.spec = spec
        self.cache = cache.absolute()
        self.lease_s = lease_s
        self.disk_mib = disk_mib
        self.fence = fence  # of the lease under which its holder acts
        self.witness = self.folder / "witness"
        self.console = self.folder / "console.log"
        self.disk_log = self.folder / DISK_LOG
        self.keeper_log = self.folder / LOG
        self.heat_log = self.folder / HEAT
        self._keeper: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"Board({self.name!r}, {str(self.folder)!r}, {self.spec.arch})"

    async def start(self, progress: Callable[[str], None]) -> None:
        """Have a keeper for this board, with the board off, or on if a keeper of ours is still there and has it on.

        A running keeper is taken over as it is, with the image and machine it was started with, and its lease is
        renewed. After a failure no process of this board runs that did not run before.
        """
        if await self._found_running():
            progress(f"{self.name}: its keeper is still there, taken over")
            return
        try:
            await asyncio.to_thread(self._prepare, progress)
        except OSError as error:
            raise LabError(f"{self.name} could not be prepared: {error}", where=str(self.folder)) from error
        await self._spawn_keeper()

    async def on(self) -> Endpoint:
        """Power on, if it is off; returns when QEMU runs, which is seconds before SSH answers."""
        reply = await self._ask("on")
        public = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        return Endpoint("127.0.0.1", reply["port"], "root", public, self.folder / "client_key", reply.get("line", ""))

    async def reachable(self, limit_s: float = 120.0) -> float:
        """Seconds until the board's SSH server introduced itself; LabError after `limit_s`, or when it is off."""
        start, patience_s = time.monotonic(), 0.5
        while time.monotonic() - start < limit_s:
            facts = await self.facts()
            if not facts["on"]:
                raise self._failure(f"{self.name} is off: {facts['last_end'] or 'never was on'}", self.console)
            if await _introduces_itself(facts["port"], patience_s):
                return time.monotonic() - start
            patience_s = min(patience_s * 1.2, 5.0)  # a loaded host makes a slow guest
            await asyncio.sleep(0.05)
        raise self._failure(f"{self.name}: no SSH after {limit_s:g} s", self.console)

    async def cut(self) -> CutFacts:
        """Cut the power as a power failure would; LabError when the board is not on. Afterwards it is off."""
        return CutFacts.from_json(await self._ask("cut"))

    async def off(self) -> None:
        """An orderly close and the keeper's end; fine when nothing runs. Afterwards no process of the board is left."""
        if await self._found_running():
            pids = (await self._ask("facts"))["pids"].values()
            await self._ask("off")
            await _poll(lambda: all(start_time(pid) is None for pid in pids), 30.0)
        kill_leftovers(self.folder)
        if self._keeper is not None:
            self._keeper.poll()  # a keeper that we started ourselves must not stay a zombie

    async def renew(self, seconds: float) -> None:
        """Let the lease run at least `seconds` from now. Nothing else but `start` renews it: the caller must."""
        await self._ask("renew", seconds=seconds)

    async def heat(self, told: dict[str, Any]) -> dict[str, Any]:
        """Heat over the board: see heater.py. LabError where this host cannot slow a board down. `renew` renews it, too."""
        return await self._ask("heat", told=told)

    async def warm(self) -> dict[str, Any]:
        """The time of a heat that waits begins. LabError where there is none any more."""
        return await self._ask("warm")

    async def cool(self) -> dict[str, Any]:
        """No heat any more, and the board as fast as it was; `left` names what stays all the same. Fine where there is no keeper."""
        try:
            return await self._ask("cool")
        except KeeperGone:
            return {"left": [], "heat": {"on": False}}

    async def keep_on(self, seconds: float) -> None:
        """Let the lease run exactly `seconds` from now."""
        await self._ask("keep_on", seconds=seconds)

    async def facts(self) -> dict[str, Any]:
        """Accelerator and reason, versions, image digest, data NIC, pids, whether it is on, how long the lease runs."""
        return await self._ask("facts")

    async def disk(self) -> DiskLog:
        """Requests to the data disk since the last power-on; `uncovered` holds the first 4096 unflushed writes."""
        reply = await self._ask("disk")
        counts = {name: reply[name] for name in DiskLog.__dataclass_fields__ if name != "uncovered"}
        return DiskLog(**counts, uncovered=tuple(Write(**each) for each in reply["unflushed"]))

    # --- The keeper

    async def _ask(self, verb: str, **more: object) -> dict[str, Any]:
        """One request on a connection of its own. The path goes through /proc: a socket's may have 107 bytes only."""
        try:
            folder = os.open(self.folder, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise KeeperGone(f"{self.name} has no folder yet", where=str(self.folder), do=START_IT) from error
        try:
            path = f"/proc/self/fd/{folder}/{SOCKET}"
            reader, writer = await asyncio.open_unix_connection(path, limit=16 << 20)
        except OSError as error:
            raise KeeperGone(f"{self.name} has no keeper ({error})", where=str(self.keeper_log), do=START_IT) from error
        finally:
            os.close(folder)
        try:
            writer.write(json.dumps({"verb": verb, "fence": self.fence, **more}).encode() + b"\n")
            line = await asyncio.wait_for(reader.readline(), ANSWER_LIMIT_S)
            if not line:
                raise ConnectionResetError("it ended")
            reply: dict[str, Any] = json.loads(line)
        except ConnectionError as error:  # it was killed at this moment: what it could have answered is gone with it
            raise KeeperGone(f"{self.name} has no keeper any more ({error})", where=str(self.keeper_log), do=START_IT) from error
        except (OSError, ValueError, TimeoutError) as error:
            raise self._failure(f"{self.name}: no answer to {verb!r} ({error!r})", self.keeper_log) from error
        finally:
            writer.close()
        if "error" in reply:
            raise self._failure(f"{self.name}: {verb}: {reply['error']}", self.keeper_log)
        return reply

    async def _found_running(self) -> bool:
        """Whether a keeper of this folder answers; if so its lease now runs afresh."""
        try:
            await self._ask("renew", seconds=self.lease_s)
        except KeeperGone:
            return False
        return True

    async def _spawn_keeper(self) -> None:
        """Start the keeper in a session of its own, so that what ends us does not end it, and wait until it answers."""
        path = (str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH"))
        told = {name: value for name, value in os.environ.items() if not name.startswith("RUNNER_SECRET")}
        arguments = ["--board", str(self.folder), "--token", secrets.token_hex(8), "--lease", str(self.lease_s)]
        with open(self.keeper_log, "ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", KEEPER, *arguments], cwd="/", start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**told, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            )  # fmt: skip
        started = self._keeper
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline and started.poll() is None:
            if await self._found_running():
                return
            await asyncio.sleep(0.02)
        started.kill()
        raise self._failure(f"{self.name}: the keeper did not start (status {started.wait()})", self.keeper_log)

    def _prepare(self, progress: Callable[[str], None]) -> None:
        """Everything that a keeper needs: tools, image, accelerator, folder, disk, and the file that says so."""
        refuse_missing_tools([self.spec.arch])
        image = ensure_image(self.spec.image, self.cache, progress)
        accelerator = choose_accelerator(self.spec, image, self.cache / "accelerators.json", progress)
        self._make_folder()
        for log in (self.console, self.disk_log, self.keeper_log, self.witness):
            if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
                log.replace(log.with_name(log.name + ".old"))
        create_data_disk(self.folder / DISK, self.disk_mib)
        spec = replace(self.spec, accelerator=accelerator.name)
        (self.folder / CONFIG).write_text(Config(self.name, spec, image, accelerator).to_json())

    def _make_folder(self) -> None:
        """The folder (0700) with the keys (0600) of the board and of its visitors; keys that exist are kept."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        (self.folder / "hostname").write_text(self.name)
        for key in ("host_key", "client_key"):
            if not (self.folder / key).exists():
                _make_key(self.folder / key, f"{self.name} {key}")

    def _failure(self, found: str, log: Path) -> LabError:
        """A LabError that ends with the last lines of the log that tells more."""
        lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:] if log.exists() else []
        return LabError("\n  | ".join([found, *lines]), where=str(log), do="read the rest of that log")


def _make_key(path: Path, comment: str) -> None:
    """An ed25519 key pair in OpenSSH's format: `path` (0600) and `path`.pub."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # slow to import, rarely needed
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    path.with_suffix(".pub").write_text(f"{public} {comment}\n")
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))


async def _introduces_itself(port: int, patience_s: float) -> bool:
    """Whether an SSH server says its name in time. (QEMU accepts connections long before the guest does.)"""

    async def banner() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await reader.readline()
        finally:
            writer.close()

    try:
        return (await asyncio.wait_for(banner(), patience_s)).startswith(b"SSH-")
    except (OSError, TimeoutError):
        return False


async def _poll(true: Callable[[], bool], limit_s: float) -> None:
    """Wait until something is true; LabError after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > deadline:
            raise LabError(f"still waiting after {limit_s:g} s")
        await asyncio.sleep(0.02)
