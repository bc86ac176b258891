"""Every device of the table, met by a coordinator: the sentence and the time are those of docs/devices-that-misbehave.md."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import selectors
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from runner.cli.output import Output
from runner.clock import SystemClock
from runner.errors import LabError, RunnerError
from runner.ondevice.journal import Record
from runner.ondevice.results import ENDS
from runner.target import mirror
from runner.target.bad_devices import BAD_DEVICES, ESCAPES, SERVERS, STORY, SUPERVISORS, serving, supervising
from runner.target.mirror import Diverged, Mirror
from runner.target.session import Session
from runner.target.storage import Storage
from runner.target.transports import ssh
from runner.target.transports.base import MAX_OUTPUT_BYTES, STALLED_S, LinkLost, Stream, words
from runner.target.transports.fake import FakeTransport
from runner.target.transports.local import LocalTransport
from runner.target.transports.ssh import CONNECT_LIMIT_S, SshTransport

PAGE = (Path(__file__).parents[2] / "docs/devices-that-misbehave.md").read_text(encoding="utf-8")
ASK_LIMIT_S, SHORT_S = 60.0, 0.5
UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


class Row:
    """A line of the page: what the device does, fragments of the sentence, seconds (0 for at once), and the exit status."""

    def __init__(self, line: str) -> None:
        name, self.does, read, within, code = (cell.strip() for cell in line.split("|")[1:-1])
        self.name = name.strip("`")
        self.fragments = re.findall(r"`([^`]+)`", read)
        self.within_s = float(within.removesuffix(" s")) if within.endswith(" s") else 0.0
        self.exit_code = int(code or 0)


def rows(kind: str) -> dict[str, Row]:
    table = PAGE.partition(f"<!-- {kind} -->")[2].partition(f"<!-- /{kind} -->")[0]
    return {row.name: row for row in map(Row, table.strip().splitlines()[2:])}


ROWS = {**rows("servers"), **{f"supervisor {name}": row for name, row in rows("supervisors").items()}}


class Impatient(selectors.DefaultSelector):
    """Waits for nobody: where a loop would wait, its clock jumps to the moment that it waits for."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now_s += timeout
        return ready


def in_no_time(story: Coroutine[Any, Any, Any]) -> float:
    """Runs `story` on a loop whose clock is turned by its own waits; returns how many seconds it thinks that took."""
    selector = Impatient()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now_s  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(story)
    return selector.now_s


async def visit(name: str, folder: Path) -> Record | None:
    """Everything that a run asks of a supervisor, up to the end of its journal; None when that did not come in time."""
    copy = Mirror(folder / "device.journal")
    session = await Session.open(FakeTransport({"attach": supervising(name, str(folder / "state"))}), ["attach"], SystemClock())
    try:
        assert len(json.dumps(session.hello)) < 16_000 and not UNSAFE.search(session.hello["os"])  # it goes into files of the run
        await session.push({"ab" * 32: b"blob"})
        await session.ask("benchmark")
        Storage(folder / "state", extents=False).read(await session.ask("locate", what="journal"))
        await session.follow("r", "e", copy)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                return await session.record(lambda record: record.kind in ENDS)
        return None
    finally:
        await session.close()
        copy.close()


def folder(parent: Path, name: str) -> Path:
    (parent / name / "state").mkdir(parents=True)
    (parent / name / "state" / "journal").write_bytes(b"here")
    return parent / name


async def beside(bad: Coroutine[Any, Any, Any], parent: Path) -> RunnerError | None:
    """How `bad` ends, while a good run goes on in the same loop; that one must come to its end."""
    good = asyncio.ensure_future(visit("well_behaved", folder(parent, "beside")))
    try:
        await bad
    except RunnerError as error:
        return error
    finally:
        last = await good
        assert last and last.kind == "finished"
    return None


def judge(error: RunnerError | None, row: Row, output: Output, capfd: Any) -> None:
    """The sentence, the exit status, and that neither the terminal nor standard error shows one character too many."""
    if not row.fragments:
        assert error is None
        return
    assert error is not None, "nobody complained"
    assert isinstance(error, Diverged if row.exit_code == 1 else LabError), repr(error)
    for fragment in row.fragments:
        assert fragment in str(error)
    assert len(str(error)) < 1000
    assert not UNSAFE.search(str(error))
    output.fail(error)
    said = capfd.readouterr()
    assert not UNSAFE.search(said.out + said.err)
    assert "Traceback" not in said.err


def test_the_page_names_each_of_them() -> None:
    """What the simulator has and what the page promises are the same, word by word; nothing stands there twice."""
    assert {name: row.does for name, row in rows("servers").items()} == {name: bad.does for name, bad in SERVERS.items()}
    assert {name: row.does for name, row in rows("supervisors").items()} == {name: bad.does for name, bad in SUPERVISORS.items()}
    assert len(BAD_DEVICES) == len(SERVERS) + len(SUPERVISORS)


def test_the_pages_times_are_the_codes() -> None:
    """What bounds each wait is one of the limits that the code has."""
    assert {row.within_s for row in rows("servers").values()} == {0, CONNECT_LIMIT_S, STALLED_S}
    assert {row.within_s for row in rows("supervisors").values()} == {0, ASK_LIMIT_S}
    assert f"{MAX_OUTPUT_BYTES >> 20} MiB" in PAGE


@pytest.mark.parametrize("name", SUPERVISORS)
def test_a_bad_supervisor_fails_its_own_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """With the page's sentence, within the page's time (by a clock that jumps), and a good run beside it comes to its end."""
    row, ended = ROWS[f"supervisor {name}"], []
    monkeypatch.setattr(mirror, "MAX_BYTES", 1 << 20)

    async def story() -> None:
        ended.append(await beside(visit(name, folder(tmp_path, "bad")), tmp_path))

    took_s = in_no_time(story())
    judge(ended[0], row, Output(False, None), capfd)
    assert took_s <= row.within_s + 10  # the questions before the one that is never answered, and those of the good run


