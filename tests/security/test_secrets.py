"""A secret in the environment, an open umask, other users of the host: what a run leaves, and what its processes know."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner.clock import SystemClock
from runner.errors import LabError
from runner.model.device import DeviceLine
from runner.target.drivers import Request
from runner.target.emulation.board import Board
from runner.target.power.process import make
from runner.target.transports.local import LocalTransport, environment

ROOT = Path(__file__).resolve().parent.parent.parent
WORD = "correct-horse-battery"
OTHERS = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# ---- the lab's files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        f"password: {WORD}",
        f"ssh_password: {WORD}",
        f"passphrase: {WORD}",
        f"relay_token: {WORD}",
        f"api-key: {WORD}",
        f"Secret: {WORD}",
        f"credentials: {{user: root, word: {WORD}}}",
        f"address: root:{WORD}@board",
        f"user: root:{WORD}",
    ],
)
@pytest.mark.parametrize("file", ["inventory.yaml", "devices/board.yaml"])
def test_a_secret_in_a_lab_is_refused_and_not_quoted(
    make_lab: Callable[..., Path], runner: Callable[..., Any], line: str, file: str
) -> None:
    """The sentence says where it belongs; neither the terminal nor a program's JSON shows it."""
    type_ = "title: t\narch: native\ntransport: local\npower: process\nloss: process_crash\n"
    files = {"inventory.yaml": "devices:\n  board:\n    type: board\n", "devices/board.yaml": type_}
    files[file] += ("    " if file == "inventory.yaml" else "") + line + "\n"
    lab = make_lab(files)
    for words in (
        ("device", "show", "board"),
        ("exec", "EDGE-002", "--device", "board", "--dry-run"),
        ("--json", "device", "show", "board"),
    ):
        said = runner("--lab", str(lab), *words)
        assert said.exit_code == 2
        assert WORD not in said.out + said.err
        assert "RUNNER_SECRET_<DEVICE>_SSH_PASSWORD" in said.out + said.err


def test_an_address_is_a_name() -> None:
    """The negative control: names, aliases and addresses of both kinds are none of it."""
    for address in ("board", "10.0.0.4", "fe80::1%eth0", "bench-password-board.local"):
        assert DeviceLine(type="t", address=address, user="root@corp.example", tags=("secretive",)).address == address


# ---- what a device's processes are given --------------------------------------------------------------------------------------------


TOLD = {
    "RUNNER_SECRET_LOCAL_SSH_PASSWORD": WORD,
    "RUNNER_SECRETS": f"/{WORD}",
    "AWS_SECRET_ACCESS_KEY": WORD,
    "HTTPS_PROXY": f"http://u:{WORD}@p",
}


def test_a_device_is_given_what_is_named_and_nothing_else() -> None:
    """An environment holds what its user's other programs need; a pipeline is not one of them."""
    given = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "PYTHONPATH": "p", "RUNNER_STATE": "s", "TMPDIR": "/t"}
    assert environment({**given, **TOLD}) == given


def test_a_command_on_this_machine_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the local transport: what it runs, and what it streams to."""
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)

    async def scenario() -> bytes:
        transport = LocalTransport()
        done = await transport.run(["env"])
        stream = await transport.stream(["env"])
        said = b""
        while data := await stream.read():
            said += data
        await transport.close()
        return done.stdout + said

    said = asyncio.run(scenario())
    assert said.count(b"PATH=") >= 2
    assert WORD.encode() not in said


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """`local()` makes the power of a local device whose state and temp folder are the test's own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    line: Any = DeviceLine(type="local-process")
    nothing: Any = None

    def make_it() -> Any:
        request = Request("local", line, nothing, tmp_path / "state", tmp_path, tmp_path / "witness", SystemClock(), lambda text: None)
        return asyncio.run(make(request))

    return make_it


