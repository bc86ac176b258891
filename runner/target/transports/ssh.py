"""SSH: one control connection kept open, every command and stream a channel of it.

The host key is always checked. In this order: the key that the endpoint brings along (emulated boards: we made
it), the key pinned by `runner device trust`, the user's own known_hosts. Nothing is ever trusted on first use.
`~/.ssh/config` is honoured for devices of the inventory; keys and options are loaded once. A password goes only to a
device whose key is pinned: whoever else answers at its address would learn it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runner.errors import LabError
from runner.target.transports.base import READ_BYTES, STALLED_S, Completed, Endpoint, LinkLost, LinkRefused, Stream, everything, words
from runner.target.transports.lean_asyncssh import asyncssh

if TYPE_CHECKING:
    from runner.target.credentials import Secret
    from runner.target.drivers import Request
    from runner.target.power.base import Power

CONNECT_LIMIT_S = 15.0
KEEPALIVE_S = 15
STARTS, START_AGAIN_S = 5, 0.1  # how often a server is asked to start one command, and the pause in between
# The fast ones of both OpenSSH and dropbear; post-quantum key exchange costs a slow board seconds per connection.
KEY_EXCHANGE = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
CIPHERS = ("aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr")

Result = TypeVar("Result")


def make(request: Request, power: Power) -> SshTransport:
    """The transport of an inventory line, or of the endpoint that its power source learns by switching it on."""

    def find() -> Endpoint:
        line = request.line
        return power.endpoint() or Endpoint(line.host, line.port, line.user, pinned(request.state, request.name))

    from runner.target.credentials import find_secret

    if not request.line.host:
        return SshTransport(find)
    return SshTransport(find, find_secret(request.name, "ssh_password"), find_secret(request.name, "ssh_passphrase"))


def pin_file(state: Path, device: str) -> Path:
    return state / "pins" / f"{device}.pub"


def pinned(state: Path, device: str) -> str:
    """The host key pinned for a device as "ssh-… AAAA…", or "" when there is none."""
    path = pin_file(state, device)
    return path.read_text(encoding="ascii").strip() if path.exists() else ""


async def fetch_host_key(address: str, port: int | None) -> str:
    """The key that a server shows now. Whether it is the right one, a person must decide. Raises LabError."""
    asking = asyncssh.get_server_host_key(address, port if port is not None else ())
    key = await _translated(asking, address, CONNECT_LIMIT_S)
    if key is None:
        raise LabError(f"{address} shows no host key")
    return " ".join(key.export_public_key().decode("ascii").split()[:2])


def fingerprint(public_key: str) -> str:
    return str(asyncssh.import_public_key(public_key).get_fingerprint())


class SshTransport:
    """`find` says where the device is; it is asked again at every `open`, because an emulated board may move."""

    def __init__(self, find: Callable[[], Endpoint], password: Secret | None = None, passphrase: Secret | None = None) -> None:
        self._find, self._password, self._passphrase = find, password, passphrase
        self._connection: asyncssh.SSHClientConnection | None = None
        self._known: tuple[Endpoint, asyncssh.SSHClientConnectionOptions] | None = None

    async def open(self) -> None:
        if self._connection is not None:
            return
        endpoint = self._find()

        async def connect() -> asyncssh.SSHClientConnection:
            port = endpoint.port if endpoint.port is not None else ()
            return await asyncssh.connect(endpoint.host, port, options=self._options(endpoint))

        self._connection = await _translated(connect(), f"{endpoint.host}:{endpoint.port or 22}", CONNECT_LIMIT_S)
        _acknowledge_at_once(self._connection)

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        return await _translated(self._run(argv, input), f"{argv[0]}, within {timeout_s:g} s", timeout_s)

    async def _run(self, argv: Sequence[str], input: bytes) -> Completed:
        ended = LinkLost(f"the connection ended before {argv[0]} did")
        try:
            process = await self._start(argv)
            try:
                stdout, stderr = everything(process.stdout.read, argv[0]), everything(process.stderr.read, argv[0])
                said, complained, _ = await asyncio.gather(stdout, stderr, _feed(process.stdin, input))
                await process.wait_closed()
            finally:
                process.close()
        except (asyncssh.ConnectionLost, ConnectionError) as error:
            raise ended from error
        if process.returncode is None:
            raise ended
        return Completed(process.returncode, said, complained)

    async def stream(self, argv: Sequence[str]) -> Stream:
        return SshStream(await _translated(self._start(argv, stderr=asyncssh.DEVNULL), argv[0], CONNECT_LIMIT_S))

    async def _start(self, argv: Sequence[str], **pipes: Any) -> asyncssh.SSHClientProcess[bytes]:
        """The command, started. A server that has refused or closed its channel has started nothing, and is asked again: dropbear
        from 2022.82 to 2024.85 closes a new channel when another command ends at that very moment (mkj/dropbear#321)."""
        tries = 0
        while True:
            try:
                return await self._open().create_process(shlex.join(argv), encoding=None, **pipes)
            except asyncssh.ChannelOpenError as error:
                tries += 1
                if error.code != asyncssh.constants.OPEN_REQUEST_SESSION_FAILED or tries == STARTS:
                    raise
            await asyncio.sleep(START_AGAIN_S)

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
            if self._password is not None:
                if not endpoint.host_public_key:
                    raise LinkRefused(
                        f"there is a password for {endpoint.host}, but its host key is not pinned",
                        expected="a pinned key: whoever answers there would learn the password",
                        do="make sure that it is the right device, then: runner device trust DEVICE",
                    )
                chosen["password"] = self._password.reveal()
            if self._passphrase is not None:
                chosen["passphrase"] = self._passphrase.reveal()
            self._known = (
                endpoint,
                asyncssh.SSHClientConnectionOptions(
                    kex_algs=KEY_EXCHANGE, encryption_algs=CIPHERS, compression_algs=None, keepalive_interval=KEEPALIVE_S, **chosen
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
        await _translated(self._process.stdin.drain(), "the device, which takes nothing of what is written", STALLED_S)

    async def close(self) -> None:
        self._process.close()


def _acknowledge_at_once(connection: asyncssh.SSHClientConnection) -> None:
    """What a server says is acknowledged as it arrives: it may hold its next small packet back until then (Nagle), and kernels
    take 40 ms to acknowledge by themselves. The option does not stick, so it is set again for whatever arrives."""
    sock, received = connection.get_extra_info("socket"), connection.data_received
    if sock is None or not hasattr(socket, "TCP_QUICKACK"):  # a proxy command of the user's; a Mac
        return

    def data_received(data: bytes, datatype: int | None = None) -> None:
        with contextlib.suppress(OSError):  # closed by now
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        received(data, datatype)

    connection.data_received = data_received  # type: ignore[method-assign]


async def _feed(stdin: asyncssh.SSHWriter[bytes], data: bytes) -> None:
    """All of `data`, then the end; a command that does not want it has its reasons, and its exit status says them."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for start in range(0, len(data), READ_BYTES):  # in pieces: asyncssh's own buffer has no bound
            stdin.write(data[start : start + READ_BYTES])
            await stdin.drain()
        stdin.write_eof()


async def _translated(awaited: Awaitable[Result], what: str, limit_s: float | None = None) -> Result:
    """The one map from asyncssh's errors to ours; no other leaves this file. (`wait_for` would now and then swallow a cancellation.)"""
    try:
        async with asyncio.timeout(limit_s):
            return await awaited
    except asyncssh.HostKeyNotVerifiable as error:
        raise LinkRefused(
            f"{what} shows a host key that is not the pinned one, or none is pinned: {words(error.reason)}",
            expected="the pinned key, or one in known_hosts",
            do="make sure that it is the right device, then: runner device trust DEVICE",
        ) from error
    except asyncssh.PermissionDenied as error:
        raise LinkRefused(f"{what} lets us not in: {words(error.reason)}", do="check the user and the key in ~/.ssh/config") from error
    except asyncio.TimeoutError as error:
        raise LinkLost(f"no answer from {what}") from error
    except (asyncssh.Error, OSError) as error:
        raise LinkLost(f"{what}: {words(str(error))}") from error
    except ValueError as error:  # asyncssh's errors about keys and configuration files
        raise LinkRefused(f"{what} cannot be tried: {words(str(error))}", do="look at ~/.ssh/config and at the pinned key") from error
