"""Passwords and passphrases over SSH, against a server in this process that notes every password it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from runner.target.credentials import Secret
from runner.target.transports.base import Endpoint, LinkRefused
from runner.target.transports.ssh import SshTransport

WORD = "correct-horse-battery"
HOST_KEY, OTHER_KEY = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
CLIENT_KEY = asyncssh.generate_private_key("ssh-ed25519")


def public(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])


@dataclass
class Server:
    """A server on loopback: its port, and the passwords that it was told."""

    port: int = 0
    told: list[str] = field(default_factory=list)


class Login(asyncssh.SSHServer):
    def __init__(self, server: Server) -> None:
        self._server = server

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._server.told.append(password)
        return password == WORD


def with_server(visit: Callable[[Server], Awaitable[None]], authorized: str | None = None) -> Server:
    """Runs `visit` beside a server, and gives the server with what it heard."""

    async def life() -> Server:
        server = Server()
        keys = asyncssh.import_authorized_keys(authorized) if authorized else None
        listener = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[HOST_KEY], server_factory=lambda: Login(server), authorized_client_keys=keys,
            process_factory=lambda process: process.exit(0),
        )  # fmt: skip
        server.port = listener.get_port()
        try:
            await asyncio.wait_for(visit(server), 30)
        finally:
            listener.close()
            await listener.wait_closed()
        return server

    return asyncio.run(life())


def opened(pin: str, password: str, passphrase: str | None = None) -> Callable[[Server], Awaitable[None]]:
    """A visit that opens a transport with this pinned key and this password."""

    async def visit(server: Server) -> None:
        secrets = (Secret(word) if word else None for word in (password, passphrase))
        transport = SshTransport(lambda: Endpoint("127.0.0.1", server.port, "root", pin), *secrets)
        try:
            await transport.open()
        finally:
            await transport.close()

    return visit


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without keys, an agent or a configuration."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


def test_a_password_opens_a_device_whose_key_is_pinned() -> None:
    """It is told to that device, once, and nobody is asked anything."""
    assert with_server(opened(public(HOST_KEY), WORD)).told == [WORD]


def test_a_password_is_never_told_to_another_key() -> None:
    """Whoever answers at the device's address with a key of their own hears nothing."""
    told: list[Server] = []

    async def visit(server: Server) -> None:
        told.append(server)
        await opened(public(OTHER_KEY), WORD)(server)

    with pytest.raises(LinkRefused, match="not the pinned one"):
        with_server(visit)
    assert told[0].told == []


def test_a_password_is_never_told_without_a_pin(home: Path) -> None:
    """Not even to a host that the user's known_hosts knows: a lab's file could name any of those."""
    told: list[Server] = []

    async def visit(server: Server) -> None:
        told.append(server)
        (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {public(HOST_KEY)}\n")
        await opened("", WORD)(server)

    with pytest.raises(LinkRefused, match="not pinned") as error:
        with_server(visit)
    assert told[0].told == []
    assert WORD not in str(error.value)


def test_a_wrong_password_is_refused_and_not_quoted() -> None:
    """The sentence says that we are not let in, and nothing of what was tried."""
    with pytest.raises(LinkRefused, match="lets us not in") as error:
        with_server(opened(public(HOST_KEY), "wrong-" + WORD))
    assert WORD not in str(error.value)


def test_a_passphrase_opens_the_users_key(home: Path) -> None:
    """The key stays encrypted where it lies; without the passphrase it opens nothing."""
    path = home / ".ssh" / "id_ed25519"
    CLIENT_KEY.write_private_key(path, "pkcs8-pem", passphrase=WORD)
    path.chmod(0o600)
    with_server(opened(public(HOST_KEY), "", WORD), authorized=public(CLIENT_KEY))
    for wrong in (None, "wrong-" + WORD):
        with pytest.raises(LinkRefused) as error:
            with_server(opened(public(HOST_KEY), "", wrong), authorized=public(CLIENT_KEY))
        assert WORD not in str(error.value)
