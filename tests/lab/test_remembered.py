"""What a list remembers is what it would say without remembering, whatever happens to the files, the cache or the code."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import Complaint
from runner.lab import remembered as module
from runner.lab.load import Reader
from runner.lab.remembered import remembered
from runner.lab.where import Lab

TYPE = "title: {}\narch: native\ntransport: local\npower: process\nloss: process_crash\n"
PATTERNS = ("inventory.yaml", "devices/*.yaml")


@pytest.fixture
def lab(make_lab: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("RUNNER_CACHE", str(tmp_path / "cache"))
    root = make_lab({"devices/mine.yaml": TYPE.format("mine")})
    return Lab(root, root / "runs", builtin=False)


class Making:
    """Makes rows of a lab's device types, and counts how often it had to."""

    def __init__(self) -> None:
        self.times = 0
        self.meanwhile: Callable[[], Any] = lambda: None

    def __call__(self, reader: Reader) -> list[dict[str, Any]]:
        self.times += 1
        inventory = reader.inventory()
        names = [Path(name).stem for name in reader.lab.names("devices", "*.yaml")]
        types = {name: reader.device_type(name, "here") for name in names}
        self.meanwhile()
        there = {"devices": sorted(inventory[0].devices) if inventory else []}
        return [there, *({"name": name, "title": found.title} for name, found in types.items() if found)]


def test_rows_are_made_once(lab: Lab) -> None:
    """The second time they are read, and are the same."""
    make = Making()
    first = remembered(lab, "some", PATTERNS, make)
    assert remembered(lab, "some", PATTERNS, make) == first
    assert {"name": "mine", "title": "mine"} in first[0]
    assert make.times == 1


def test_two_lists_do_not_meet(lab: Lab) -> None:
    """Each has a file of its own, and there are no others: the cache does not grow."""
    make = Making()
    for _ in range(2):
        for name in ("one", "two"):
            remembered(lab, name, PATTERNS, make)
    assert make.times == 2
    assert sorted(path.name for path in (module.cache_root() / "remembered").iterdir()) == ["one.json", "two.json"]


def renamed(lab: Lab) -> None:
    (lab.root / "devices/mine.yaml").rename(lab.root / "devices/yours.yaml")


def same_size_and_date(lab: Lab) -> None:
    path = lab.root / "devices/mine.yaml"
    about = path.stat()
    path.write_text(TYPE.format("mint"))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


