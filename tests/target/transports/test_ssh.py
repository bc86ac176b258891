"""The SSH transport against a real OpenSSH server on loopback. Dropbear is met where it lives: on an emulated board."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.errors import LabError
from runner.target.conformance import check_transport
from runner.target.transports.base import Endpoint, LinkLost, LinkRefused
from runner.target.transports.ssh import SshTransport, fetch_host_key, fingerprint

pytestmark = pytest.mark.real
SSHD = shutil.which("sshd", path="/usr/sbin:/sbin:" + os.environ["PATH"])
USER = pwd.getpwuid(os.getuid()).pw_name


@dataclass(frozen=True)
class Server:
    """A running server, the endpoint that reaches it, and a key that is not its own."""

    endpoint: Endpoint
    process: subprocess.Popen[bytes]
    other_key: str


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if SSHD is None:
        pytest.skip("needs Debian's openssh-server")
    for name in ("host", "client", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "client.pub",
        "StrictModes": "no",
        "PidFile": "none",
        "UsePAM": "no",
        "MaxSessions": 50,
        "PermitRootLogin": "prohibit-password",
    }
    Path("/run/sshd").mkdir(exist_ok=True)
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", "/dev/null", *words], stderr=subprocess.DEVNULL)
    try:
        public, other = (" ".join((tmp_path / f"{name}.pub").read_text().split()[:2]) for name in ("host", "other"))
        _wait_for_banner(port, process)
        yield Server(Endpoint("127.0.0.1", port, USER, public, tmp_path / "client"), process, other)
    finally:
        process.kill()
        process.wait()


def _wait_for_banner(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            if connection.recv(4).startswith(b"SSH"):
                return
    raise AssertionError(f"the server did not come up (exit status {process.poll()})")


def test_it_conforms(server: Server) -> None:
    """SSH keeps every promise of a transport, towards OpenSSH."""
    asyncio.run(check_transport(lambda: SshTransport(lambda: server.endpoint)))


def test_a_changed_host_key_is_refused_at_once(server: Server) -> None:
    """A server with another key than the pinned one is never talked to, and waiting does not help."""
    wrong = Endpoint(server.endpoint.host, server.endpoint.port, USER, server.other_key, server.endpoint.client_key)
    with pytest.raises(LinkRefused, match="not the pinned one"):
        asyncio.run(SshTransport(lambda: wrong).open())


def test_an_unknown_host_key_is_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pin, and without a line in known_hosts, nothing is trusted on first use."""
    monkeypatch.setenv("HOME", str(tmp_path))
    unknown = Endpoint(server.endpoint.host, server.endpoint.port, USER)
    with pytest.raises(LinkRefused, match="host key"):
        asyncio.run(SshTransport(lambda: unknown).open())


def test_the_key_that_is_shown_can_be_fetched_for_pinning(server: Server) -> None:
    """`device trust` pins exactly the key that the server has."""
    found = asyncio.run(fetch_host_key("127.0.0.1", server.endpoint.port))
    assert fingerprint(found) == fingerprint(server.endpoint.host_public_key)


def test_a_server_that_dies_is_a_lost_link(server: Server) -> None:
    """When the connection breaks, a waiting read ends, soon, and every later command is a LinkLost."""

    async def scenario() -> None:
        transport = SshTransport(lambda: server.endpoint)
        await transport.open()
        stream = await transport.stream(["cat"])
        ours = (await transport.run(["sh", "-c", "echo $PPID"])).stdout.split()  # the session's own server process
        os.kill(int(ours[0]), signal.SIGKILL)
        with contextlib.suppress(LinkLost):
            assert await asyncio.wait_for(stream.read(), 20) == b""
        with pytest.raises(LinkLost):
            await transport.run(["true"])
        await transport.close()

    asyncio.run(scenario())


def test_one_connection_serves_every_command(server: Server) -> None:
    """Twenty commands share one control connection."""

    async def scenario() -> set[str]:
        transport = SshTransport(lambda: server.endpoint)
        await transport.open()
        ports = {(await transport.run(["sh", "-c", "echo $SSH_CONNECTION"])).stdout.decode() for _ in range(20)}
        await transport.close()
        return ports

    assert len(asyncio.run(scenario())) == 1


def test_the_users_own_ssh_configuration_is_honoured(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias, a key file and known_hosts of ~/.ssh reach a device of the inventory as they would with `ssh`."""
    home = tmp_path / "home" / ".ssh"
    home.mkdir(parents=True)
    port, key = server.endpoint.port, server.endpoint.client_key
    (home / "config").write_text(f"Host bench-board\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {key}\n")
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {server.endpoint.host_public_key}\n")
    monkeypatch.setenv("HOME", str(home.parent))

    async def scenario() -> bytes:
        transport = SshTransport(lambda: Endpoint("bench-board", None, ""))
        await transport.open()
        done = await transport.run(["echo", "reached"])
        await transport.close()
        return done.stdout

    assert asyncio.run(scenario()) == b"reached\n"


def test_silence_is_an_error_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and never speaks is given up."""
    monkeypatch.setattr("runner.target.transports.ssh.CONNECT_LIMIT_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        endpoint = Endpoint("127.0.0.1", silent.getsockname()[1], USER, "")
        with pytest.raises(LabError, match="no answer"):
            asyncio.run(SshTransport(lambda: endpoint).open())