async def _write(stream: Stream) -> None:
    for _ in range(100):
        await stream.write(bytes(1 << 20))


@pytest.mark.real
@pytest.mark.parametrize("name", SERVERS)
def test_a_bad_server_fails_its_own_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """With the page's sentence, under limits cut short, and a good run beside it comes to its end."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ssh, "STALLED_S", SHORT_S)
    if ROWS[name].within_s == CONNECT_LIMIT_S:
        monkeypatch.setattr(ssh, "CONNECT_LIMIT_S", SHORT_S)

    async def meet() -> None:
        async with serving(name) as endpoint:
            transport = SshTransport(lambda: endpoint)
            try:
                await transport.open()
                await transport.run(["true"], timeout_s=SHORT_S if ROWS[name].within_s == STALLED_S else 60)
                if name == "takes_nothing":
                    await _write(await transport.stream(["cat"]))
            finally:
                await transport.close()

    error = asyncio.run(asyncio.wait_for(beside(meet(), tmp_path), 60))
    judge(error, ROWS[name], Output(False, None), capfd)


@pytest.mark.parametrize("name", ["local", "fake"])
def test_a_command_that_takes_nothing_is_given_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes to it is not kept for ever: LinkLost when it took nothing for as long as the limit says."""

    async def deaf(argv: object, stdin: object, stdout: object) -> int:
        await asyncio.Event().wait()
        return 0

    async def story() -> None:
        transport = LocalTransport() if name == "local" else FakeTransport({"sleep": deaf})
        monkeypatch.setattr(f"runner.target.transports.{name}.STALLED_S", 0.05)
        stream = await transport.stream(["sleep", "1000"])
        monkeypatch.setattr("runner.target.transports.local.END_LIMIT_S", 0.05)
        with pytest.raises(LinkLost, match="took nothing"):
            await _write(stream)
        await stream.close()

    asyncio.run(story())


@pytest.mark.real
def test_a_server_that_never_answers_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Twenty attempts at a silent server: no socket is kept."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ssh, "CONNECT_LIMIT_S", 0.05)

    async def story() -> int:
        async with serving("silent") as endpoint:
            counted = []
            for _ in range(21):
                with pytest.raises(LabError, match="no answer"):
                    await SshTransport(lambda: endpoint).open()
                counted.append(_connections(endpoint.port))
            return max(counted)

    assert asyncio.run(story()) <= 1  # the last one may be on its way out


def _connections(port: int | None) -> int:
    """How many of this machine's connections lead to that port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(remote.endswith(f":{port:04X}") and state == "01" for _, _, remote, state, *_ in map(str.split, lines))


MEMORY = """
import asyncio, resource, sys
from pathlib import Path
from runner.errors import LabError
from runner.target.bad_devices import serving, supervising
from runner.target.transports.ssh import SshTransport
from runner.target.session import Session
from runner.target.transports.fake import FakeTransport
from runner.target.transports.local import LocalTransport
from runner.clock import SystemClock

async def server(name):
    async with serving(name) as endpoint:
        transport = SshTransport(lambda: endpoint)
        try:
            await transport.open()
            await transport.run(["true"])
        finally:
            await transport.close()

async def supervisor(name):
    await Session.open(FakeTransport({"attach": supervising(name)}), ["attach"], SystemClock())

async def local(name):
    await LocalTransport().run([sys.executable, "-c", "import os\\nwhile True: os.write(%s, bytes(1 << 20))" % name])

kind, name = sys.argv[1:]
asyncio.run(server("well"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    asyncio.run({"server": server, "supervisor": supervisor, "local": local}[kind](name))
except LabError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.real
@pytest.mark.parametrize(
    "who",
    [
        "server banner_of_1_gb",
        "server line_of_1_gb",
        "server packet_of_2_gb",
        "server output_of_1_gb",
        "server errors_of_1_gb",
        "local 1",
        "local 2",
    ],
)
def test_a_gigabyte_takes_no_memory(who: str, run_python: Callable[..., Any], tmp_path: Path) -> None:
    """A process that meets one of them grows by less than 64 MiB."""
    done = run_python(MEMORY, *who.split(), HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 << 10  # KiB


def test_words_of_a_device_are_one_short_line() -> None:
    """Whatever it says; and plain words stay what they are (the negative control)."""
    for said in (ESCAPES, ESCAPES.encode(), "a\nb\x00\u2028c", "\ud800", "x" * 10_000_000):
        assert not UNSAFE.search(words(said)) and "\n" not in words(said) and len(words(said)) <= 300
        words(said).encode()
    assert words("No space left on device: grüße") == "No space left on device: grüße"
    assert UNSAFE.search(ESCAPES)


def test_what_a_device_is_called_reaches_no_terminal(capfd: Any) -> None:
    """Whichever way a face says it: as a line, as a result, as an error, as JSON."""
    for output in (Output(False, None), Output(True, None)):
        output.say(ESCAPES)
        output.result({"os": ESCAPES}, ESCAPES)
        output.fail(LabError(ESCAPES, expected=ESCAPES, where=ESCAPES, do=ESCAPES))
    said = capfd.readouterr()
    assert "owned" in said.out and "owned" in said.err
    assert not UNSAFE.search(said.out + said.err)


def test_the_good_ones_tell_a_whole_story() -> None:
    """The negative control of the table: a device that behaves is one that a coordinator is content with."""
    assert [name for name, row in ROWS.items() if row.does == "behaves"] == ["well", "supervisor well_behaved"]
    assert STORY[-1][0] in ENDS
