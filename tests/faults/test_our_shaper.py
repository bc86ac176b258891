"""Our own shaper on a real kernel: asked against measured, packet for packet, killed in every way, and gone.

Two namespaces with a cable between them; the device's end has no netem, and needs none.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.faults import bandwidth
from runner.faults.kernel import NOTHING_BEFORE, TUN
from runner.judgement.chance import wilson
from runner.model.device import DataLink
from runner.model.profile import Bandwidth
from runner.model.program import Program
from tests.faults.conftest import Cable
from tests.ondevice.test_guard_killed import RUN, Coordinator, Device, install, until

pytestmark = pytest.mark.real
OURS = frozenset({"nft", "tun"})
NUMBERED = """
import json, socket, sys, time
count, size, gap_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)
sent, back = {}, {}
def listen(seconds):
    here.settimeout(max(seconds, 0.0001))
    try:
        number = int.from_bytes(here.recv(65535)[:4], "big")
    except OSError:
        return False
    back.setdefault(number, []).append(time.monotonic())
    return True
begun = time.monotonic()
for number in range(count):
    while time.monotonic() < begun + number * gap_s:
        listen(begun + number * gap_s - time.monotonic())
    sent[number] = time.monotonic()
    here.sendto(number.to_bytes(4, "big").ljust(size), ("10.99.0.1", 7777))
while listen(3):
    pass
times = sorted(moment for each in back.values() for moment in each)
trips = sorted(back[number][0] - sent[number] for number in back)
order = sorted(back, key=lambda number: back[number][0])
took_s = times[-1] - times[0] if times else 0
print(json.dumps({"back": sorted(back), "copies": len(times), "trips": trips, "order": order, "took_s": took_s}))
"""
STREAM = """
import hashlib, socket, sys, threading
here = socket.socket()
here.bind(("10.99.0.1", 7778))
here.listen(1)
print(flush=True)
line, _ = here.accept()
data = b""
while len(data) < int(sys.argv[1]):
    data += line.recv(65536)
line.sendall(data)
line.close()
"""
STREAMING = """
import os, socket, sys, threading
data = os.urandom(int(sys.argv[1]))
line = socket.create_connection(("10.99.0.1", 7778), 30)
line.settimeout(30)
line.sendall(data)
back = b""
while len(back) < len(data):
    piece = line.recv(65536)
    if not piece:
        break
    back += piece
