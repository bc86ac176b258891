"""One look at a device before anything is installed: real Pythons, pretended ones, and disks that are full or read-only."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LabError
from runner.target.preflight import LOOK, MAX_ANSWER_BYTES, NEEDED_BYTES, Found, inspect
from runner.target.transports.base import Completed, LinkLost
from runner.target.transports.fake import FakeTransport
from runner.target.transports.local import LocalTransport

GOOD = {"python": "3.11.2", "free_bytes": NEEDED_BYTES, "owner": 0, "we": 0, "installed": False}


class Answering(FakeTransport):
    """A device whose Python says this."""

    def __init__(self, stdout: bytes, stderr: bytes = b"", status: int = 0) -> None:
        super().__init__()
        self.done = Completed(status, stdout, stderr)

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        return self.done


def look(
    transport: Any, state: object = "/data/runner", python: str = "python3", script: object = "/data/runner/trees/x/__main__.py"
) -> Found:
    return asyncio.run(inspect(transport, "pi-04", python, str(state), str(script)))


def said(**changed: Any) -> bytes:
    return json.dumps({**GOOD, **changed}).encode() + b"\n"


@pytest.mark.parametrize("installed", [False, True])
def test_a_device_that_can_hold_us_is_found_so(tmp_path: Path, installed: bool) -> None:
    """A real Python, a state folder that is not there yet: made for us alone, nothing left in it, and what is installed is seen."""
    state = tmp_path / "deep" / "state"
    tree = state / "trees" / "abc"
    if installed:
        tree.mkdir(parents=True)
        (tree / ".whole").touch()
    found = look(LocalTransport(), state, sys.executable, tree / "__main__.py")
    assert found.installed is installed
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.free_bytes > NEEDED_BYTES
    assert state.stat().st_mode & 0o777 == (0o755 if installed else 0o700) & ~_umask() | 0o700
    assert os.listdir(state) == (["trees"] if installed else [])


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_every_python_can_read_the_question() -> None:
    """One that is too old must still be able to say so: no syntax newer than 3.4, and no f-string."""
    ast.parse(LOOK, feature_version=(3, 4))
    assert not any(isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.NamedExpr) for node in ast.walk(ast.parse(LOOK)))


SENTENCES: dict[str, tuple[Answering, str]] = {
    "no python": (Answering(b"", b"sh: 1: python3: not found\n", 127), "pi-04 has no Python that runs: python3"),
    "not executable": (Answering(b"", b"sh: python3: Permission denied", 126), "pi-04 has no Python that runs: python3"),
    "3.8": (Answering(said(python="3.8.18")), "pi-04 has Python 3.8.18\n  expected: 3.9 or later"),
    "2.7": (Answering(b'{"python": "2.7.18"}\n'), "pi-04 has Python 2.7.18"),
    "full": (
        Answering(said(free_bytes=1 << 20)),
        f"full: 1048576 bytes are free for /data/runner\n  expected: at least {NEEDED_BYTES} bytes",
    ),
    "no inode": (Answering(said(errno=28)), "the disk of pi-04 is full"),
    "quota": (Answering(said(errno=122)), "the disk of pi-04 is full"),
    "read-only": (Answering(said(errno=30)), "the disk of pi-04 is read-only at /data/runner"),
    "somebody else's": (Answering(said(owner=1000)), "/data/runner on pi-04 belongs to user 1000, and we are user 0 there"),
    "not writable": (Answering(said(errno=13)), "/data/runner cannot be written on pi-04: Permission denied"),
    "a file": (Answering(said(errno=20)), "/data/runner cannot be written on pi-04: Not a directory"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_what_is_wrong_is_one_sentence(name: str) -> None:
    """Whose device, what it lacks, what is needed; never a traceback of its Python."""
    transport, sentence = SENTENCES[name]
    with pytest.raises(LabError) as error:
        look(transport)
    assert sentence in str(error.value)


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "noise": b"\x1b]0;owned\x07\xff\x00" * 100_000,
    "a list": b"[1]\n",
    "too deep": b"[" * 4000 + b"\n",
    "too long": said(padding="x" * MAX_ANSWER_BYTES),
    "no version": said(python=None),
    "a version of words": said(python="three.nine.one"),
    "a version without an end": said(python="9" * 3000 + ".1.1"),
    "negative space": said(free_bytes=-1),
    "no number": said(free_bytes="much"),
    "endless space": said(free_bytes=2**70),
    "a truth for a number": said(errno=True),
    "no word of installed": said(installed="yes"),
    "no word of space": b'{"python": "3.11.2"}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_an_error_of_the_lab(name: str) -> None:
    """Short, without a control character, and never believed."""
    with pytest.raises(LabError, match=r"no answer|no device of ours") as error:
        look(Answering(HOSTILE[name]))
    assert len(str(error.value)) < 500
    assert all(c.isprintable() or c == "\n" for c in str(error.value))


def test_what_a_login_shell_prints_before_the_answer_is_no_answer() -> None:
    """`mesg: not found` and a greeting are old friends; the answer is the last line. The negative control of the table above."""
    assert look(Answering(b"mesg: not found\nWelcome {\n" + said())) == Found(False, NEEDED_BYTES, "3.11.2")


@pytest.mark.parametrize("wall_s", [0, 4_300_000_000])
def test_a_wrong_clock_is_no_obstacle(wall_s: int, tmp_path: Path) -> None:
    """1970 or 2106: a Python that believes it is as good as any."""
    (tmp_path / "sitecustomize.py").write_text(f"import time\ntime.time = lambda: {wall_s}\ntime.time_ns = lambda: {wall_s} * 10**9\n")
    python = pretended(tmp_path, f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')
    assert not look(LocalTransport(), tmp_path / "state", python).installed


def pretended(folder: Path, script: str) -> str:
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("""echo '{"python": "3.8.10"}'""", "pi-04 has Python 3.8.10"),
        ("echo 'Segmentation fault' >&2; exit 139", "gives no answer, but exit status 139: Segmentation fault"),
        ("exit 127", "pi-04 has no Python that runs"),
    ],
    ids=["3.8", "crashes", "127"],
)
def test_a_pretended_python_is_seen_through(script: str, sentence: str, tmp_path: Path) -> None:
    """A real process that is no Python of ours."""
    with pytest.raises(LabError, match=sentence):
        look(LocalTransport(), tmp_path / "state", pretended(tmp_path, script))
    assert not (tmp_path / "state").exists()


def test_no_python_at_all_is_said_so(tmp_path: Path) -> None:
    """Neither a missing file nor one that is no program is a broken link."""
    (tmp_path / "text").write_text("hello")
    for python in (tmp_path / "none", tmp_path / "text"):
        with pytest.raises(LabError, match="no Python that runs") as error:
            look(LocalTransport(), tmp_path / "state", str(python))
        assert not isinstance(error.value, LinkLost)


# ---- disks ------------------------------------------------------------------------------------------------------------

ROOMY = 'mount -t tmpfs -o size=128m tmpfs "$STATE"'
IN_A_NAMESPACE = """
import asyncio, sys
from runner.errors import LabError
from runner.target.preflight import inspect
from runner.target.transports.local import LocalTransport
try:
    print(asyncio.run(inspect(LocalTransport(), "pi-04", sys.executable, sys.argv[1], "/none/__main__.py")))
