"""Where a device's password comes from, who never hears it, and what is refused on the way."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.errors import AskError, LabError
from runner.target import credentials
from runner.target.credentials import Secret, find_secret, variable

WORD = "correct-horse-battery"
Write = Callable[..., dict[str, str]]


@pytest.fixture(autouse=True)
def _no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks the keyring of whoever runs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(text, mode=…, name=…)` makes a file of secrets, and gives the environment that names it."""

    def write(text: str, mode: int = 0o600, name: str = "secrets.yaml") -> dict[str, str]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return {"RUNNER_SECRETS": str(path)}

    return write


# ---- a secret is not shown ------------------------------------------------------------------------------------------------


@dataclass
class Holder:
    secret: Secret


def raised(secret: Secret) -> str:
    try:
        raise ValueError(secret, Holder(secret))
    except ValueError:
        return traceback.format_exc()


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(TypeError) as error:
        act()
    return str(error.value)


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        format,
        lambda secret: f"{secret!s:>40}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
        lambda secret: repr([Holder(secret)]),
        lambda secret: json.dumps({"password": secret}, default=str),
        lambda secret: logging.LogRecord("x", 10, "x", 1, "%s", (secret,), None).getMessage(),
        raised,
        lambda secret: refused(lambda: json.dumps(secret)),
        lambda secret: refused(lambda: pickle.dumps(secret)),
        lambda secret: refused(lambda: copy.deepcopy(Holder(secret))),
        lambda secret: refused(lambda: vars(secret)),
    ],
)
def test_a_secret_never_shows_its_content(show: Callable[[Secret], str]) -> None:
    """However it is printed, formatted, logged, raised or written, the text does not come along."""
    assert WORD not in show(Secret(WORD))
    assert Secret(WORD).reveal() == WORD


# ---- where it comes from ------------------------------------------------------------------------------------------------------


def keyring(answer: Callable[[str, str], str | None]) -> dict[str, types.ModuleType]:
    """A package `keyring` that answers so."""
    package, errors = types.ModuleType("keyring"), types.ModuleType("keyring.errors")
    errors.KeyringError = type("KeyringError", (Exception,), {})  # type: ignore[attr-defined]
    errors.NoKeyringError = type("NoKeyringError", (errors.KeyringError,), {})  # type: ignore[attr-defined]
    package.get_password = answer  # type: ignore[attr-defined]
    return {"keyring": package, "keyring.errors": errors}


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, str], str | None]], types.ModuleType]:
    """`install(answer)` makes a keyring that answers so; gives its errors."""

    def install(answer: Callable[[str, str], str | None]) -> types.ModuleType:
        modules = keyring(answer)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
        return modules["keyring.errors"]

    return install


def test_environment_then_keyring_then_file(write: Write, install: Callable[..., types.ModuleType]) -> None:
    """The first of the three that knows a secret gives it; who knows none gives none."""
    environ = write("pi-04: {ssh_password: from-file}\n")

    def found(**more: str) -> str | None:
        secret = find_secret("pi-04", "ssh_password", {**environ, **more})
        return secret.reveal() if secret else None

    assert found() == "from-file"
    install(lambda service, name: {("stageflow-runner", "pi-04/ssh_password"): "from-keyring"}.get((service, name)))
    assert found() == "from-keyring"
    assert found(RUNNER_SECRET_PI_04_SSH_PASSWORD="from-environment") == "from-environment"
    assert find_secret("pi-05", "ssh_password", environ) is None
    assert find_secret("pi-04", "ssh_passphrase", environ) is None


def test_without_any_source_there_is_none(tmp_path: Path) -> None:
    """Most devices have keys: nothing installed, nothing set, no file is the ordinary case."""
    assert find_secret("pi-04", "ssh_password", {"XDG_CONFIG_HOME": str(tmp_path)}) is None


@pytest.mark.parametrize(("device", "name"), [("pi-04", "RUNNER_SECRET_PI_04_SSH_PASSWORD"), ("a.B", "RUNNER_SECRET_A_B_SSH_PASSWORD")])
def test_a_variable_is_named_after_its_device(device: str, name: str) -> None:
    """Capitals, and `_` for whatever no variable may have."""
    assert variable(device, "ssh_password") == name


