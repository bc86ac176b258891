"""Passwords and passphrases: never in the lab, the plan, a run folder, a log or a process list.

    RUNNER_SECRET_PI_04_SSH_PASSWORD    the environment, else
    stageflow-runner  pi-04/ssh_password    the keyring, where the package `keyring` is installed, else
    pi-04: {ssh_password: …}            RUNNER_SECRETS, else ~/.config/stageflow-runner/secrets.yaml

The first that knows it wins. The file must be ours, closed to all others, and outside of every lab, because a lab is
copied, archived and pushed. No message quotes what it says, not even when it is no YAML.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from runner.errors import AskError, LabError
from runner.lab.yaml_source import Source

PREFIX = "RUNNER_SECRET_"
SERVICE = "stageflow-runner"
KINDS = ("ssh_password", "ssh_passphrase", "serial_password")
OTHERS = 0o077


class Secret:
    """A text that shows itself only to whoever asks for it by name. What prints, formats, copies or stores it gets no word of it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the library that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


def find_secret(device: str, kind: str, environ: Mapping[str, str] = os.environ) -> Secret | None:
    """What is known of one kind in `KINDS` for a device, or None.

    Raises AskError for a file that others can read, that lies in a lab or is no mapping of texts, LabError for a keyring
    that does not answer.
    """
    assert kind in KINDS
    text = environ.get(variable(device, kind)) or _from_keyring(device, kind) or _from_file(secrets_file(environ), device, kind)
    return Secret(text) if text else None


def variable(device: str, kind: str) -> str:
    """The environment variable of a device's secret: RUNNER_SECRET_PI_04_SSH_PASSWORD."""
    return PREFIX + re.sub(r"[^A-Z0-9]", "_", f"{device}_{kind}".upper())


def secrets_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the file of secrets would lie."""
    config = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(environ.get("RUNNER_SECRETS") or f"{config}/{SERVICE}/secrets.yaml").expanduser().absolute()


def _from_keyring(device: str, kind: str) -> str | None:
    if importlib.util.find_spec("keyring") is None:
        return None
    keyring, errors = importlib.import_module("keyring"), importlib.import_module("keyring.errors")
    try:
        found = keyring.get_password(SERVICE, f"{device}/{kind}")
    except errors.NoKeyringError:  # installed, and no desktop behind it
        return None
    except errors.KeyringError as error:
        raise LabError(f"the keyring does not answer: {type(error).__name__}", do=f"unlock it, or set {variable(device, kind)}") from error
    return found if isinstance(found, str) else None


def _from_file(path: Path, device: str, kind: str) -> str | None:
    """One text of the file; what is checked is the very file that is read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AskError(f"{path} cannot be read: {error.strerror}", expected="a file of yours with mode 600") from error
    try:
        _refuse_an_open_file(path, os.fstat(fd))
        source = Source(Path(f"/dev/fd/{fd}"), str(path))
    finally:
        os.close(fd)
    if source.complaints:
        raise AskError("the secrets cannot be read as YAML", expected="plain YAML", where=source.complaints[0].where)
    return _text(source, device, kind)


def _refuse_an_open_file(path: Path, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or mode & OTHERS:
        raise AskError(
            f"{path} has mode {mode:03o} and belongs to user {found.st_uid}",
            expected=f"a file of user {os.geteuid()} with mode 600: it holds secrets",
            do=f"chmod 600 {path}",
        )
    lab = next((parent for parent in path.resolve().parents if (parent / "inventory.yaml").exists()), None)
    if lab is not None:
        raise AskError(
            f"{path} lies inside the lab {lab}, which is copied and archived",
            expected="secrets outside of every lab",
            do=f"mv {path} ~/.config/{SERVICE}/secrets.yaml",
        )


def _text(source: Source, device: str, kind: str) -> str | None:
    """The text at device → kind, None where nothing stands; what stands there is never quoted."""
    here: Any = source.data
    for number, key in enumerate((device, kind)):
        if not isinstance(here, dict):
            where = source.where((device, kind)[:number])
            raise AskError("a mapping is expected here", expected=f"DEVICE: {{{' or '.join(KINDS)}: TEXT}}", where=where)
        if number and set(here) - set(KINDS):
            raise AskError("an unknown key stands here", expected=" or ".join(KINDS), where=source.where((device,)))
        if key not in here:
            return None
        here = here[key]
    if not isinstance(here, str):
        raise AskError(
            f"{kind} of {device} is no text", expected="text, in quotes if it looks like a number", where=source.where((device, kind))
        )
    return here
