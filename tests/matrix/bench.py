"""The bench: one emulated board, the far end of its data link, a coordinator that may be killed, and an eye on the board.

    this process ── power, far end
      ├── coordinator (a child) ── SSH ──► supervisor ──► guard
      └── SSH of its own ──► the eye, which looks and kills

However this process ends, nothing is left: the children end with their input, and the board's keeper when nobody renews it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from runner.clock import SystemClock
from runner.errors import LabError, RunnerError
from runner.farm import health
from runner.lab.load import Reader
from runner.lab.where import Lab, builtin_root, cache_root
from runner.model.device import DataLink, DeviceLine, DeviceType
from runner.ondevice.link_probe import PORT
from runner.story import links
from runner.target.bundle import supervisor_zip
from runner.target.drivers import Request, make_target
from runner.target.far_end.client import FarEnd
from runner.target.power.qemu import PYTHON, SOCKET, STATE
from runner.target.target import Target
from runner.target.transports.base import Stream

DEVICE, TYPE = "qemu-pi", "qemu-arm64"
KEPT_S = 40.0  # how long the board outlives us
ANSWER_LIMIT_S = 60.0
BOOT_LIMIT_S = 120.0
REPOSITORY = Path(__file__).resolve().parents[2]
RATE_KBIT_S, SIZE_BYTES = 200.0, 86  # of a short train: some thirty packets in a tenth of a second


class Gone(LabError):
    """Whoever was asked is not there any more, or says that it cannot."""


class Coordinator:
    """The child, as we see it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self.connected = False
        self._reader = asyncio.ensure_future(self._read())

    @classmethod
    async def begin(cls, first: dict[str, Any]) -> Coordinator:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.matrix.coordinator", cwd=REPOSITORY, start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=16 << 20,
        )  # fmt: skip
        made = cls(process)
        made._write(first)
        return made

    def tell(self, do: str, **words: Any) -> asyncio.Future[dict[str, Any]]:
        """The order is given; its answer comes when it comes. Raises Gone from whoever waits for it."""
        self._number += 1
        future = self._answers[self._number] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # one that nobody waits for is no mistake
        if self._process.returncode is not None:
            future.set_exception(Gone("the coordinator is dead"))
        else:
            self._write({"id": self._number, "do": do, **words})
        return future

    async def ask(self, do: str, *, timeout_s: float = ANSWER_LIMIT_S, **words: Any) -> dict[str, Any]:
        future = self.tell(do, **words)
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except asyncio.TimeoutError:
            raise Gone(f"the coordinator did not {do} within {timeout_s:g} s") from None

    async def kill(self) -> None:
        """SIGKILL; it is dead when this returns."""
        self.connected = False
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader

    @property
    def pid(self) -> int:
        return self._process.pid

    def _write(self, order: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            future = self._answers.pop(said["id"])
            if future.done():
                continue
            if "error" in said:
                future.set_exception(Gone(f"the coordinator heard: {said['error']}"))
            else:
                future.set_result(said["ok"])
        for future in self._answers.values():
            if not future.done():
                future.set_exception(Gone("the coordinator is dead"))


class Eye:
    """`on_the_board.py` over a stream. One question at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._said, self._asking = stream, bytearray(), asyncio.Lock()
        self.lost = False  # an answer is still to come, or never will: the next one would be taken for it

    async def ask(self, do: str, *, timeout_s: float = ANSWER_LIMIT_S, **words: Any) -> dict[str, Any]:
        async with self._asking:
            self.lost = True
            try:
                async with asyncio.timeout(timeout_s):
                    await self._stream.write(json.dumps({"do": do, **words}).encode() + b"\n")
                    answer = json.loads(await self._line())
            except asyncio.TimeoutError:
                raise Gone(f"the eye did not {do} within {timeout_s:g} s") from None
            self.lost = False
        if "error" in answer:
            raise Gone(f"the eye could not {do}: {answer['error']}")
        ok: dict[str, Any] = answer["ok"]
        return ok

    async def _line(self) -> bytes:
        while b"\n" not in self._said:
            data = await self._stream.read()
            if not data:
                raise Gone("the eye is closed")
            self._said += data
        line, _, rest = bytes(self._said).partition(b"\n")
        self._said = bytearray(rest)
        return line

    async def close(self) -> None:
        await self._stream.close()


class Bench:
    """Everything at hand for a cell. `before` is the fingerprint of the board as it was first found, a boot long."""

    def __init__(self, target: Target, device_type: DeviceType, folder: Path, archive: bytes | None) -> None:
        self.target, self._type, self._folder = target, device_type, folder
        self._archive = folder / "supervisor.zip"
        self._archive.write_bytes(archive or supervisor_zip())
        self.look_every_s = 3.0 if archive else 0.1  # what must stay is seen when time is up: until then the board is left to others
        assert device_type.data_link
        self.link: DataLink = device_type.data_link
        self.who = secrets.token_hex(8)
        self.before: dict[str, Any] = {}
        self.scale = 1.0  # of every time in a cell: a busy machine makes a slow board, and this becomes larger
        self.capabilities: list[str] = []
        self._coordinator: Coordinator | None = None
        self._eye: Eye | None = None
        self._far_end: FarEnd | None = None
        self._tree = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, state: Path, archive: bytes | None = None) -> AsyncIterator[Bench]:
        """A board that is on and as it should be. Nothing of it runs afterwards, whatever happened."""
        os.environ["RUNNER_STATE"] = str(state)  # the keeper has it, too: by it everything of this bench is found
        reader = Reader(Lab(builtin_root(), state, builtin=True))
        device_type = reader.device_type(TYPE, "the matrix")
        assert device_type
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        request = Request(DEVICE, DeviceLine(type=TYPE), device_type, state, cache_root(), state / "witness", SystemClock(), _say)
        bench = cls(await make_target(request), device_type, state, archive)
        renewing = None
        try:
            await bench.target.power.on()
            renewing = asyncio.ensure_future(bench._renew())
            async with contextlib.AsyncExitStack() as stack:
                namespace = links.namespace_of(DEVICE, await bench.target.power.facts())
                place = state / "far_end"
                opened = FarEnd.open(place, place, place / "log", bind=bench.link.far_end, namespace=namespace)
                bench._far_end = await stack.enter_async_context(opened)
                await bench.coordinator()
                bench.before = await bench.fingerprint()
                yield bench
        finally:
            if renewing:
                renewing.cancel()
            await asyncio.shield(bench._end())

    async def _end(self) -> None:
        if self._coordinator is not None:
            await self._coordinator.kill()
        await self.target.shut_down()

    async def _renew(self) -> None:
        while True:
            with contextlib.suppress(RunnerError):
                await self.target.power.keep_on(KEPT_S)
            await asyncio.sleep(KEPT_S / 4)

    # ---- who there is -----------------------------------------------------------------------------------

    async def coordinator(self) -> Coordinator:
        """One that is alive and connected."""
        if self._coordinator is None:
            witness = self._folder / "witness"
            witness.touch()
            first = {"type": self._type.model_dump(mode="json"), "archive": str(self._archive), "witness": str(witness)}
            self._coordinator = await Coordinator.begin(first)
        if not self._coordinator.connected:
            endpoint = self.target.power.endpoint()
            assert endpoint
            where = {**vars(endpoint), "client_key": str(endpoint.client_key)}
            said = await self._coordinator.ask("connect", endpoint=where, timeout_s=150)
            self._coordinator.connected = True
            self.capabilities, self._tree = said["capabilities"], said["tree"]
        return self._coordinator

    async def eye(self) -> Eye:
        if self._eye is not None and self._eye.lost:
            await self.close_eye()
        if self._eye is None:
            deadline = time.monotonic() + BOOT_LIMIT_S
            while True:
                try:
                    await self.target.transport.open()
                    source = (Path(__file__).parent / "on_the_board.py").read_text()
                    argv = [PYTHON, "-c", source, self._tree, STATE, os.path.dirname(SOCKET)]
                    self._eye = Eye(await self.target.transport.stream(argv))
                    await self._eye.ask("look", signs=[])
                    break
                except LabError:
                    await self.close_eye()
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(0.2)
        return self._eye

    async def close_eye(self) -> None:
        eye, self._eye = self._eye, None
        if eye is not None:
            await eye.close()
        await self.target.transport.close()

    async def kill_coordinator(self) -> None:
        if self._coordinator is not None:
            dead, self._coordinator = self._coordinator, None
            await dead.kill()

    async def cut_power(self) -> None:
        """Cut and on again; the board boots when this returns."""
        await self.target.power.cut()
        await self.close_eye()
        await self.kill_coordinator()
        await self.target.power.on()

    # ---- what is seen -----------------------------------------------------------------------------------

    async def look(self, signs: Any = ()) -> dict[str, Any]:
        return await (await self.eye()).ask("look", signs=[sign.model_dump() for sign in signs])

    async def fingerprint(self) -> dict[str, Any]:
        return health.read((await (await self.eye()).ask("fingerprint"))["fields"])

    async def heard_of(self, *, seconds: float = 0.1) -> tuple[int, int]:
        """How many packets the board sent, and how many of them the far end has heard."""
        assert self._far_end
        await self._far_end.ask("expect", who=self.who)
        sent = (await self._train(seconds, echo=False))["sent"]
        await asyncio.sleep(0.1)
        return sent, (await self._far_end.ask("summary", who=self.who, sent=sent))["received"]

    async def echoes(self) -> tuple[int, int]:
        """How many packets the board sent, and how many came back to it."""
        said = await self._train(0.1, echo=True)
        return said["sent"], said["echoes"]

    async def _train(self, seconds: float, *, echo: bool) -> dict[str, Any]:
        where = {"far_end": self.link.far_end, "port": PORT, "who": self.who}
        return await (await self.eye()).ask("train", **where, duration_s=seconds, rate_kbit_s=RATE_KBIT_S, size=SIZE_BYTES, echo=echo)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
