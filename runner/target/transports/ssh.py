"""SSH: one control connection kept open, every command and stream a channel of it.

The host key is always checked. In this order: the key that the endpoint brings along (emulated boards: we made
it), the key pinned by `runner device trust`, the user's own known_hosts. Nothing is ever trusted on first use.
`~/.ssh/config` is honoured for devices of the inventory; keys and options are loaded once.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

from runner.errors import LabError
from runner.target.drivers import Request
from runner.target.power.base import Power
from runner.target.transports.base import Completed, Endpoint, LinkLost, Refused, Stream

CONNECT_LIMIT_S = 15.0
READ_BYTES = 262144
# The fast ones of both OpenSSH and dropbear; post-quantum key exchange costs a slow board seconds per connection.
KEY_EXCHANGE = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
CIPHERS = ("aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr")

Result = TypeVar("Result")


def make(request: Request, power: Power) -> SshTransport:
    """The transport of an inventory line, or of the endpoint that its power source learns by switching it on."""

    def find() -> Endpoint:
        line = request.line
        return power.endpoint() or Endpoint(line.address, line.port, line.user, pinned(request.state, request.name))

    return SshTransport(find)


def pin_file(state: Path, device: str) -> Path:
    return state / "pins" / f"{device}.pub"


def pinned(state: Path, device: str) -> str:
    """The host key pinned for a device as "ssh-… AAAA…", or "" when there is none."""
    path = pin_file(state, device)
    return path.read_text(encoding="ascii").strip() if path.exists() else ""


async def fetch_host_key(address: str, port: int | None) -> str:
    """The key that a server shows now. Whether it is the right one, a person must decide. Raises LabError."""
    key = await _translated(asyncssh.get_server_host_key(address, port if port is not None else ()), address)
    if key is None:
        raise LabError(f"{address} shows no host key")
    return " ".join(key.export_public_key().decode("ascii").split()[:2])


def fingerprint(public_key: str) -> str:
    return str(asyncssh.import_public_key(public_key).get_fingerprint())


class SshTransport:
    """`find` says where the device is; it is asked again at every `open`, because an emulated board may move."""

    def __init__(self, find: Callable[[], Endpoint]) -> None:
        self._find = find
        self._connection: asyncssh.SSHClientConnection | None = None
        self._known: tuple[Endpoint, asyncssh.SSHClientConnectionOptions] | None = None

    async def open(self) -> None:
        if self._connection is not None:
            return
        endpoint = self._find()

        async def connect() -> asyncssh.SSHClientConnection:
            port = endpoint.port if endpoint.port is not None else ()
            return await asyncssh.connect(endpoint.host, port, options=self._options(endpoint))

        self._connection = await _translated(asyncio.wait_for(connect(), CONNECT_LIMIT_S), f"{endpoint.host}:{endpoint.port or 22}")

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        running = self._open().run(shlex.join(argv), input=input, encoding=None)
        done = await _translated(asyncio.wait_for(running, timeout_s), f"{argv[0]}, within {timeout_s:g} s")
        status = done.exit_status if done.exit_status is not None else 255
        return Completed(status, _bytes(done.stdout), _bytes(done.stderr))

    async def stream(self, argv: Sequence[str]) -> Stream:
        return SshStream(await _translated(self._open().create_process(shlex.join(argv), encoding=None), argv[0]))

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()  # after a cut nobody answers a polite goodbye
            await asyncio.wait([asyncio.ensure_future(connection.wait_closed())], timeout=5)

    def _open(self) -> asyncssh.SSHClientConnection:
        if self._connection is None:
            raise LinkLost("the SSH connection is closed")
        return self._connection

    def _options(self, endpoint: Endpoint) -> asyncssh.SSHClientConnectionOptions:
        if self._known is None or self._known[0] != endpoint:
            chosen: dict[str, Any] = {"username": endpoint.user} if endpoint.user else {}
            if endpoint.host_public_key:
                chosen["known_hosts"] = ([asyncssh.import_public_key(endpoint.host_public_key)], [], [])
            if endpoint.client_key is not None:  # a board of our own: nothing of the user's configuration applies
                chosen |= {"config": None, "client_keys": [str(endpoint.client_key)], "agent_path": None}
            self._known = (
                endpoint,
                asyncssh.SSHClientConnectionOptions(
                    kex_algs=KEY_EXCHANGE, encryption_algs=CIPHERS, compression_algs=None, keepalive_interval=15, **chosen
                ),
            )
        return self._known[1]


class SshStream:
    def __init__(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._process = process

    async def read(self) -> bytes:
        return await _translated(self._process.stdout.read(READ_BYTES), "reading")

    async def write(self, data: bytes) -> None:
        try:
            self._process.stdin.write(data)
        except OSError as error:
            raise LinkLost("the command at the other end of the stream has ended") from error
        await _translated(self._process.stdin.drain(), "writing")

    async def close(self) -> None:
        self._process.close()


async def _translated(awaited: Awaitable[Result], what: str) -> Result:
    """The one map from asyncssh's errors to ours; no other leaves this file."""
    try:
        return await awaited
    except asyncssh.HostKeyNotVerifiable as error:
        raise Refused(
            f"{what} shows a host key that is not the pinned one, or none is pinned: {error.reason}",
            expected="the pinned key, or one in known_hosts",
            do="make sure that it is the right device, then: runner device trust DEVICE",
        ) from error
    except asyncssh.PermissionDenied as error:
        raise Refused(f"{what} lets us not in: {error.reason}", do="check the user and the key in ~/.ssh/config") from error
    except asyncio.TimeoutError as error:
        raise LinkLost(f"no answer from {what}") from error
    except (asyncssh.Error, OSError) as error:
        raise LinkLost(f"{what}: {error}") from error
    except ValueError as error:  # asyncssh's errors about keys and configuration files
        raise Refused(f"{what} cannot be tried: {error}", do="look at ~/.ssh/config and at the pinned key") from error


def _bytes(data: bytes | str | None) -> bytes:
    return data.encode() if isinstance(data, str) else data or b""