print(back == data)
"""


def made(link: DataLink, up: dict[str, Any], down: dict[str, Any], seed: int = 1) -> Program:
    settings = Bandwidth.model_validate({"fault": "bandwidth", "up": up, "down": down})
    return bandwidth.program(settings, link, "bandwidth-1", seed, OURS, NOTHING_BEFORE)


def numbered(cable: Cable, count: int, size: int = 100, gap_s: float = 0.002) -> dict[str, Any]:
    """`count` datagrams, and what came back of them."""
    done = cable.on(cable.device, sys.executable, "-c", NUMBERED, str(count), str(size), str(gap_s))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def shown(cable: Cable) -> dict[str, Any] | None:
    """What a shaper says of itself, if one runs."""
    done = cable.on(cable.device, sys.executable, str(cable.supervisor), "shape", "shown", TUN)
    return json.loads(done.stdout.partition(": ")[2]) if done.returncode == 0 else None


# ---- asked against measured ---------------------------------------------------------------------------------------------

TRIES = 3  # a busy machine makes any packet late; what holds in one of these is no accident



@pytest.mark.parametrize(
    ("up", "down"), [({"rate_kbit_s": 200}, {}), ({}, {"rate_kbit_s": 200}), ({"rate_kbit_s": 200}, {"rate_kbit_s": 900})]
)
def test_a_rate_is_reached_from_below_and_from_above(cable: Cable, link: DataLink, up: dict[str, Any], down: dict[str, Any]) -> None:
    """Three times too much is offered: what comes back is 200 kbit/s of IP packets within a fifth."""
    cable.run(made(link, up, down).steps[0].acts)
    rates_kbit_s: list[float] = []
    while len(rates_kbit_s) < TRIES and not (rates_kbit_s and 160 < rates_kbit_s[-1] < 240):
        seen = numbered(cable, 360, size=472, gap_s=500 * 8 / 600e3)
        rates_kbit_s.append((len(seen["back"]) - 1) * 500 * 8 / 1000 / seen["took_s"])
    assert 160 < rates_kbit_s[-1] < 240, rates_kbit_s
    assert len(seen["back"]) < 300  # its queue was full


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_a_delay_with_jitter_is_reached(cable: Cable, link: DataLink, up: bool) -> None:
    """The median is the delay within a fifth, whatever a busy machine adds; no packet is early."""
    narrow, free = {"delay_ms": 100, "jitter_ms": 30}, {}
    cable.run(made(link, *((narrow, free) if up else (free, narrow))).steps[0].acts)
    medians_ms: list[float] = []
    while len(medians_ms) < TRIES and not (medians_ms and medians_ms[-1] < 120):
        trips_ms = [1000 * trip for trip in numbered(cable, 200)["trips"]]
        assert len(trips_ms) == 200
        assert min(trips_ms) >= 70
        medians_ms.append(trips_ms[100])
    assert 80 < medians_ms[-1] < 120, medians_ms
    assert trips_ms[190] - trips_ms[10] > 30  # it is spread


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("lossy", [{"loss_percent": 20}, {"burst": {"p_percent": 10, "r_percent": 40}}], ids=["one by one", "in bursts"])
def test_a_loss_is_what_chance_makes_of_what_was_asked(cable: Cable, link: DataLink, up: bool, lossy: dict[str, Any]) -> None:
    """20 % lies in the interval that holds the true share 99 times in 100."""
    cable.run(made(link, *((lossy, {}) if up else ({}, lossy)), seed=7).steps[0].acts)
    gone = 1000 - len(numbered(cable, 1000)["back"])
    worth = 1 if "loss_percent" in lossy else 3  # so many packets of a burst say as much as one that is lost by itself
    low, high = wilson(gone / worth, 1000 / worth)
    assert low < 0.2 < high


def test_copies_and_packets_that_overtake_arrive_so(cable: Cable, link: DataLink) -> None:
    """A tenth comes twice, and a tenth before those that were sent earlier."""
    cable.run(made(link, {"duplicate_percent": 10}, {"delay_ms": 50, "reorder_percent": 10}).steps[0].acts)
    seen = numbered(cable, 500)
    low, high = wilson(seen["copies"] - 500, 500)
    assert low < 0.1 < high
    overtaken = sum(a > b for a, b in zip(seen["order"], seen["order"][1:], strict=False))
    assert 10 < overtaken < 120


def test_streams_in_long_packets_arrive_as_they_were_sent(cable: Cable, link: DataLink) -> None:
    """Segmentation and checksums are left to a card that is none: the shaper does both, and every byte is right."""
    cable.run(made(link, {"delay_ms": 1}, {"delay_ms": 1}).steps[0].acts)
    far = subprocess.Popen(
        ["ip", "netns", "exec", cable.far_end, sys.executable, "-c", STREAM, "3000000"], stdout=subprocess.PIPE
    )  # fmt: skip
    try:
        assert far.stdout and far.stdout.readline() == b"\n"
        done = cable.on(cable.device, sys.executable, "-c", STREAMING, "3000000")
        assert done.stdout.strip() == "True", done.stderr
    finally:
        far.kill()
        far.wait()
    said = shown(cable)
    assert said and said["strange"] == 0 and min(way["taken"] for way in said["ways"].values()) > 2000


def test_long_datagrams_and_the_other_family_pass(cable: Cable, link: DataLink) -> None:
    """Fragments are packets like others, and each direction of IPv6 is shaped as well."""
    for namespace, address, device in ((cable.device, "fd00:99::2/64", "data0"), (cable.far_end, "fd00:99::1/64", "tap0")):
        assert cable.on(namespace, "ip", "address", "add", address, "dev", device, "nodad").returncode == 0
    cable.run(made(link, {"delay_ms": 30}, {"delay_ms": 30}).steps[0].acts)
    assert cable.echoes(3, size=4000, wait_s=10) == 3
    ask = "import socket,time; s=socket.socket(socket.AF_INET6); s.settimeout(20); t=time.monotonic()\n"
    ask += "try: s.connect(('fd00:99::1', 9))\nexcept ConnectionRefusedError: print(time.monotonic()-t)"
    done = cable.on(cable.device, sys.executable, "-c", ask)
    assert float(done.stdout or "0") >= 0.06, done.stderr


def test_a_kernel_that_filters_by_the_way_back_lets_it_pass(cable: Cable, link: DataLink) -> None:
    """What comes in by the TUN has its way out by the interface: strictly, that would be forbidden."""
    strict = "import sys\nfor name in ('all', 'default', 'data0'): open(f'/proc/sys/net/ipv4/conf/{name}/rp_filter', 'w').write('1')"
    assert cable.on(cable.device, sys.executable, "-c", strict).returncode == 0
    cable.run(made(link, {"delay_ms": 1}, {"delay_ms": 1}).steps[0].acts)
    assert cable.passes()


# ---- packet for packet ----------------------------------------------------------------------------------------------------


def test_the_same_seed_loses_the_same_packets(cable: Cable, link: DataLink) -> None:
    """By their numbers, in both directions; another seed loses others. What comes back is what passed twice."""
    lossy = {"burst": {"p_percent": 5, "r_percent": 30}, "rate_kbit_s": 5000, "delay_ms": 5, "jitter_ms": 5}
    passed = []
    for seed, gap_s in ((1, 0.002), (1, 0.004), (2, 0.002)):
        program = made(link, lossy, {"loss_percent": 10}, seed)
        cable.run(program.steps[0].acts)
        passed.append(numbered(cable, 400, gap_s=gap_s)["back"])
        cable.undo(program)
    assert passed[0] == passed[1] != passed[2]
    assert 200 < len(passed[0]) < 390


def test_a_change_is_in_effect_at_once_and_chance_goes_on(cable: Cable, link: DataLink) -> None:
    """The direction that is told of, and no other; what is no shape changes nothing and is said."""
    program = made(link, {"trace": [{"at_s": 0, "delay_ms": 1}, {"at_s": 5, "delay_ms": 80}]}, {"delay_ms": 10})
    cable.run(program.steps[0].acts)
    before = numbered(cable, 30)["trips"]
    cable.run(program.steps[1].acts)
    after = numbered(cable, 30)["trips"]
    assert min(before) >= 0.011 and min(after) >= 0.09
    wrong = cable.on(cable.device, sys.executable, str(cable.supervisor), "shape", "set", TUN, text='{"up": {"queue_packets": 0}}')
    assert wrong.returncode != 0 and "no shape" in wrong.stderr
    assert min(numbered(cable, 5)["trips"]) >= 0.09


# ---- when it cannot, is killed, or meets others ------------------------------------------------------------------------------


def test_killed_it_leaves_the_link_dark_and_the_undo_makes_it_light(cable: Cable, link: DataLink) -> None:
    """Nothing passes unshaped, either way; the undo finds no process, and everything is as before."""
    untouched = cable.state()
    program = made(link, {"delay_ms": 1}, {"delay_ms": 1})
    cable.run(program.steps[0].acts)
    assert cable.passes()
    said = shown(cable)
    assert said
    os.kill(said["pid"], signal.SIGKILL)
    until(lambda: shown(cable) is None)
    assert cable.echoes(3) == 0
    assert cable.sees(program.signs[0]) and cable.sees(program.signs[1])
    cable.undo(program)
    assert not any(map(cable.sees, program.signs))
    assert cable.state() == untouched
    assert cable.passes()


def test_one_that_does_not_answer_is_ended_all_the_same(cable: Cable, link: DataLink) -> None:
    """Stopped, it is dark and is seen; the undo kills it."""
    program = made(link, {"delay_ms": 1}, {"delay_ms": 1})
    cable.run(program.steps[0].acts)
    said = shown(cable)
    assert said
    os.kill(said["pid"], signal.SIGSTOP)
    assert cable.echoes(3) == 0
    assert cable.sees(program.signs[-1])
    cable.run(program.undo)
    assert shown(cable) is None
    assert cable.passes()


def test_without_its_device_it_ends_by_itself(cable: Cable, link: DataLink) -> None:
    """Whoever deletes the TUN needs not to know of the process."""
    cable.run(made(link, {"delay_ms": 1}, {}).steps[0].acts)
    assert shown(cable)
    assert cable.on(cable.device, "ip", "link", "del", TUN).returncode == 0
    until(lambda: shown(cable) is None)


def test_a_device_of_this_name_that_is_somebody_elses_is_not_taken(cable: Cable, link: DataLink) -> None:
    """It fails and says so; nothing is led anywhere, and a second shaper beside the first is refused as well."""
    assert cable.on(cable.device, "ip", "tuntap", "add", "dev", TUN, "mode", "tun").returncode == 0
    untouched = cable.state()
    (act,) = made(link, {"delay_ms": 1}, {}).steps[0].acts
    failed = cable.on(cable.device, *cable.argv(act), text=act.input)
    assert failed.returncode != 0 and "the link cannot be shaped" in failed.stderr
    assert cable.state() == untouched
    assert cable.on(cable.device, "ip", "link", "del", TUN).returncode == 0
    cable.run([act])
    second = cable.on(cable.device, *cable.argv(act), text=act.input)
    assert second.returncode != 0 and "a shaper runs here already" in second.stderr
    assert cable.passes()


def test_what_could_go_past_it_does_not_leave(cable: Cable, link: DataLink) -> None:
    """A socket that is bound to the interface by name cannot be led elsewhere: its packets are dropped, and not let through."""
    bound = "import socket; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.setsockopt(1,25,b'data0'); s.settimeout(WAIT_S)\n"
    bound += "try: s.sendto(b'x'*9,('10.99.0.1',7777)); print(len(s.recv(99)))\nexcept OSError: print('nothing')"
    assert cable.on(cable.device, sys.executable, "-c", bound.replace("WAIT_S", "20")).stdout.strip() == "9"
    cable.run(made(link, {"delay_ms": 1}, {"delay_ms": 1}).steps[0].acts)
    assert cable.on(cable.device, sys.executable, "-c", bound.replace("WAIT_S", "1")).stdout.strip() == "nothing"


def test_what_is_forwarded_for_others_is_not_let_through(cable: Cable, link: DataLink) -> None:
    """From a third namespace behind the device: it passes before, not while the way up is shaped, and again afterwards."""
    behind = f"{cable.device}-3"
    ask = "import socket; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(WAIT_S); s.sendto(b'x'*9,('10.99.0.1',7777))\n"
    ask += "try: print(len(s.recv(99)))\nexcept OSError: print('nothing')"
    assert subprocess.run(["ip", "netns", "add", behind], check=False).returncode == 0
    try:
        for line in (
            f"ip -n {cable.device} link add lan0 type veth peer name lan1 netns {behind}",
            f"ip -n {cable.device} address add 10.97.0.1/24 dev lan0", f"ip -n {behind} address add 10.97.0.2/24 dev lan1",
            f"ip -n {cable.device} link set lan0 up", f"ip -n {behind} link set lan1 up",
            f"ip -n {behind} route add default via 10.97.0.1", f"ip -n {cable.far_end} route add 10.97.0.0/24 via 10.99.0.2",
        ):  # fmt: skip
            subprocess.run(line.split(), check=True)
        forward = "open('/proc/sys/net/ipv4/ip_forward', 'w').write('1')"
        assert cable.on(cable.device, sys.executable, "-c", forward).returncode == 0
        program = made(link, {"delay_ms": 1}, {"delay_ms": 1})
        for shaped in (False, True, False):
            cable.run(program.steps[0].acts if shaped else program.undo)
            said = cable.on(behind, sys.executable, "-c", ask.replace("WAIT_S", "2" if shaped else "20")).stdout.strip()
            assert said == ("nothing" if shaped else "9")
    finally:
        subprocess.run(["ip", "netns", "delete", behind], check=False)


# ---- under the guard ------------------------------------------------------------------------------------------------------------


class Narrow(Device):
    """A supervisor in the device's namespace."""

    def __init__(self, script: str, root: Path, cable: Cable) -> None:
        super().__init__(script, root)
        self.cable = cable

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", self.cable.device, sys.executable, self.script, *words]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False, env=self.environment
        )

    @property
    def shaper(self) -> list[int]:
        said = shown(self.cable)
        return [said["pid"]] if said else []

    def kill(self, *victims: str) -> None:
        pids = [pid for victim in victims for pid in getattr(self, victim)]
        assert pids, f"there is no {' or '.join(victims)} to kill"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    return install(tmp_path_factory.mktemp("installed"), {})


