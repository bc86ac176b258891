"""What the tests of faults may ask for: a data link, every shipped profile, and two network namespaces with a cable between them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from runner.faults import kernel
from runner.lab.yaml_source import Source
from runner.model.device import DataLink
from runner.model.profile import Profile
from runner.model.program import Act, Program, Sign
from runner.ondevice.acts import SUPERVISOR
from runner.target.bundle import supervisor_zip

PROFILES = sorted((Path(__file__).resolve().parents[2] / "profiles").glob("*.yaml"))
FAR_END = """
import socket
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("10.99.0.1", 7777))
print(flush=True)
while True:
    data, whence = here.recvfrom(65535)
    here.sendto(data, whence)
"""
NEAR_END = """
import socket, sys, time
count, size, wait_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.settimeout(wait_s)
echoes = 0
for number in range(count):
    try:
        here.sendto(number.to_bytes(4, "big").ljust(size), ("10.99.0.1", 7777))
        echoes += here.recv(65535)[:4] == number.to_bytes(4, "big")
    except PermissionError:  # dropped on its way out: as long as an echo that does not come
        time.sleep(wait_s)
    except OSError:
        pass
print(echoes)
"""


@pytest.fixture(scope="session")
def shipped() -> dict[str, Profile]:
    """Every profile of this tree by its name; each of them is valid."""
    found = {}
    for path in PROFILES:
        source = Source(path, path.name)
        profile = source.validate(Profile)
        assert profile is not None, source.complaints
        found[path.stem] = profile
    return found


@pytest.fixture(scope="session")
def link() -> DataLink:
    return DataLink(interface="data0", far_end="10.99.0.1")


class Cable:
    """A device's namespace with `data0`, 10.99.0.2, and a far end at 10.99.0.1 that answers every datagram on port 7777."""

    def __init__(self, device: str, far_end: str) -> None:
        self.device, self.far_end = device, far_end

    supervisor: Path  # where acts that are the supervisor's own are carried out

    def on(self, namespace: str, *argv: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", namespace, *argv]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)

    def run(self, acts: Iterable[Act]) -> None:
        """Runs acts on the device, each of which must succeed."""
        for act in acts:
            done = self.on(self.device, *self.argv(act), text=act.input)
            assert done.returncode == 0, f"{' '.join(act.argv)}: {done.stderr}{act.input}"

    def undo(self, program: Program) -> None:
        """As a guard does it: what fails is no error."""
        for act in program.undo:
            self.on(self.device, *self.argv(act), text=act.input)

    def argv(self, one: Act | Sign) -> list[str]:
        own = one.argv[0] == SUPERVISOR
        return [sys.executable, "-S", "-E", str(self.supervisor), *one.argv[1:]] if own else list(one.argv)

    def sees(self, sign: Sign) -> bool:
        done = self.on(self.device, *self.argv(sign))
        return any(sign.contains in line for line in (done.stdout + done.stderr).splitlines())

    def echoes(self, count: int = 5, size: int = 20, wait_s: float = 0.2) -> int:
        """How many of `count` datagrams of `size` bytes came back, one after the other."""
        done = self.on(self.device, sys.executable, "-c", NEAR_END, str(count), str(size), str(wait_s))
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def passes(self) -> bool:
        """Whether three datagrams and their echoes pass, however long a busy machine takes for it."""
        return self.echoes(3, wait_s=10) == 3

    def state(self) -> list[str]:
        """Everything that a fault could leave there, without counters."""
        shown = (
            ("tc", "qdisc", "show"), ("tc", "filter", "show", "dev", "data0", "parent", "ffff:"), ("ip", "-o", "link"),
            ("ip", "-o", "address"), ("ip", "route", "show", "table", "all"), ("nft", "list", "ruleset"),
            ("ip", "rule"), ("ip", "-6", "rule"),
        )  # fmt: skip
        return [self.on(self.device, *argv).stdout for argv in shown]


@pytest.fixture
def cable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cable]:
    """Two namespaces of this test's own; skipped where nobody may make them."""
    if os.geteuid() or not all(map(shutil.which, ("ip", "tc", "nft"))):
        pytest.skip("needs root, ip, tc and nft")
    word = uuid.uuid4().hex[:8]
    device, far_end = f"near-{word}", f"far-{word}"
    made = Cable(device, far_end)
    made.supervisor = tmp_path_factory.mktemp("supervisor") / "supervisor.zip"
    made.supervisor.write_bytes(supervisor_zip())
    server = None
    try:
        for name in (device, far_end):
            if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
                pytest.skip("no network namespace can be made here")
        for line in (
            f"ip -n {device} link add data0 type veth peer name tap0 netns {far_end}",
            f"ip -n {device} address add 10.99.0.2/24 dev data0", f"ip -n {far_end} address add 10.99.0.1/24 dev tap0",
            f"ip -n {device} link set data0 addrgenmode none",  # or an address would come by itself, some seconds later
            f"ip -n {device} link set data0 up", f"ip -n {far_end} link set tap0 up",
            f"ip -n {device} route add 10.98.0.0/16 via 10.99.0.1",
        ):  # fmt: skip
            subprocess.run(line.split(), check=True, capture_output=True)
        command = ["ip", "netns", "exec", far_end, sys.executable, "-c", FAR_END]
        server = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == b"\n"
        assert made.passes()  # the addresses of both are known from here on
        yield made
    finally:
        if server is not None:
            server.kill()
            server.wait()
        made.run(kernel.no_shaper())
        for name in (device, far_end):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
