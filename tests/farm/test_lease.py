"""One holder per device on this host; whoever is refused hears by whom, and a dead holder holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import LabError
from runner.farm.lease import Lease

HOLD = """
import sys
from pathlib import Path
from runner.farm.lease import Lease
with Lease(Path(sys.argv[1]), "pi-04", "EDGE-002 in /lab/runs"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds pi-04 until its standard input ends."""
    repository = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": repository},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_held_device_is_refused_by_name(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """Which device, which process, for what, and what to do; another device is free."""
    with pytest.raises(LabError) as refused, Lease(tmp_path, "pi-04", "mine"):
        pass
    (complaint,) = refused.value.complaints
    assert complaint.found == f"pi-04 is in use by process {holder.pid} for EDGE-002 in /lab/runs"
    assert "choose another device" in complaint.do
    with Lease(tmp_path, "pi-05", "mine"):
        pass


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_a_device_is_free_when_its_holder_is_gone(holder: subprocess.Popen[str], tmp_path: Path, how: str) -> None:
    """However it ended, nothing has to be cleaned up."""
    if how == "killed":
        holder.send_signal(signal.SIGKILL)
    else:
        holder.communicate("")
    holder.wait(10)
    with Lease(tmp_path, "pi-04", "mine"):
        pass


def test_being_refused_takes_nothing_from_the_holder(tmp_path: Path) -> None:
    """After a refusal the device is still held, under the name of its holder."""
    with Lease(tmp_path, "pi-04", "the first"):
        for _ in range(2):
            with pytest.raises(LabError, match="the first"), Lease(tmp_path, "pi-04", "the second"):
                pass
    with Lease(tmp_path, "pi-04", "the second"):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_note_about_the_holder_is_no_way_in(tmp_path: Path, content: bytes) -> None:
    """The lock decides, not the file's text: who cannot be named is still the holder."""
    with Lease(tmp_path, "pi-04", "the first"):
        (tmp_path / "leases" / "pi-04.lock").write_bytes(content)
        with pytest.raises(LabError, match=r"in use by process \? for \?"), Lease(tmp_path, "pi-04", "the second"):
            pass


def test_a_state_folder_that_cannot_be_used_is_an_error_of_the_lab(tmp_path: Path) -> None:
    """Said with the system's reason, and no traceback."""
    (tmp_path / "leases").write_text("a file")
    with pytest.raises(LabError, match="cannot be opened"), Lease(tmp_path, "pi-04", "mine"):
        pass