def test_a_restart_is_not_told(local: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the `at-boot` hook, from which everything comes that runs after a cut."""
    power, _ = local()
    hook = tmp_path / "state" / "local" / "local" / "at-boot"
    hook.write_text(f"#!/bin/sh\nenv > {tmp_path}/given\n")
    hook.chmod(0o700)
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    asyncio.run(power.on())
    given = (tmp_path / "given").read_text()
    assert "PATH=" in given
    assert WORD not in given


# ---- other users of the host --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[0o000, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_the_local_device_is_closed_to_others(local: Callable[[], Any], tmp_path: Path) -> None:
    """Its state, whatever the umask, and the folder of its socket."""
    power, home = local()
    asyncio.run(power.on())
    folders = (tmp_path / "state", tmp_path / "state" / "local", Path(home.state), Path(home.socket).parent)
    assert {mode(folder) for folder in folders} == {0o700}


@pytest.mark.usefixtures("umask")
def test_a_board_is_closed_to_others(tmp_path: Path) -> None:
    """Its folder, in which its disk, its monitor's and its keeper's sockets lie; and its keys once more by themselves."""
    nothing: Any = None
    board = Board("board", tmp_path / "boards" / "board", nothing, tmp_path)
    board._make_folder()
    assert mode(board.folder) == 0o700
    assert {mode(board.folder / name) for name in ("host_key", "client_key")} == {0o600}


def test_a_socket_folder_that_another_user_made_is_refused(local: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The temp folder is everybody's: whoever takes our name there first would hear all that we say to the device."""
    power, home = local()
    Path(home.socket).parent.mkdir(mode=0o755)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(LabError, match=f"belongs to user {mine}, not to you"):
        asyncio.run(power.on())
    assert list(Path(home.socket).parent.iterdir()) == []


def test_a_socket_folder_that_is_a_link_is_refused(local: Callable[[], Any], tmp_path: Path) -> None:
    """Wherever it leads."""
    power, home = local()
    Path(home.socket).parent.symlink_to(tmp_path)
    with pytest.raises(LabError, match="is a link"):
        asyncio.run(power.on())


# ---- a whole run ------------------------------------------------------------------------------------------------------------------


@dataclass
class Watched:
    """A run under an open umask with secrets in its environment: what it left, what it said, and the processes that were seen."""

    folder: Path
    secret: str
    said: bytes = b""
    coordinator_knew: bool = False
    processes: dict[str, set[bytes]] = field(default_factory=lambda: {"arguments": set(), "of the device": set(), "told": set()})

    def look(self, coordinator: int) -> None:
        """One look at every process of this machine."""
        word, state = self.secret.encode(), str(self.folder / "state").encode()
        for proc in Path("/proc").glob("[0-9]*"):
            try:
                arguments, given = (proc / "cmdline").read_bytes(), (proc / "environ").read_bytes()
            except OSError:
                continue
            if word in arguments:
                self.processes["arguments"].add(arguments)
            self.coordinator_knew |= proc.name == str(coordinator) and word in given
            if state in arguments:
                self.processes["of the device"].add(arguments)
                if word in given:
                    self.processes["told"].add(arguments)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder, secret = tmp_path_factory.mktemp("watched"), secrets.token_hex(16)
    config = folder / "secrets.yaml"
    config.write_text(f"local: {{ssh_password: {secret}}}\n")
    config.chmod(0o600)
    told = {"RUNNER_SECRET_LOCAL_SSH_PASSWORD": secret, "RUNNER_SECRETS": str(config), "SOME_TOKEN": secret}
    code = "import os; os.umask(0); from runner.cli.main import main; main()"
    words = ["--lab", str(folder / "lab"), "exec", "EDGE-002", "--quick", "--scenario", "recovery"]
    (folder / "lab").mkdir()
    (folder / "lab" / "inventory.yaml").write_text("devices: {local: {type: local-process}}\n")
    found = Watched(folder, secret)
    with open(folder / "said", "wb") as said:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "RUNNER_STATE": str(folder / "state"), **told}
        run = subprocess.Popen([sys.executable, "-c", code, *words], cwd=folder, env=env, stdout=said, stderr=said)
        try:
            while run.poll() is None:
                found.look(run.pid)
                try:
                    run.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            run.kill()
            run.wait()
    found.said = (folder / "said").read_bytes()
    assert run.returncode == 0, found.said.decode()
    config.unlink()  # the one place where it may stand
    return found


@pytest.mark.real
def test_no_byte_of_a_run_holds_a_secret(watched: Watched) -> None:
    """Run folder, state folder, logs, what was said: neither as it is nor in base64."""
    forms = [watched.secret.encode(), base64.b64encode(watched.secret.encode())[:40]]
    files = [path for path in watched.folder.rglob("*") if path.is_file()]
    assert {"coordinator.journal", "supervisor.log"} <= {path.name for path in files}
    assert [path for path in files if any(form in path.read_bytes() for form in forms)] == []
    assert b"recovery" in watched.said
    assert not any(form in watched.said for form in forms)


@pytest.mark.real
def test_no_process_of_a_run_shows_or_is_told_a_secret(watched: Watched) -> None:
    """The coordinator alone knows it; the device's processes were there, and neither showed it nor were told."""
    assert watched.coordinator_knew
    assert watched.processes["of the device"]
    assert watched.processes["arguments"] == set()
    assert watched.processes["told"] == set()


@pytest.mark.real
def test_under_an_open_umask_nothing_is_open(watched: Watched) -> None:
    """With umask 000, nobody else can write to a run or see anything of the state folder."""
    runs = [watched.folder / "lab" / "runs", *(watched.folder / "lab" / "runs").rglob("*")]
    assert len(runs) > 20
    assert [path for path in runs if not path.is_symlink() and mode(path) & OTHERS_WRITE] == []
    assert mode(watched.folder / "state") & OTHERS == 0
    assert [path for path in (watched.folder / "state").iterdir() if path.is_dir() and mode(path) & OTHERS] == []