def test_a_keyring_without_a_desktop_is_no_keyring(install: Callable[..., types.ModuleType]) -> None:
    """On a headless machine the package may be there and nothing behind it: then the next source is asked."""

    def answer(service: str, name: str) -> str | None:
        raise errors.NoKeyringError

    errors = install(answer)
    assert find_secret("pi-04", "ssh_password", {"XDG_CONFIG_HOME": "/nowhere"}) is None


def test_a_locked_keyring_is_the_labs_trouble(install: Callable[..., types.ModuleType]) -> None:
    """It may hold the secret: going on without it would be a wrong password, and a puzzle."""

    def answer(service: str, name: str) -> str | None:
        raise errors.KeyringError(WORD)

    errors = install(answer)
    with pytest.raises(LabError, match="does not answer") as error:
        find_secret("pi-04", "ssh_password", {})
    assert WORD not in str(error.value)
    assert "RUNNER_SECRET_PI_04_SSH_PASSWORD" in str(error.value)


# ---- the file ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_can_open_is_refused(write: Write, mode: int) -> None:
    """Whatever bit is set for a group or for all."""
    with pytest.raises(AskError, match=f"mode {mode:03o}") as error:
        find_secret("pi-04", "ssh_password", write(f"pi-04: {{ssh_password: {WORD}}}\n", mode))
    assert "chmod 600" in str(error.value)
    assert WORD not in str(error.value)


def test_a_file_of_another_user_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wrote it could choose with which password we go to which device."""
    environ, mine = write("pi-04: {ssh_password: x}\n"), os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(AskError, match=f"belongs to user {mine}"):
        find_secret("pi-04", "ssh_password", environ)


@pytest.mark.parametrize("place", ["lab/secrets.yaml", "lab/deep/secrets.yaml"])
def test_a_file_inside_a_lab_is_refused(write: Write, tmp_path: Path, place: str) -> None:
    """A lab is copied and archived, and its secrets with it; a link from outside does not help."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "inventory.yaml").write_text("devices: {}\n")
    with pytest.raises(AskError, match="inside the lab"):
        find_secret("pi-04", "ssh_password", write("pi-04: {ssh_password: x}\n", name=place))
    (tmp_path / "link.yaml").symlink_to(tmp_path / place)
    with pytest.raises(AskError, match="inside the lab"):
        find_secret("pi-04", "ssh_password", {"RUNNER_SECRETS": str(tmp_path / "link.yaml")})


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A pipe that nobody writes to, and a folder."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(AskError, match="mode"):
            find_secret("pi-04", "ssh_password", {"RUNNER_SECRETS": str(place)})


@pytest.mark.parametrize(
    "text",
    [
        f"pi-04: {{ssh_password: !{WORD} x}}\n",
        f"pi-04: {{ssh_password: *{WORD}}}\n",
        f"pi-04: {{ssh_password: '{WORD}\n",
        f"pi-04: {{ssh_password: [{WORD}]}}\n",
        f"pi-04: {{ssh_password: {{{WORD}: 1}}}}\n",
        f"pi-04: {{ssh_password: 12345, {WORD}: 1}}\n",
        f"pi-04: {WORD}\n",
        f"{WORD}\n",
        f"pi-04: {{{WORD}: x}}\n",
        "pi-04: {ssh_password: 123456}\n",
        "",
    ],
)
def test_a_file_that_makes_no_sense_is_not_quoted(write: Write, text: str) -> None:
    """The complaint has the file and the line, and not a word of what stands there."""
    with pytest.raises(AskError) as error:
        find_secret("pi-04", "ssh_password", write(text))
    assert "secrets.yaml:" in str(error.value)
    assert WORD not in str(error.value)
    assert "123456" not in str(error.value)


def test_what_is_checked_is_what_is_read(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is exchanged between the look and the reading is not the one that is read."""
    environ = write("pi-04: {ssh_password: ours}\n")
    looked = credentials._refuse_an_open_file

    def look(path: Path, found: os.stat_result) -> None:
        looked(path, found)
        path.unlink()
        path.write_text("pi-04: {ssh_password: theirs}\n")

    monkeypatch.setattr(credentials, "_refuse_an_open_file", look)
    secret = find_secret("pi-04", "ssh_password", environ)
    assert secret is not None
    assert secret.reveal() == "ours"
