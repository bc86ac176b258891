"""The coordinator's side without a keeper."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from runner.errors import LabError
from runner.target.emulation.board import Board, KeeperGone, _make_key
from runner.target.emulation.machine import ARM64
from runner.target.emulation.messages import SOCKET


def test_a_board_that_was_never_started_says_so(tmp_path: Path) -> None:
    """Every verb names the board and what to do; no folder is made by asking."""
    board = Board("pi", tmp_path / "pi", ARM64, tmp_path / "cache")
    for ask in (board.on, board.cut, board.facts, board.disk):
        with pytest.raises(KeeperGone, match="start the board"):
            asyncio.run(ask())
    assert list(tmp_path.iterdir()) == []


def test_a_keeper_that_is_killed_while_it_is_asked_is_gone(tmp_path: Path) -> None:
    """Whoever starts the board then starts another one; that it left without a word is no complaint about the board."""

    async def story() -> None:
        async def without_a_word(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.close()

        async with await asyncio.start_unix_server(without_a_word, tmp_path / SOCKET):
            with pytest.raises(KeeperGone, match="no keeper any more"):
                await Board("pi", tmp_path, ARM64, tmp_path / "cache").facts()

    asyncio.run(story())


def test_off_is_fine_when_nothing_runs(tmp_path: Path) -> None:
    """Cleaning up twice, or before anything happened, is not an error."""
    asyncio.run(Board("pi", tmp_path / "pi", ARM64, tmp_path / "cache").off())


def test_a_folder_that_cannot_be_made_is_the_labs_fault(tmp_path: Path) -> None:
    """No bare OSError leaves a board."""
    (tmp_path / "file").write_text("")
    board = Board("pi", tmp_path / "pi", ARM64, tmp_path / "file" / "cache")
    with pytest.raises(LabError):
        asyncio.run(board.start(print))


def test_keys_are_private_and_in_openssh_format(tmp_path: Path) -> None:
    """Only the owner reads the private half; the public half is one line."""
    _make_key(tmp_path / "key", "pi host_key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert (tmp_path / "key").read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    kind, _, comment = (tmp_path / "key.pub").read_text().split(maxsplit=2)
    assert (kind, comment) == ("ssh-ed25519", "pi host_key\n")
