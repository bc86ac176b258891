"""`init`, `schema` and `doctor`: a lab from nothing, its files' schemas, and what this machine lacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.cli.lab import SCHEMAS

Runner = Callable[..., Any]
TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}


def test_a_new_lab_has_an_inventory_and_room_for_ones_own(runner: Runner, tmp_path: Path) -> None:
    """The built-in devices, and four folders; the answer says where and what next."""
    said = runner("--json", "init", str(tmp_path / "new"))
    assert said.json["lab"] == str(tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["devices", "inventory.yaml", "pipelines", "profiles", "runs"]
    assert runner("--lab", str(tmp_path / "new"), "device", "list").exit_code == 0


def test_a_lab_that_is_there_is_not_written_over(runner: Runner, make_lab: Callable[..., Path]) -> None:
    """Exit 2, and the inventory as it was."""
    root = make_lab({"inventory.yaml": "devices: {}  # mine\n"})
    assert "is a lab already" in runner("init", str(root)).err
    assert (root / "inventory.yaml").read_text() == "devices: {}  # mine\n"


def test_a_place_that_cannot_be_written_is_told(runner: Runner, tmp_path: Path) -> None:
    """With the system's reason, as a mistake in what was asked."""
    (tmp_path / "file").touch()
    said = runner("--json", "init", str(tmp_path / "file" / "lab"))
    assert (said.exit_code, said.json["error"]["kind"]) == (2, "ask")
    assert "Not a directory" in said.json["error"]["found"]


def schemas_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside of a schema, itself included."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from schemas_in(inner)


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_a_json_schema(runner: Runner, name: str) -> None:
    """An object with known types only, whose every reference leads somewhere and whose every required key is described."""
    schema = runner("--json", "schema", name).json["json_schema"]
    assert schema["type"] == "object"
    for part in schemas_in(schema):
        kind = part.get("type")
        assert not isinstance(kind, str) or kind in TYPES, kind
        reference = part.get("$ref")
        if isinstance(reference, str):
            _, home, name = reference.split("/")
            assert home in ("$defs", "definitions")  # draft-07 has the older word
            assert name in schema[home]
        if isinstance(part.get("required"), list):
            assert set(part["required"]) <= set(part["properties"])


def test_the_doctor_names_each_package_that_is_missing(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with nothing installed: what each device needs, and the one line that installs it all."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    said = runner("--json", "doctor").json
    assert {"nbdkit", "qemu-system-arm", "qemu-system-x86", "mmdebstrap"} <= set(said["missing_packages"])
    rows = {row["what"]: row for row in said["facts"]}
    assert "qemu-system-arm" in rows["qemu-pi"]["missing"]
    assert "qemu-system-x86" not in rows["qemu-pi"]["missing"]
    assert rows["local device"]["missing"] == []
    assert "apt-get install --no-install-recommends" in runner("doctor").out


@pytest.mark.parametrize(
    ("name", "text", "contains"),
    [
        ("inventory.yaml", "devices:\n  m: {type: nope}\n", "1 mistake in inventory.yaml or devices/: `runner device list` shows them"),
        ("devices/local-process.yaml", "title: t\n", "mistakes in inventory.yaml or devices/: `runner device list` shows them"),
        ("profiles/mine.yaml", "titel: t\n", "mistakes in profiles/: `runner profile list` shows them"),
        ("profiles/mine.yaml", "title: t\nfaults:\n  - fault: steady\n", "sound: "),
    ],
    ids=["inventory", "device type", "profile", "sound"],
)
def test_the_doctor_looks_at_the_lab(runner: Runner, make_lab: Callable[..., Path], name: str, text: str, contains: str) -> None:
    """A lab that cannot be read is told with the command that says why; the machine is looked at all the same."""
    root = make_lab({"inventory.yaml": "devices:\n  m: {type: local-process}\n", name: text})
    said = runner("--json", "--lab", str(root), "doctor").json
    states = {row["what"]: row["state"] for row in said["facts"]}
    assert contains in states["lab"]
    assert states["local device"].startswith("ready")


def test_the_doctor_is_content_with_a_whole_machine(runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The negative control: with every tool there, nothing is asked for."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/bin/true")
    monkeypatch.setattr("runner.target.emulation.image.KEYRING", tmp_path)
    assert runner("--json", "doctor").json["missing_packages"] == []
    assert "apt-get" not in runner("doctor").out


@pytest.mark.parametrize(
    ("knows", "made", "state"),
    [
        (True, True, "ready: a real power loss; image made"),
        (True, False, "ready: a real power loss; image not made"),
        (False, False, "not to be had: this QEMU has no machine raspi3b"),
    ],
    ids=["made", "to be built", "old QEMU"],
)
def test_the_doctor_says_whether_an_emulated_raspberry_pi_can_be_had(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, knows: bool, made: bool, state: str
) -> None:
    """A QEMU that lists its machine, and an image in the cache; neither is started nor built for it."""
    from runner.target.emulation import image, machine

    qemu = tmp_path / "qemu-system-aarch64"
    qemu.write_text("#!/bin/sh\necho 'virt  a board'\n" + "echo 'raspi3b  Raspberry Pi 3B'\n" * knows)
    qemu.chmod(0o755)
    monkeypatch.setattr(machine, "SBIN", f"{tmp_path}:/bin")
    monkeypatch.setattr(image, "missing_tools", lambda arches: [])
    monkeypatch.setenv("RUNNER_CACHE", str(tmp_path / "cache"))
    if made:
        image._place("raspi3b", tmp_path / "cache" / "images").mkdir(parents=True)
    rows = {row["what"]: row["state"] for row in runner("--json", "doctor").json["facts"]}
    assert rows["qemu-raspi3b"] == state


def test_the_doctor_names_serial_ports_and_who_may_open_them(runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each adapter with its group; without one that is said. None is opened."""
    from runner.target.serial import port

    def said() -> str:
        (state,) = (row["state"] for row in runner("--json", "doctor").json["facts"] if row["what"] == "serial ports")
        return str(state)

    monkeypatch.setattr(port, "ports", lambda: [])
    assert said() == "no adapter is plugged in"
    adapter, (ours, theirs) = tmp_path / "usb-FTDI-if00-port0", os.openpty()
    monkeypatch.setattr(port, "ports", lambda: [str(adapter)])
    monkeypatch.setattr(port, "_group", lambda found: "dialout")
    assert said().startswith(f"there is no port {adapter}"), "it is gone meanwhile"
    adapter.touch()
    assert said() == f"{adapter} is no serial port"
    adapter.unlink()
    adapter.symlink_to(os.ttyname(theirs))
    assert said() == f"{adapter} may be opened; its group is dialout"
    monkeypatch.setattr("os.access", lambda path, mode: path != str(adapter))
    assert said().startswith(f"{adapter} may not be opened by user ")
    for end in (ours, theirs):
        os.close(end)
