"""What a fault could leave behind: each field sees a change that was planted, and nothing else ever changes.

Where root may make a network namespace, one process lives in it, with mounts of its own, and does and looks as it is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.farm.health import differences, read
from runner.faults.kernel import EVERY_CAPABILITY
from runner.ondevice import fingerprint
from runner.ondevice.fingerprint import (
    FIELDS,
    LINE_CHARACTERS,
    LINES,
    _bounded,
    addresses_of,
    capabilities,
    firewall_of,
    legacy_of,
    links_of,
    mounts_of,
    qdiscs_of,
    routes_of,
)

REPOSITORY = Path(__file__).resolve().parents[2]
INSIDE = """
import json, subprocess, sys
from runner.ondevice.fingerprint import fingerprint
for line in sys.stdin:
    argv = json.loads(line)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20) if argv else None
    said = {"status": done.returncode, "said": done.stdout + done.stderr} if done else fingerprint()
    print(json.dumps(said), flush=True)
"""
OFFLOAD = """
import array, fcntl, socket, struct, sys
value = array.array("B", struct.pack("=II", 0x1F, int(sys.argv[1])))  # ETHTOOL_STSO
fcntl.ioctl(socket.socket(), 0x8946, struct.pack("16sP16x", b"data0", value.buffer_info()[0]))
"""
TRAFFIC = """
import socket
catch, send = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
catch.bind(("127.0.0.1", 0))
for number in range(200):
    send.sendto(bytes(500), catch.getsockname())
    catch.recv(1000)
    send.sendto(bytes(500), ("10.77.0.9", 9))
