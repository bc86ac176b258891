"""A server that starts nothing for a channel, as dropbear does when another command ends at that very moment, is asked again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from runner.target.transports.base import Endpoint, LinkLost
from runner.target.transports.ssh import STARTS, SshTransport

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")


class Server(asyncssh.SSHServer):
    """Lets everybody in; the first `refusals` channels start nothing. `asked` and `started` are counted."""

    def __init__(self, refusals: int, *, closes: bool) -> None:
        self.refusals, self.closes, self.asked, self.started = refusals, closes, 0, 0

    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> asyncssh.SSHServerSession[Any]:
        self.asked += 1
        return Session(self)


class Session(asyncssh.SSHServerSession[Any]):
    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, chan: asyncssh.SSHServerChannel[Any]) -> None:
        self._channel = chan

    def exec_requested(self, command: str) -> bool:
        server = self._server
        if server.asked > server.refusals:
            return True
        if server.closes:
            self._channel.close()
        return False

    def session_started(self) -> None:
        self._server.started += 1
        self._channel.exit(0)


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[SshTransport]:
    listener = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[HOST_KEY], server_factory=lambda: server)
    key = " ".join(HOST_KEY.export_public_key().decode().split()[:2])
    transport = SshTransport(lambda: Endpoint("127.0.0.1", listener.get_port(), "root", key, None))
    try:
        await transport.open()
        yield transport
    finally:
        await transport.close()
        listener.close()
        await listener.wait_closed()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without keys, an agent or a configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.mark.parametrize("closes", [False, True], ids=["refused", "closed"])
def test_a_command_that_was_not_started_is_started_once(closes: bool) -> None:
    """The command runs, and runs once, however its first channels ended."""
    server = Server(STARTS - 1, closes=closes)

    async def visit() -> None:
        async with connected(server) as transport:
            assert (await transport.run(["true"])).exit_status == 0

    asyncio.run(visit())
    assert (server.asked, server.started) == (STARTS, 1)


def test_a_stream_is_started_again_too() -> None:
    """It is joined to the command that was started in the end."""
    server = Server(1, closes=True)

    async def visit() -> None:
        async with connected(server) as transport:
            stream = await transport.stream(["true"])
            assert await stream.read() == b""
            await stream.close()

    asyncio.run(visit())
    assert (server.asked, server.started) == (2, 1)


def test_a_server_that_never_starts_anything_is_given_up() -> None:
    """It is asked a few times, and then the link is said to be of no use."""
    server = Server(1000, closes=False)

    async def visit() -> None:
        async with connected(server) as transport:
            with pytest.raises(LinkLost, match="Session request failed"):
                await transport.run(["true"])

    asyncio.run(visit())
    assert (server.asked, server.started) == (STARTS, 0)
