"""Folders and files that only this user may read, whatever the umask, and whoever came first."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import LabError
from runner.lab.private import private_folder, private_text


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The three that matter, and afterwards the one before."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_everything_that_is_made_is_closed(tmp_path: Path) -> None:
    """Missing parents, the root, and each folder below it; and the files that are written there."""
    root = tmp_path / "home" / "state"
    folder = private_folder(root, "local", "pi-04")
    assert folder == root / "local" / "pi-04"
    assert {mode(path) for path in (root.parent, root, root / "local", folder)} == {0o700}
    private_text(folder / "key", "x\n")
    private_text(folder / "key", "y\n")
    assert (mode(folder / "key"), (folder / "key").read_text()) == (0o600, "y\n")
    assert [path.name for path in folder.iterdir()] == ["key"]


def test_an_open_folder_of_ours_is_closed(tmp_path: Path) -> None:
    """What an earlier version, or a hand, left open; what lies in it stays."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    (tmp_path / "state" / "kept").touch()
    assert mode(private_folder(tmp_path / "state")) == 0o700
    assert (tmp_path / "state" / "kept").exists()


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made before us in the temp folder, for example: it is neither used nor changed."""
    (tmp_path / "taken").mkdir(mode=0o755)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(LabError, match=f"belongs to user {mine}, not to you"):
        private_folder(tmp_path / "taken")
    assert mode(tmp_path / "taken") == 0o755


def test_a_link_is_refused(tmp_path: Path) -> None:
    """Wherever it leads; and a file in a folder's place, too."""
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    for name, words in (("link", "is a link"), ("file", "cannot be made")):
        with pytest.raises(LabError, match=words):
            private_folder(tmp_path / name)
    assert mode(tmp_path / "elsewhere") == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_an_open_folder_that_a_stranger_wrote_to_is_refused(tmp_path: Path) -> None:
    """A socket of theirs where ours should be: closing the folder now would come too late."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "supervisor").touch()
    os.chown(tmp_path / "open" / "supervisor", 65534, 65534)
    with pytest.raises(LabError, match="'supervisor' is not yours"):
        private_folder(tmp_path / "open")


def test_a_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    """One that lies where the file shall be is replaced; what it leads to stays as it is."""
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "pin").symlink_to(tmp_path / "precious")
    private_text(tmp_path / "pin", "new")
    assert (tmp_path / "precious").read_text() == "kept"
    assert (tmp_path / "pin").read_text() == "new"