"""


class Device:
    """A network namespace with data0 in it, and a process that lives there, in mounts of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _ask(self, argv: Sequence[str]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(argv) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def can(self, line: str | Sequence[str]) -> str:
        """Does it. Returns why it could not be done, or ""."""
        done = self._ask(line.split() if isinstance(line, str) else line)
        return f"{line}: {done['said'].strip()}" if done["status"] else ""

    def do(self, *lines: str | Sequence[str]) -> None:
        for line in lines:
            assert not (failed := self.can(line)), failed

    def look(self) -> dict[str, Any]:
        return read(self._ask([]))


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """The same device for every test: each leaves it as it was, which is what they are about."""
    name = f"look-{uuid.uuid4().hex[:8]}"
    if os.geteuid() != 0 or subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        pytest.skip("only root makes a network namespace, and not on every kernel")
    process = subprocess.Popen(
        ["ip", "netns", "exec", name, sys.executable, "-c", INSIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=tmp_path_factory.mktemp("there"), env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    try:
        with process:
            made = Device(process)
            made.do(
                "ip link set lo up",
                "ip link add data0 type veth peer name far0",
                "ip link set data0 up",
                "ip link set far0 up",
                "ip addr add 10.77.0.2/24 dev data0",
                "ip route add 10.78.0.0/24 via 10.77.0.1",
                "mkdir mounted groups",
            )
            made.can("mount -t cgroup -o pids pids groups")
            yield made
            made.can(f"rmdir groups/{GROUP}")
            assert process.stdin is not None
            process.stdin.close()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


GROUP = f"planted-{uuid.uuid4().hex[:8]}"
TBF = "tc qdisc add dev data0 root tbf rate 100kbit burst 4kb latency 50ms"
DROP = "add chain ip foo c { type filter hook input priority 0; policy drop; }"
LIMIT = [sys.executable, "-c", f"open('groups/{GROUP}/pids.max', 'w').write('77')"]
TSO = [sys.executable, "-c", OFFLOAD]
ROUTE, RULE, ADDRESS = "10.78.0.0/24 via 10.77.0.1", "from 10.97.0.0/16 table 77", "10.9.0.1/24 dev data0"
Lines = list[str | list[str]]
PLANTED: list[tuple[str, Lines, Lines, str]] = [  # done, undone, and what must be said of it
    ("qdisc", [TBF], ["tc qdisc del dev data0 root"], "+ qdiscs: qdisc tbf auto: dev data0 root rate 100Kbit"),
    ("ingress", ["tc qdisc add dev data0 ingress"], ["tc qdisc del dev data0 ingress"], "+ qdiscs: qdisc ingress ffff: dev data0"),
    ("down", ["ip link set far0 down"], ["ip link set far0 up"], "- links: far0@data0 UP mtu 1500 qlen 1000"),
    ("mtu", ["ip link set data0 mtu 1400"], ["ip link set data0 mtu 1500"], "+ links: data0@far0 UP mtu 1400 qlen 1000"),
    ("flag", ["ip link set data0 promisc on"], ["ip link set data0 promisc off"], "+ links: data0@far0 UP PROMISC mtu 1500"),
    ("ifb", ["ip link add runner-ifb0 type ifb"], ["ip link del runner-ifb0"], "+ links: runner-ifb0 NOARP mtu 1500"),
    ("address", [f"ip addr add {ADDRESS}"], [f"ip addr del {ADDRESS}"], "+ addresses: data0 inet 10.9.0.1/24"),
    ("route", ["ip route add blackhole 10.9.0.0/16"], ["ip route del blackhole 10.9.0.0/16"], "+ routes: blackhole 10.9.0.0/16"),
    ("no route", [f"ip route del {ROUTE}"], [f"ip route add {ROUTE}"], f"- routes: {ROUTE} dev data0"),
    ("rule", [f"ip rule add {RULE}"], [f"ip rule del {RULE}"], "+ rules: -4 32765: from 10.97.0.0/16 lookup 77"),
    ("table", ["nft add table inet foo"], ["nft delete table inet foo"], "+ firewall: table inet foo"),
    (
        "chain",
        ["nft add table ip foo", ["nft", DROP]],
        ["nft delete table ip foo"],
        "+ firewall: table ip foo chain c: type filter hook in",
    ),
    ("group", [f"mkdir groups/{GROUP}"], [f"rmdir groups/{GROUP}"], f"/groups/{GROUP}"),
    ("limit", [f"mkdir groups/{GROUP}", LIMIT], [f"rmdir groups/{GROUP}"], f"/groups/{GROUP} pids.max=77"),
    ("offload", [[*TSO, "0"]], [[*TSO, "1"]], "- offloads: data0 tx-tcp-segmentation"),
    (
        "timers",
        ["ip ntable change name arp_cache dev data0 retrans 7000"],
        ["ip ntable change name arp_cache dev data0 retrans 1000"],
        "+ neighbours: data0 ipv4 base_reachable 30000 retrans 7000",
    ),
    ("mount", ["mount -t tmpfs planted mounted"], ["umount mounted"], "/mounted / tmpfs planted rw,relatime"),
    ("remount", ["mount --bind mounted mounted", "mount -o remount,bind,ro mounted"], ["umount mounted"], "/mounted "),
]


@pytest.mark.parametrize(("done", "undone", "said"), [each[1:] for each in PLANTED], ids=[each[0] for each in PLANTED])
def test_a_planted_change_is_told(device: Device, done: list[str | list[str]], undone: list[str | list[str]], said: str) -> None:
    """By its field and its line; and when it is undone, nothing is told any more."""
    before = device.look()
    failed = next(filter(None, map(device.can, done)), "")
    try:
        found = differences(before, device.look())
    finally:
        undo_failed = list(filter(None, map(device.can, undone)))
    if failed:
        pytest.skip(f"this machine cannot: {failed}")
    assert any(said in sentence for sentence in found), found
    assert undo_failed == []
    assert differences(before, device.look()) == []


def test_each_field_has_a_planted_change() -> None:
    """The table leaves none out. The clock is no field of lines: its jump is told below."""
    words = {"qdisc": "qdiscs", "mtu": "links", "address": "addresses", "route": "routes", "rule": "rules", "table": "firewall"}
    more = {"limit": "cgroups", "offload": "offloads", "timers": "neighbours", "mount": "mounts"}
    assert {(words | more).get(name) for name, *_ in PLANTED} - {None} == set(FIELDS)


def test_a_device_that_was_left_alone_is_as_it_was(device: Device) -> None:
    """With traffic through what is there: counters, ages and timers are not part of it. The text is the same, word by word."""
    device.can("nft add table inet busy")
    device.can(["nft", "add chain inet busy c { type filter hook output priority 0; }"])
    device.can("nft add rule inet busy c counter accept")
    device.can(TBF)
    before = device.look()
    device.do([sys.executable, "-c", TRAFFIC])
    after = device.look()
    device.can("tc qdisc del dev data0 root")
    device.can("nft delete table inet busy")
    assert {field: after[field] for field in FIELDS} == {field: before[field] for field in FIELDS}
    assert differences(before, after) == []
    assert not [line for field in ("links", "addresses", "routes", "offloads", "mounts") for line in before[field] if "unknown" in line]


def test_a_jump_of_the_wall_clock_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """On and back, by how much; what a clock may drift by is not."""
    wall_s, read_clock = [1_795_000_000.0], fingerprint.boottime_ns
    monkeypatch.setattr(fingerprint, "FIELDS", {})
    monkeypatch.setattr(fingerprint.time, "time", lambda: wall_s[0] + read_clock() / 1e9)
    before = read(fingerprint.fingerprint())
    wall_s[0] += 2
    assert differences(before, read(fingerprint.fingerprint())) == []
    wall_s[0] += 86398
    assert differences(before, read(fingerprint.fingerprint())) == ["+ clock: it jumped on by 86400 s"]
    wall_s[0] -= 90000
    assert differences(before, read(fingerprint.fingerprint())) == ["- clock: it jumped back by 3600 s"]


def test_what_cannot_be_read_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each field for itself: a tool that is not there, one that fails, one that is busybox's."""
    monkeypatch.setattr(fingerprint, "_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    said = fingerprint.fingerprint()
    assert said["qdiscs"] == ["unknown: no tc"]
    assert {said[field][0] for field in ("links", "addresses", "routes", "rules")} == {"unknown: no ip"}
    assert "unknown: no nft" in said["firewall"]
    assert said["mounts"][0].startswith("/")
    (tmp_path / "busybox").write_text("#!/bin/sh\necho a qdisc of busybox\n")
    (tmp_path / "busybox").chmod(0o755)
    (tmp_path / "tc").symlink_to("busybox")
    assert fingerprint.fingerprint()["qdiscs"] == ["unknown: no tc"]
    (tmp_path / "tc").unlink()
    (tmp_path / "tc").write_text("#!/bin/sh\necho not today >&2\nexit 2\n")
    (tmp_path / "tc").chmod(0o755)
    assert fingerprint.fingerprint()["qdiscs"] == ["unknown: tc qdisc show says not today"]


def test_no_field_is_larger_than_somebody_reads() -> None:
    """What is beyond is counted and hashed: a change in it is a change. Nothing that moves a cursor gets through."""
    many = [f"line {number:04}" for number in range(2000)]
    assert len(_bounded(many)) == LINES
    assert _bounded(many)[-1].startswith(f"and {2001 - LINES} more lines, ")
    assert _bounded(many) != _bounded([*many[:-1], "line 9999"])
    (line,) = _bounded(["x" * 10000])
    assert len(line) < LINE_CHARACTERS
    assert _bounded(["x" * 10000]) != _bounded(["x" * 9999 + "y"])
    assert _bounded(["b\x1b[2Jé", "a"]) == ["a", "b?[2J?"]


# ---- what devices print ----------------------------------------------------------------------------------------


def test_qdiscs_without_what_the_kernel_chose() -> None:
    """A handle from 8000: on, references and packets; an ingress is called ffff: everywhere."""
    text = """qdisc noqueue 0: dev lo root refcnt 2
qdisc mq 0: dev eth0 root
qdisc fq_codel 0: dev eth0 parent :1 limit 10240p flows 1024 quantum 1514 target 5ms interval 100ms ecn
qdisc htb 8003: dev data0 root refcnt 9 r2q 10 default 0x1 direct_packets_stat 12 direct_qlen 1000
qdisc netem 8004: dev data0 parent 8003:1 limit 1000 delay 100ms
qdisc ingress ffff: dev data0 parent ffff:fff1 ----------------
"""
    assert qdiscs_of(text) == [
        "qdisc noqueue 0: dev lo root",
        "qdisc mq 0: dev eth0 root",
        "qdisc fq_codel 0: dev eth0 parent :1 limit 10240p flows 1024 quantum 1514 target 5ms interval 100ms ecn",
        "qdisc htb auto: dev data0 root r2q 10 default 0x1 direct_qlen 1000",
        "qdisc netem auto: dev data0 parent auto:1 limit 1000 delay 100ms",
        "qdisc ingress ffff: dev data0 parent ffff:fff1 ----------------",
    ]


def test_links_without_their_carrier() -> None:
    """A cable that is pulled is no change; what a module makes by being loaded is none, until somebody puts it up."""
    up = "2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq master br0 state UP qlen 1000\\    link/ether 2\n"
    pulled = "2: eth0: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 qdisc mq master br0 state DOWN qlen 1000\\    link/ether 2\n"
    assert links_of(up) == links_of(pulled) == ["eth0 UP mtu 1500 master br0 qlen 1000"]
    veth = "7: veth1@if6: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN mode DEFAULT group default qlen 1000\\    link/ether 4a\n"
    assert links_of(veth) == ["veth1 mtu 1500 qlen 1000"]
    ifb = (
        "3: ifb0: <BROADCAST,NOARP{}> mtu 1500 qdisc noop state DOWN mode DEFAULT group default qlen 32\\    link/ether 26:00:fb:9b:53:3a\n"
    )
    assert links_of(ifb.format("")) == []
    assert links_of(ifb.format(",UP")) == ["ifb0 UP NOARP mtu 1500 qlen 32"]


def test_addresses_and_routes_without_their_ages() -> None:
    """Lifetimes, proofs that are under way and private addresses go; the address itself, its kind and its way stay."""
    addresses = r"""2: eth0    inet 192.0.2.10/24 brd 192.0.2.255 scope global dynamic eth0\       valid_lft 85930sec preferred_lft 85930sec
2: eth0    inet6 2001:db8::55/64 scope global temporary dynamic \       valid_lft 604330sec preferred_lft 85521sec
2: eth0    inet6 fe80::1/64 scope link tentative \       valid_lft forever preferred_lft forever
"""
    assert addresses_of(addresses) == ["eth0 inet 192.0.2.10/24 brd 192.0.2.255 scope global eth0", "eth0 inet6 fe80::1/64 scope link"]
    routes = """default via 192.0.2.1 dev eth0 proto dhcp src 192.0.2.10 metric 100
192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.10 linkdown
default via fe80::9 dev eth0 proto ra metric 1024 expires 1780sec hoplimit 64 pref medium
unreachable fe80::/64 dev lo metric 1024 error 4294967183 pref medium
"""
    assert routes_of(routes) == [
        "default via 192.0.2.1 dev eth0 proto dhcp src 192.0.2.10 metric 100",
        "192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.10",
        "default via fe80::9 dev eth0 proto ra metric 1024 hoplimit 64 pref medium",
        "unreachable fe80::/64 dev lo metric 1024 pref medium",
    ]


def test_a_ruleset_line_by_line() -> None:
    """Each line behind its table and chain; elements that rules add are left out, those that somebody wrote are not."""
    text = """# Warning: table ip filter is managed by iptables-nft, do not touch!
table inet foo {
	set banned {
		type ipv4_addr
		flags dynamic,timeout
		timeout 1h
		elements = { 192.0.2.7,
			192.0.2.8 }
	}

	set known {
		type ipv4_addr
		elements = { 192.0.2.1,
			192.0.2.2 }
	}

	chain c {
		type filter hook input priority filter; policy accept;
		tcp dport 22 counter packets 12 bytes 720 accept
	}
}
table ip6 bar {
}
"""
    assert firewall_of(text) == [
        "table inet foo",
        "table inet foo set banned",
        "table inet foo set banned: type ipv4_addr",
        "table inet foo set banned: flags dynamic,timeout",
        "table inet foo set banned: timeout 1h",
        "table inet foo set known",
        "table inet foo set known: type ipv4_addr",
        "table inet foo set known: elements = { 192.0.2.1,",
        "table inet foo set known: 192.0.2.2 }",
        "table inet foo chain c",
        "table inet foo chain c: type filter hook input priority filter; policy accept;",
        "table inet foo chain c: tcp dport 22 counter accept",
        "table ip6 bar",
    ]


def test_the_older_tables() -> None:
    """Without counters; a chain of the kernel's that accepts is not worth a line."""
    text = """# Generated by iptables-save v1.8.7 on Fri Mar 15 12:00:00 2024
*filter
:INPUT DROP [3:180]
:FORWARD ACCEPT [0:0]
:mine - [0:0]
-A INPUT -i eth0 -j mine
[5:300] -A mine -p tcp -j ACCEPT
COMMIT
"""
    assert legacy_of(text, "iptables") == [
        "iptables filter: :INPUT DROP",
        "iptables filter: :mine -",
        "iptables filter: -A INPUT -i eth0 -j mine",
        "iptables filter: -A mine -p tcp -j ACCEPT",
    ]


def test_mounts_without_numbers_that_the_kernel_chose() -> None:
    """Ids and devices go; so does what comes and goes with a login, a namespace or a container."""
    lines = [
        "36 25 254:0 /part /mnt rw,noatime shared:1 - ext4 /dev/vda rw,errors=remount-ro",
        "40 25 0:4 net:[4026532281] /kept/netns/a rw shared:2 - nsfs nsfs rw",
        "41 25 0:40 / /run/user/0 rw,nosuid shared:3 - tmpfs tmpfs rw,size=100k",
        "43 25 0:4 net:[4026532201] /run/netns/far-1 rw shared:5 - nsfs nsfs rw",
        "42 25 0:30 / /auto rw shared:4 - autofs systemd-1 rw,fd=29,pgrp=1,timeout=0,pipe_ino=13",
    ]
    assert mounts_of(lines) == [
        "/mnt /part ext4 /dev/vda rw,noatime rw,errors=remount-ro",
        "/kept/netns/a net nsfs nsfs rw rw",
        "/auto / autofs systemd-1 rw",
    ]


# ---- control groups, from a tree ---------------------------------------------------------------------------------


def test_limits_are_told_and_what_systemd_does_by_itself_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of either version; a group that inherits, or whose limit is the largest number, has none."""
    tree = {
        "v2/apps/memory.max": "67108864\n",
        "v2/apps/cpu.max": "25000 100000\n",
        "v2/apps/pids.max": "max\n",
        "v2/system.slice/cpu.weight": "100\n",
        "v2/system.slice/ssh.service/memory.max": "1\n",
        "v2/user.slice/user-0.slice/pids.max": "9\n",
        "v2/init.scope/pids.max": "max\n",
        "v1/cpuset.cpus": "0-1\n",
        "v1/same/cpuset.cpus": "0-1\n",
        "v1/one/cpuset.cpus": "1\n",
        "v1/one/memory.limit_in_bytes": "9223372036854771712\n",
        "v1/one/cpu.cfs_quota_us": "-1\n",
    }
    for name, text in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    info = tmp_path / "mountinfo"
    info.write_text(
        f"1 0 0:1 / {tmp_path}/v2 rw - cgroup2 cgroup2 rw\n2 0 0:2 / {tmp_path}/v1 rw - cgroup cgroup rw,cpu\n3 0 0:3 / / rw - ext4 a rw\n"
    )
    monkeypatch.setattr(fingerprint, "_MOUNTINFO", str(info))
    assert [line.removeprefix(f"{tmp_path}/") for line in fingerprint._cgroups()] == [
        "v2",
        "v2/apps cpu.max=25000_100000 memory.max=67108864",
        "v2/system.slice",
        "v1 cpuset.cpus=0-1",
        "v1/one cpuset.cpus=1",
        "v1/same",
    ]


# ---- what a device can do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dep", "builtin", "tools", "found"),
    [
        ("kernel/net/sched/sch_netem.ko.xz:\nkernel/net/sched/sch_tbf.ko:\n", "", "tc", ["netem", "tbf"]),
        ("kernel/net/sched/sch_netem.ko.xz:\n", "kernel/net/netfilter/nf_tables.ko\n", "tc nft", ["netem", "nft"]),
        ("kernel/net/sched/sch_netem.ko.xz:\n", "kernel/net/netfilter/nf_tables.ko\n", "nft", ["nft"]),
        ("kernel/drivers/net/ifb.ko:\nkernel/net/sched/sch_ingress.ko:\n", "kernel/net/sched/cls_u32.ko\n", "tc ethtool", ["ethtool"]),
        (
            "kernel/drivers/net/ifb.ko:\nkernel/net/sched/sch_ingress.ko:\n",
            "kernel/net/sched/cls_u32.ko\nkernel/net/sched/act_mirred.ko\n",
            "tc",
            ["ifb"],
        ),
        ("kernel/net/sched/not_sch_netem.ko:\n", "", "tc nft", []),
        ("kernel/drivers/net/tun.ko:\n", "", "ip", ["tun"]),
        ("kernel/drivers/net/tun.ko:\n", "", "tc", []),
    ],
    ids=["modules", "built in", "no tc", "no mirred", "ifb", "another", "tun", "no ip"],
)
def test_a_capability_is_a_tool_and_its_modules(
    dep: str, builtin: str, tools: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There to be loaded, or built in; what is loaded on this very machine is left out of the question."""
    folder = tmp_path / "modules" / os.uname().release
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text(dep)
    (folder / "modules.builtin").write_text(builtin)
    for tool in tools.split():
        (tmp_path / tool).touch(0o755)
    monkeypatch.setattr(fingerprint, "_MODULES", str(tmp_path / "modules"))
    monkeypatch.setattr(fingerprint, "_PLACES", ())
    monkeypatch.setattr(fingerprint, "_TUN", os.devnull)
    monkeypatch.setattr(fingerprint.os.path, "isdir", lambda path: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fingerprint._of_the_link(fingerprint._modules()) == found


@pytest.mark.parametrize(
    ("dev", "user", "loaded", "had"),
    [("devtmpfs", 0, False, True), ("tmpfs", 0, False, False), ("devtmpfs", 1000, False, False), ("devtmpfs", 0, True, False)],
    ids=["comes with its module", "a /dev that nobody fills", "not root", "somebody took it away"],
)
def test_a_tun_device_that_is_not_there_yet_comes_with_its_module(
    dev: str, user: int, loaded: bool, had: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board that makes its devices by devtmpfs alone has none before the module is loaded, which nobody does to find out."""
    mounts = ("22 1 254:0 / / ro - ext4 /dev/vda ro", f"23 22 0:5 / /dev rw - {dev} none rw", "24 23 0:9 / /dev/shm rw - tmpfs none rw")
    (tmp_path / "mountinfo").write_text("\n".join(mounts))
    monkeypatch.setattr(fingerprint, "_MOUNTINFO", str(tmp_path / "mountinfo"))
    monkeypatch.setattr(fingerprint, "_TUN", str(tmp_path / "nowhere"))
    monkeypatch.setattr(fingerprint.os.path, "isdir", lambda path: loaded)
    monkeypatch.setattr(fingerprint.os, "geteuid", lambda: user)
    assert fingerprint._tun() is had


def test_hello_says_what_this_machine_can_do() -> None:
    """A list of those words, asked of the kernel once."""
    assert set(capabilities()) <= EVERY_CAPABILITY
    assert capabilities() is capabilities()
