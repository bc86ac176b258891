"""Drivers by name: ours from the tables, outsiders' by entry point, and a name that is neither."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError
from runner.model.device import DeviceLine, DeviceType
from runner.target import drivers
from runner.target.drivers import POWER, TRANSPORTS, Request, known, make_target
from runner.target.power.fenced import Fenced
from runner.target.power.process import SOCKET_NAME_BYTES, ProcessPower
from runner.target.transports.fake import FakeTransport
from runner.target.transports.local import LocalTransport

LOCAL = DeviceType(title="this machine", arch="native", transport="local", power="process", loss="process_crash")


@pytest.fixture
def request_(tmp_path: Path, clock: Any) -> Request:
    line = DeviceLine(type="local-process")
    return Request("local", line, LOCAL, tmp_path / "state", tmp_path / "cache", tmp_path / "witness.jsonl", clock, print)


@pytest.mark.parametrize(
    ("kind", "name", "place"), [*(("power", *row) for row in POWER.items()), *(("transports", *row) for row in TRANSPORTS.items())]
)
def test_every_driver_of_the_tables_is_there(kind: str, name: str, place: str) -> None:
    """Each place in the tables leads to a maker, and the name is known."""
    module, _, function = place.partition(":")
    assert callable(getattr(import_module(module), function))
    assert name in known(kind)


def test_a_local_target_is_put_together_from_its_type(request_: Request) -> None:
    """Power, behind its fence, and transport by the names of the type; a witness file that is there; nothing has been switched on."""
    target = asyncio.run(make_target(request_))
    assert isinstance(target.power, Fenced)
    assert isinstance(target.power._power, ProcessPower)
    assert isinstance(target.transport, LocalTransport)
    assert (target.name, target.loss) == ("local", "process_crash")
    assert request_.witness.is_file()
    assert asyncio.run(target.power.disk()) == {}


@pytest.mark.parametrize(("field", "among"), [("power", "process, qemu"), ("transport", "local, serial, ssh")])
def test_a_driver_that_is_not_there_is_told_with_those_that_are(request_: Request, field: str, among: str) -> None:
    """An error in what was asked, before anything has moved."""
    wrong = dataclasses.replace(request_, type=LOCAL.model_copy(update={field: "nope"}))
    with pytest.raises(AskError, match=f"no {field} driver is called 'nope'") as refused:
        asyncio.run(make_target(wrong))
    assert refused.value.complaints[0].expected == f"one of {among}"


@pytest.fixture
def outsider(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`outsider(name)`: another package offers a transport of that name, our own fake."""

    def offer(name: str) -> None:
        group = "stageflow_runner.transports"
        point = EntryPoint(name, "tests.target.test_drivers:make_fake", group)
        monkeypatch.setattr(drivers, "entry_points", lambda group: [point] if group == point.group else [])
        monkeypatch.setattr(
            drivers, "import_module", lambda name: import_module(__name__) if name.startswith("tests.") else import_module(name)
        )

    return offer


def make_fake(request: Request, power: Any) -> FakeTransport:
    return FakeTransport()


def test_an_outsiders_driver_is_found_by_its_entry_point(request_: Request, outsider: Callable[[str], None]) -> None:
    """Its name is known, and it is used where a device type says so."""
    outsider("carrier-pigeon")
    assert known("transports") == ["carrier-pigeon", "local", "serial", "ssh"]
    theirs = dataclasses.replace(request_, type=LOCAL.model_copy(update={"transport": "carrier-pigeon"}))
    assert isinstance(asyncio.run(make_target(theirs)).transport, FakeTransport)


def test_an_outsider_cannot_take_a_name_of_ours(request_: Request, outsider: Callable[[str], None]) -> None:
    """`local` stays local, whatever is installed beside us."""
    outsider("local")
    assert isinstance(asyncio.run(make_target(request_)).transport, LocalTransport)


def test_a_socket_whose_name_would_be_too_long_lies_elsewhere(request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temp folder with a long name is no reason for a device not to start."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 100)))
    assert len(asyncio.run(make_target(request_)).home.socket) <= SOCKET_NAME_BYTES
    monkeypatch.setattr("tempfile.tempdir", "/t")
    assert asyncio.run(make_target(request_)).home.socket.startswith("/t/runner-")