except LabError as error:
    print(error)
"""


def mounted(state: Path, commands: str, code: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Python `code` in a mount namespace of its own, after the shell's `commands`; skips where nobody may make one."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs root and mount namespaces")
    line = f'set -e; {commands}; exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", line, "sh", sys.executable, "-c", code, *words]
    env = {**os.environ, "STATE": str(state), "PYTHONPATH": str(Path(__file__).parents[2]), **env}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.real
@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        (ROOMY, "Found(installed=False, free_bytes="),
        ('mount -t tmpfs -o size=1m tmpfs "$STATE"', "the disk of pi-04 is full: 1048576 bytes are free"),
        (
            'mount -t tmpfs -o size=128m tmpfs "$STATE"; head -c 200m /dev/zero 2>&1 >"$STATE/full" | :',
            "the disk of pi-04 is full: 0 bytes are free",
        ),
        ('mount -t tmpfs -o size=128m,nr_inodes=1 tmpfs "$STATE"', "the disk of pi-04 is full"),
        ('mount -t tmpfs -o ro tmpfs "$STATE"', "the disk of pi-04 is read-only at"),
        ('mount -t tmpfs -o uid=1000 tmpfs "$STATE"', "belongs to user 1000, and we are user 0 there"),
    ],
    ids=["roomy", "small", "full", "no inodes", "read-only", "somebody else's"],
)
def test_a_disk_that_cannot_hold_us_is_found_out(commands: str, sentence: str, tmp_path: Path) -> None:
    """Real file systems, in a namespace that nobody else sees; a roomy one is the negative control."""
    done = mounted(tmp_path, commands, IN_A_NAMESPACE, str(tmp_path))
    assert sentence in done.stdout, done.stderr


EXEC = "from runner.cli.main import main; main()"
WORDS = ("exec", "EDGE-002", "--scenario", "recovery", "--cuts", "3", "--seed", "3")


@pytest.mark.real
def test_nothing_of_ours_needs_shared_memory(tmp_path: Path, runner_process: Callable[..., Any]) -> None:
    """A whole run on a device without /dev/shm, supervisor, pipeline and crashes included, passes as it does elsewhere."""
    assert runner_process("init", str(tmp_path / "lab"), cwd=tmp_path).returncode == 0
    lost = "mount --bind /proc/self/fdinfo /dev/shm; ! touch /dev/shm/x 2>/dev/null"
    done = mounted(tmp_path, lost, EXEC, "--lab", str(tmp_path / "lab"), *WORDS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.real
@pytest.mark.parametrize("now", ["0", "4_300_000_000", "4_300_000_000 - 100 * int(real() % 10**5)"], ids=["1970", "2106", "jumping back"])
def test_a_verdict_does_not_depend_on_the_wall_clock(now: str, tmp_path: Path, runner_process: Callable[..., Any]) -> None:
    """Decades off, or backwards all the time, on the device and on its coordinator: the run passes as it does elsewhere."""
    assert runner_process("init", str(tmp_path / "lab"), cwd=tmp_path).returncode == 0
    (tmp_path / "sitecustomize.py").write_text(
        f"import time\nreal = time.monotonic\ntime.time = lambda: float({now})\ntime.time_ns = lambda: int(({now}) * 10**9)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = runner_process("--lab", str(tmp_path / "lab"), *WORDS, cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
