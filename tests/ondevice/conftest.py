"""A store with one small pipeline in it, as the coordinator pushes it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.ondevice.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def push(store: Store) -> Callable[[dict[str, bytes]], str]:
    """`push(files)` keeps a zip of them in the store and gives its hash, which is also its tree's name here."""

    def push(files: dict[str, bytes]) -> str:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
        store.piece(sha256, buffer.getvalue())
        store.keep(sha256)
        return sha256

    return push
