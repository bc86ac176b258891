"""Names that are not there, with the nearest one; and every complaint of every file in one error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import AskError, Complaint
from runner.lab.load import Reader
from runner.lab.where import builtin_root, find_lab

MakeLab = Callable[[dict[str, str]], Path]


def reader(root: Path) -> Reader:
    return Reader(find_lab(str(root)))


@pytest.mark.parametrize(
    ("kind", "name", "found", "among"),
    [
        ("entry", "EDGE-02", "no entry is called 'EDGE-02' (did you mean 'EDGE-002'?)", "EDGE-002"),
        ("entry", "../../etc", "no entry is called '../../etc'", "EDGE-002"),
        ("profile", "power-cut", "no profile is called 'power-cut' (did you mean 'power-cuts'?)", "one of power-cuts, "),
        ("profile", "../steady", "no profile is called '../steady' (did you mean 'steady'?)", "steady, "),
        ("profile", "", "no profile is called ''", "others in `runner profile list`"),
        ("device_type", "qemu-arm", "no device type is called 'qemu-arm' (did you mean 'qemu-arm64'?)", "local-process, qemu-arm64"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(make_lab: MakeLab, kind: str, name: str, found: str, among: str) -> None:
    """What was asked for, the nearest name, all names or where to find them, and where it was asked."""
    asked = reader(make_lab({}))
    assert getattr(asked, kind)(name, "--here") is None
    (complaint,) = asked.complaints
    assert (complaint.found, complaint.where) == (found, "--here")
    assert complaint.expected.startswith("one of ")
    assert among in complaint.expected


def test_a_broken_inventory_hides_no_type_that_is_not_there(make_lab: MakeLab) -> None:
    """A key that nobody knows in one line, and a type that nobody has in another: both are told, each with its line."""
    lines = "devices:\n  local: {type: local-proces}\n  b: {typ: qemu-arm64}\n  c: {type: 3}\n  d: 4\n"
    asked = reader(make_lab({"inventory.yaml": lines}))
    assert asked.inventory() is None
    told = {complaint.found: complaint.where.rpartition("/")[2] for complaint in asked.complaints}
    assert told["no device type is called 'local-proces' (did you mean 'local-process'?)"] == "inventory.yaml:2"
    assert told["unknown key 'typ' (did you mean 'type'?)"] == "inventory.yaml:3"
    assert {told["devices.c.type is 3"], told["devices.d is 4"]} == {"inventory.yaml:4", "inventory.yaml:5"}


def test_a_device_without_a_type_is_told_the_types(make_lab: MakeLab) -> None:
    """And a list of devices with nothing in it is empty, not `None`."""
    asked = reader(make_lab({"inventory.yaml": "devices:\n  a: {tags: [x]}\n"}))
    assert asked.inventory() is None
    (complaint,) = asked.complaints
    assert (complaint.found, complaint.expected) == ("devices.a.type is missing", "one of local-process, qemu-arm64, qemu-x86")
    asked = reader(make_lab({"inventory.yaml": "devices:\n"}))
    assert asked.inventory() is None
    assert [complaint.found for complaint in asked.complaints] == ["devices is empty"]


def test_every_complaint_comes_in_one_error(make_lab: MakeLab) -> None:
    """Three broken files are one AskError with three complaints, each with its file."""
    asked = reader(
        make_lab(
            {
                "inventory.yaml": "devises: {}\n",
                "devices/mine.yaml": "title: mine\nvolts: 5\n",
                "profiles/steady.yaml": "titel: x\n",
            }
        )
    )
    assert asked.inventory() is None
    assert asked.device_type("mine", "") is None
    assert asked.profile("steady", "") is None
    with pytest.raises(AskError) as refused:
        asked.finish()
    files = {complaint.where.rpartition("/")[2].partition(":")[0] for complaint in refused.value.complaints}
    assert files == {"inventory.yaml", "mine.yaml", "steady.yaml"}
    assert refused.value.exit_code == 2


def test_nothing_wrong_is_no_error(make_lab: MakeLab) -> None:
    """`finish` is silent, and the values are there."""
    asked = reader(make_lab({}))
    found = asked.inventory()
    entry = asked.entry("EDGE-002", "")
    asked.finish()
    assert found is not None
    assert list(found[0].devices) == ["local"]
    assert entry is not None
    assert entry[0].id == "EDGE-002"


def test_an_entry_is_found_by_its_id_in_either_case(make_lab: MakeLab) -> None:
    """People type edge-002."""
    found = reader(make_lab({})).entry("edge-002", "")
    assert found is not None
    assert found[0].id == "EDGE-002"


def test_an_entry_whose_id_is_not_its_folders_is_refused(make_lab: MakeLab) -> None:
    """Else another entry's pipelines would run under its name."""
    text = (builtin_root() / "pipelines/edge_002/entry.yaml").read_text()
    asked = reader(make_lab({"pipelines/edge_009/entry.yaml": text}))
    assert asked.entry("EDGE-009", "") is None
    (complaint,) = asked.complaints
    assert complaint.found == "id is 'EDGE-002'"
    assert complaint.expected == "'EDGE-009', as the folder says"
    assert complaint.where.endswith("edge_009/entry.yaml:3")


def test_a_broken_built_in_is_called_built_in(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A complaint about a file that is not the lab's own does not send people looking in their lab."""
    root = make_lab({})
    ours = tmp_path / "ours"
    (ours / "profiles").mkdir(parents=True)
    (ours / "profiles" / "steady.yaml").write_text("title: 5\n")
    for module in ("where", "load"):
        monkeypatch.setattr(f"runner.lab.{module}.builtin_root", lambda: ours)
    asked = reader(root)
    asked.profile("steady", "")
    assert {complaint.where for complaint in asked.complaints} == {"built-in profiles/steady.yaml:1"}


def test_a_complaint_reads_as_sentences() -> None:
    """Where and what first, then what may stand there, then what to do."""
    assert str(Complaint("no device is called 'x'", "one of a, b", "f.yaml:3", "runner device list")) == (
        "f.yaml:3: no device is called 'x'\n  expected: one of a, b\n  do: runner device list"
    )
