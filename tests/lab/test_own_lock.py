"""requirements.lock of an entry: what pins wheels by hash passes, and everything else is refused with its line before anything moves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import AskError, Complaint
from runner.lab.check_entry import check_lock
from runner.lab.load import Reader
from runner.lab.new_entry import new_entry
from runner.lab.where import Lab, find_lab
from runner.model.roadmap import RoadmapEntry
from runner.story.plan import Asked, make_plan

ROW = RoadmapEntry(id="FIN-001", phase=4, tier=4, priority="P0", risk="Severe", title="Fraud", section="F", industry="Finance")
HASH, OTHER = f"--hash=sha256:{'a' * 64}", f"--hash=sha256:{'b' * 64}"
GOOD = f"# an MQTT client\npaho-mqtt==2.2.0 \\\n    {HASH}\n"


@pytest.fixture
def lab(make_lab: Callable[..., Path]) -> Lab:
    return find_lab(str(make_lab({})))


@pytest.fixture
def lock(lab: Lab) -> Path:
    return new_entry(lab, ROW) / "requirements.lock"


def complaints(lab: Lab, lock: Path) -> list[Complaint]:
    reader = Reader(lab)
    check_lock(reader, lock.parent)
    return reader.complaints


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"paho-mqtt==2.2.0 {HASH}\n",
        f"paho-mqtt==2.2.0 \\\n    {HASH} \\\n    {OTHER}\n    # via something\n",
        f"numpy==2.1.0 ; python_version >= '3.11' \\\n    {HASH}\n\nsix==1.17.0 {OTHER}  # old",
        f"uvicorn[standard]==0.30.0+local.1 {HASH}",
    ],
    ids=["as compiled", "on one line", "two hashes", "a marker, two pins", "extras"],
)
def test_a_lock_that_pins_every_wheel_by_hash_is_sound(lab: Lab, lock: Path, text: str) -> None:
    """The negative control: nothing is found where nothing is wrong; and none is no lock."""
    assert complaints(lab, lock) == []
    lock.write_text(text)
    assert complaints(lab, lock) == []


@pytest.mark.parametrize(
    ("text", "found", "line"),
    [
        ("paho-mqtt==2.2.0\n", "paho-mqtt has no hash", 1),
        (GOOD + "six==1.17.0\n", "six has no hash", 4),
        (GOOD + f"six {HASH}", "'six' pins no wheel", 4),
        (GOOD + f"six>=1.17 {HASH}", "'six>=1.17' pins no wheel", 4),
        (f"six @ https://example.com/six.tar.gz {HASH}", "'six @ https://example.com/six.tar.gz' pins no wheel", 1),
        (f"./six-1.17.0.tar.gz {HASH}", "'./six-1.17.0.tar.gz' pins no wheel", 1),
        (f"--extra-index-url https://example.com\n{GOOD}", "'--extra-index-url https://example.com' pins no wheel", 1),
        ("-r more.txt\n", "'-r more.txt' pins no wheel", 1),
        ("six==1.17.0 --hash=md5:0123456789", "'md5:0123456789' is no hash of a wheel", 1),
        (f"six==1.17.0 --hash=sha256:{'a' * 63}", f"'sha256:{'a' * 63}' is no hash of a wheel", 1),
        (f"six==1.17.0 {HASH} \\\n  --hash=sha256:{'G' * 64}", f"'sha256:{'G' * 64}' is no hash of a wheel", 1),
        (GOOD + f"Paho.MQTT==2.1.0 {OTHER}", "paho-mqtt is pinned twice", 4),
        (f"stageflow_core==1.2.0 {HASH}", "stageflow-core is pinned", 1),
        ("# nothing\n\n", "it pins no wheel", 1),
        ("", "it pins no wheel", 1),
    ],
)
def test_what_pins_no_wheel_is_refused_with_its_line(lab: Lab, lock: Path, text: str, found: str, line: int) -> None:
    """What stands there, what may, and where: once, and nothing else is complained of."""
    lock.write_text(text)
    (told,) = complaints(lab, lock)
    assert told.found == found
    assert told.expected
    assert told.where.endswith(f"pipelines/fin_001/requirements.lock:{line}")


@pytest.mark.parametrize("kind", ["folder", "nowhere", "pipe", "bytes"])
def test_a_lock_that_cannot_be_read_is_refused(lab: Lab, lock: Path, kind: str) -> None:
    """Nobody waits for a pipe, and a link to nothing is no lock that is not there."""
    make: dict[str, Callable[[], object]] = {
        "folder": lock.mkdir,
        "nowhere": lambda: lock.symlink_to("nothing"),
        "pipe": lambda: os.mkfifo(lock),
        "bytes": lambda: lock.write_bytes(b"six==1.17.0\n\xff"),
    }
    make[kind]()
    (told,) = complaints(lab, lock)
    assert told.found.startswith("cannot be read")
    assert told.where.endswith(f"requirements.lock:{2 if kind == 'bytes' else 1}")


def test_no_plan_is_made_with_a_bad_lock(lab: Lab, lock: Path) -> None:
    """Before anything moves, and only because of it."""
    lock.write_text(GOOD)
    make_plan(Asked("FIN-001"), lab)
    lock.write_text("paho-mqtt==2.2.0\n")
    with pytest.raises(AskError, match=r"requirements\.lock:1: paho-mqtt has no hash"):
        make_plan(Asked("FIN-001"), lab)