@pytest.fixture
def device(script: str, tmp_path: Path, cable: Cable) -> Iterator[Narrow]:
    made = Narrow(script, tmp_path, cable)
    yield made
    made.end()


def field(coordinator: Coordinator) -> dict[str, Any]:
    fields = coordinator.ask("fingerprint")["fields"]
    return {name: value for name, value in fields.items() if name not in ("clock", "boottime_s")}


@pytest.mark.parametrize(
    "victims",
    [(), ("shaper",), ("guard",), ("both",), ("shaper", "both"), ("supervisor", "both"), ("supervisor", "both", "shaper")],
    ids=lambda victims: " and ".join(victims) or "nobody",
)
def test_whoever_is_killed_the_link_is_as_it_was(device: Narrow, link: DataLink, victims: tuple[str, ...]) -> None:
    """The guard applies it, as it does every program; nobody renews. The fingerprint is the one from before."""
    coordinator = device.start()
    before = field(coordinator)
    program = made(link, {"delay_ms": 20, "loss_percent": 1}, {"rate_kbit_s": 2000})
    words = {"renew_s": 4.0, "cap_s": 600.0, "run": RUN}
    coordinator.ask("arm", program=program.model_dump(mode="json"), **words)
    assert device.shaper == []
    coordinator.ask("start_program", name="bandwidth-1")
    assert all(map(device.cable.sees, program.signs))
    until(lambda: device.twin)
    if victims:
        device.kill(*victims)
    if "supervisor" in victims:
        until(lambda: not device.supervisor)
        coordinator = device.start()
    until(lambda: not (device.state / "guard" / "bandwidth-1.json").exists())
    assert not any(map(device.cable.sees, program.signs))
    assert field(coordinator) == before
    assert device.cable.passes()
    (armed,) = device.said("armed")
    assert armed["undo"] == [["@supervisor", "shape", "stop", TUN, "runner_shaper", "10", "24336"]]


def test_a_guard_that_takes_over_does_not_wait_for_the_shaper(device: Narrow, link: DataLink) -> None:
    """The lock of the act that started it is not the shaper's: a twin goes on at once, and the shaper with it."""
    coordinator = device.start()
    coordinator.ask("arm", program=made(link, {"delay_ms": 1}, {}).model_dump(mode="json"), run=RUN, renew_s=60.0, cap_s=600.0)
    coordinator.ask("start_program", name="bandwidth-1")
    until(lambda: device.twin)
    shaper = device.shaper
    held = {os.path.realpath(f"/proc/{shaper[0]}/fd/{fd}") for fd in os.listdir(f"/proc/{shaper[0]}/fd")}
    assert not {path for path in held if str(device.state / "guard") in path}
    device.kill("guard")
    until(lambda: device.guard and coordinator.ask("programs")["programs"])
    assert coordinator.ask("programs")["programs"][0]["state"] == "begun"
    assert device.shaper == shaper
    assert coordinator.ask("revert", name="bandwidth-1")["reverted"] == ["bandwidth-1"]
    assert device.shaper == []
    assert device.cable.passes()