CHANGES: dict[str, Callable[[Lab], Any]] = {
    "a file is written": lambda lab: (lab.root / "devices/mine.yaml").write_text(TYPE.format("other")),
    "a file is written with its old size and date": same_size_and_date,
    "a file comes": lambda lab: (lab.root / "devices/new.yaml").write_text(TYPE.format("new")),
    "a file goes": lambda lab: (lab.root / "devices/mine.yaml").unlink(),
    "a file is renamed": renamed,
    "a built-in one is overridden": lambda lab: (lab.root / "devices/local-process.yaml").write_text(TYPE.format("my own")),
    "the inventory changes": lambda lab: (lab.root / "inventory.yaml").write_text("devices: {other: {type: local-process}}\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_seen(lab: Lab, change: str) -> None:
    """Whatever happens to a file that was read, or could have been: the rows are those of now."""
    make = Making()
    before = remembered(lab, "some", PATTERNS, make)
    CHANGES[change](lab)
    now = remembered(lab, "some", PATTERNS, make)
    assert make.times == 2
    assert now == (make(Reader(lab)), []) != before


def test_changed_code_makes_rows_anew(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another version, and a checkout that was edited without one."""
    for folder in module._MAKERS:
        (tmp_path / "package" / folder).mkdir(parents=True)
    code = tmp_path / "package" / "cli" / "show.py"
    code.write_text("1")
    monkeypatch.setattr(module, "_PACKAGE", tmp_path / "package")
    make = Making()
    remembered(lab, "some", PATTERNS, make)
    code.write_text("12")
    remembered(lab, "some", PATTERNS, make)
    monkeypatch.setattr(module, "__version__", "0.0.0")
    remembered(lab, "some", PATTERNS, make)
    remembered(lab, "some", PATTERNS, make)
    assert make.times == 3


def test_rows_with_a_complaint_are_not_kept(lab: Lab) -> None:
    """It is said again each time, and never when it is mended."""
    path = lab.root / "devices/mine.yaml"
    path.write_text("tilte: typo\n")
    make = Making()
    said = [remembered(lab, "some", PATTERNS, make)[1] for _ in range(2)]
    assert make.times == 2
    assert said[0] == said[1] and all(isinstance(one, Complaint) for one in said[0]) and said[0]
    path.write_text(TYPE.format("mine"))
    assert remembered(lab, "some", PATTERNS, make)[1] == []


def test_a_file_that_is_saved_meanwhile_is_not_kept_under_its_old_bytes(lab: Lab) -> None:
    """Else its old bytes, put back, would be answered with the rows of the new ones."""
    path = lab.root / "devices/mine.yaml"
    make = Making()
    path.write_text(TYPE.format("before"))
    make.meanwhile = lambda: path.write_text(TYPE.format("after"))
    remembered(lab, "some", PATTERNS, make)
    path.write_text(TYPE.format("before"))
    make.meanwhile = lambda: None
    remembered(lab, "some", PATTERNS, make)
    assert make.times == 2


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [a_pipe, a_link_to_nothing, a_folder])
def test_what_is_no_file_is_complained_about_each_time(lab: Lab, spoil: Callable[[Path], None]) -> None:
    """And never waited for."""
    make = Making()
    remembered(lab, "some", PATTERNS, make)
    spoil(lab.root / "devices/mine.yaml")
    assert all(remembered(lab, "some", PATTERNS, make)[1] for _ in range(2))
    assert make.times == 3


def flip(text: bytes) -> bytes:
    return text.replace(b"mine", b"mint")


@pytest.mark.parametrize(
    "damage",
    [flip, lambda text: text[:-20], lambda text: b"", lambda text: b"\xff", lambda text: b"[]", lambda text: b"[" * 100_000],
    ids=["a letter", "cut off", "empty", "no text", "a list", "too deep"],
)
def test_a_damaged_cache_is_made_anew(lab: Lab, damage: Callable[[bytes], bytes]) -> None:
    """What does not sum up is nothing, and is written over."""
    make = Making()
    first = remembered(lab, "some", PATTERNS, make)
    path = module.cache_root() / "remembered" / "some.json"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    assert remembered(lab, "some", PATTERNS, make) == first
    assert (make.times, path.read_bytes()) == (2, whole)


def test_it_works_without_a_cache(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that cannot be made, or is somebody's link, costs the time of making the rows and nothing else."""
    make = Making()
    (tmp_path / "file").write_text("")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "remembered").symlink_to(tmp_path)
    for place in ("file", "linked"):
        monkeypatch.setenv("RUNNER_CACHE", str(tmp_path / place))
        assert remembered(lab, "some", PATTERNS, make)[1] == []
    monkeypatch.setenv("RUNNER_CACHE", "~nobody-is-called-so/cache")
    assert remembered(lab, "some", PATTERNS, make)[1] == []
    assert make.times == 3
    assert not (tmp_path / "some.json").exists()


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_too_large_is_not_kept(lab: Lab, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    """The cache is bounded."""
    monkeypatch.setattr(module, "MAX_BYTES", 4000)
    remembered(lab, "some", PATTERNS, lambda reader: [{"words": "x" * (3000 if kept else 4000)}])
    assert (module.cache_root() / "remembered" / "some.json").exists() is kept


def test_nobody_else_may_read_it(lab: Lab) -> None:
    """What stands in a lab is its user's own, whatever the umask says."""
    before = os.umask(0)
    try:
        remembered(lab, "some", PATTERNS, Making())
    finally:
        os.umask(before)
    folder = module.cache_root() / "remembered"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "some.json")] == [0o700, 0o600]


HEAVY = {"pydantic", "yaml", "asyncssh", "asyncio"}
LISTS = (("entry", "list"), ("profile", "list"), ("run", "list"), ("device", "list"))
LOADED = """
import sys
try:
    from runner.cli.main import main; main({!r})
finally:
    print("\\n@", *sorted({!r} & set(sys.modules)))
"""


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_a_list_that_is_remembered_waits_for_no_parser(
    run_python: Callable[..., Any], words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time (but for `run list`) they are imported, the second time they are not, and both say the same."""
    monkeypatch.setenv("RUNNER_CACHE", str(tmp_path / "cache"))
    first, second = (run_python(LOADED.format(["--json", *words], HEAVY)).stdout.splitlines() for _ in range(2))
    assert json.loads(first[0]) == json.loads(second[0])
    assert ("pydantic" in first[-1].split()) is (words != ("run", "list"))
    assert second[-1].split() == ["@"]
