"""Is a device as it was: two fingerprints compared, and whose the state is that is found on a data link. Texts are what devices print."""

from __future__ import annotations

from typing import Any

import pytest

from runner.farm.health import CLOCK_TOLERANCE_S, differences, foreign, left_of_ours, read, still
from runner.ondevice.fingerprint import FIELDS, LINE_CHARACTERS, LINES, firewall_of, legacy_of, links_of, qdiscs_of

QDISCS = """qdisc noqueue 0: dev lo root refcnt 2
qdisc mq 0: dev data0 root
qdisc fq_codel 0: dev data0 parent :1 limit 10240p flows 1024 quantum 1514 target 5ms interval 100ms memory_limit 32Mb ecn
qdisc pfifo_fast 0: dev mgmt0 root refcnt 2 bands 3 priomap 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1
"""
LINKS = r"""1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000\    link/loopback
2: data0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP mode DEFAULT group default qlen 1000\    link/ether 52:54:00:00:00:02
"""
OUR_LINK = r"5: runner-ifb0: <BROADCAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc netem state UNKNOWN qlen 32\    link/ether 26:00:fb:9b"
OUR_QDISCS = """qdisc netem 5f10: dev data0 root refcnt 2 limit 1000 delay 100ms
qdisc ingress ffff: dev data0 parent ffff:fff1 ----------------
"""
OUR_TABLE = "table inet runner_offline {\n\tchain c {\n\t\ttype filter hook input priority -300; policy accept;\n\t}\n}\n"
DOCKER = 'table ip nat {\n\tchain DOCKER {\n\t\tiifname "docker0" counter return\n\t}\n}\n'
LEGACY = "*filter\n:INPUT DROP [3:180]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n"


def seen(**changed: Any) -> dict[str, Any]:
    """A device with nothing special on it, and what is `changed`, as its fingerprint."""
    fields: dict[str, Any] = {field: [] for field in FIELDS}
    fields |= {"qdiscs": qdiscs_of(QDISCS), "links": links_of(LINKS), "clock": 1_790_000_000, "boottime_s": 100, "boot_id": "b"}
    return read({**fields, **changed})


# ---- differences -----------------------------------------------------------------------------------------------


def test_a_change_is_one_sentence() -> None:
    """Its field, what came and what went; the order of the lines is none."""
    before = seen(firewall=["table inet own"], mounts=["/ / ext4", "/tmp / tmpfs"])
    after = seen(firewall=["table inet foo", "table inet own"], mounts=["/tmp / tmpfs", "/ / ext4 ro"])
    assert differences(before, after) == ["+ firewall: table inet foo", "+ mounts: / / ext4 ro", "- mounts: / / ext4"]
    assert differences(before, seen(firewall=["table inet own"], mounts=["/tmp / tmpfs", "/ / ext4"])) == []


def test_a_line_that_stands_twice_counts_twice() -> None:
    """Mounts lie on top of one another."""
    assert differences(seen(mounts=["/a / tmpfs"]), seen(mounts=["/a / tmpfs", "/a / tmpfs"])) == ["+ mounts: /a / tmpfs"]


def test_the_order_is_told_when_nothing_else_is() -> None:
    """Two rules that changed places let other packets through; where rules came or went, the order says nothing more."""
    before = seen(firewall=["table inet foo", "in this order: 1"])
    assert differences(before, seen(firewall=["table inet foo", "in this order: 2"])) == [
        "+ firewall: in this order: 2",
        "- firewall: in this order: 1",
    ]
    assert differences(before, seen(firewall=["in this order: 2"])) == ["- firewall: table inet foo"]


def test_what_is_not_known_is_never_a_line() -> None:
    """What was not known before cannot be compared; what is not known any more is said, and nothing is told to be gone."""
    unknown = seen(qdiscs=["unknown: no tc"])
    assert differences(unknown, seen()) == []
    assert differences(unknown, unknown) == []
    assert differences(seen(), unknown) == ["? qdiscs: unknown: no tc"]
    assert differences(unknown, seen(qdiscs=["unknown: tc says no"])) == ["? qdiscs: unknown: tc says no"]
    half = seen(firewall=["unknown: no nft", "iptables filter: :INPUT DROP"])
    assert differences(half, seen(firewall=["unknown: no nft"])) == ["- firewall: iptables filter: :INPUT DROP"]


@pytest.mark.parametrize(
    ("moved_s", "between_s", "said"),
    [
        (0, 0, []),
        (CLOCK_TOLERANCE_S, 0, []),
        (CLOCK_TOLERANCE_S + 1, 0, ["+ clock: it jumped on by 4 s"]),
        (-CLOCK_TOLERANCE_S - 1, 60, ["- clock: it jumped back by 4 s"]),
        (40, 86400, []),  # a day's drift
        (50, 86400, ["+ clock: it jumped on by 50 s"]),
    ],
)
def test_the_clock_may_drift_and_not_jump(moved_s: float, between_s: int, said: list[str]) -> None:
    """A few seconds, and more the longer it was not looked at."""
    assert differences(seen(), seen(clock=1_790_000_000 + int(moved_s), boottime_s=100 + between_s)) == said


def test_the_clock_of_another_boot_is_another_number() -> None:
    """It counts from the boot: after one it cannot be compared."""
    assert differences(seen(), seen(clock=1_790_005_000, boot_id="c")) == []


@pytest.mark.parametrize(
    "said",
    [None, [], {}, {"qdiscs": "text"}, {"qdiscs": [1, None, {}]}, {"clock": "late"}, {"clock": True}, {"clock": 10**400}, {"boot_id": 7}],
    ids=repr,
)
def test_whatever_a_device_says_is_a_fingerprint(said: Any) -> None:
    """Every field is there, of its type; comparing it with a good one raises nothing."""
    found = read(said)
    assert all(isinstance(found[field], list) and all(isinstance(line, str) for line in found[field]) for field in FIELDS)
    assert isinstance(differences(seen(), found), list)
    assert isinstance(differences(found, seen()), list)
    assert foreign(found, "data0") == left_of_ours(found) == []
    assert read(found) == found


def test_a_device_that_says_too_much_is_cut_short() -> None:
    """So many lines, so long, and none that moves a cursor."""
    found = read({"mounts": ["\x1b[2J" + "x" * 10_000] * 10_000})["mounts"]
    assert len(found) == LINES
    assert {len(line) for line in found} == {LINE_CHARACTERS}
    assert found[0].startswith("?[2Jxxx")


# ---- whose it is --------------------------------------------------------------------------------------------------


def test_an_ordinary_device_has_nothing_foreign() -> None:
    """The kernel's own qdiscs, whichever its defaults are."""
    assert foreign(seen(), "data0") == left_of_ours(seen()) == []
    plain = QDISCS.replace("qdisc mq 0: dev data0 root\n", "").replace(
        "fq_codel 0: dev data0 parent :1", "noqueue 0: dev data0 root refcnt 2"
    )
    assert foreign(seen(qdiscs=qdiscs_of(plain)), "data0") == []


@pytest.mark.parametrize(
    ("field", "lines", "said"),
    [
        (
            "qdiscs",
            qdiscs_of(QDISCS + "qdisc tbf 8001: dev data0 root refcnt 3 rate 1Mbit burst 4Kb lat 50ms\n"),
            "data0 has a qdisc that is not ours: qdisc tbf auto: dev data0 root rate 1Mbit burst 4Kb lat 50ms",
        ),
        (
            "qdiscs",
            qdiscs_of("qdisc htb 1: dev data0 root refcnt 9 r2q 10 default 0x30 direct_packets_stat 0 direct_qlen 1000\n"),
            "data0 has a qdisc that is not ours: qdisc htb 1: dev data0 root r2q 10 default 0x30 direct_qlen 1000",
        ),
        (
            "qdiscs",
            qdiscs_of("qdisc ingress ffff: dev data0 parent ffff:fff1 ----------------\n"),
            "data0 has a qdisc that is not ours: qdisc ingress ffff: dev data0 parent ffff:fff1 ----------------",
        ),
        (
            "qdiscs",
            qdiscs_of("qdisc clsact ffff: dev data0 parent ffff:fff1\n"),
            "data0 has a qdisc that is not ours: qdisc clsact ffff: dev data0 parent ffff:fff1",
        ),
        ("firewall", firewall_of(DOCKER), "the firewall has a table that is not ours: table ip nat"),
        ("firewall", firewall_of("table ip runner_x {\n}\n"), "the firewall has a table that is not ours: table ip runner_x"),
        ("firewall", legacy_of(LEGACY, "iptables"), "the firewall has a table that is not ours: iptables filter (the legacy kind)"),
        (
            "links",
            links_of(LINKS + OUR_LINK),
            "there is an interface called runner-ifb0, and no fault of ours is on: runner-ifb0 UP NOARP mtu 1500 qlen 32",
        ),
    ],
    ids=["tbf", "htb", "ingress", "clsact", "docker", "another family", "legacy", "ifb"],
)
def test_foreign_state_is_named(field: str, lines: list[str], said: str) -> None:
    """A sentence that says what was found, once."""
    assert foreign(seen(**{field: lines}), "data0") == [said]


def test_another_interface_is_none_of_our_business() -> None:
    """A qdisc on the management interface fights with no fault over data0."""
    shaped = seen(qdiscs=qdiscs_of("qdisc tbf 8001: dev mgmt0 root rate 1Mbit\n"))
    assert foreign(shaped, "data0") == []
    assert foreign(shaped, "mgmt0") != []


def test_our_own_tags_are_ours() -> None:
    """While a program is armed nothing of it is foreign; when none is, it is something that was left."""
    ours = seen(qdiscs=qdiscs_of(OUR_QDISCS), links=links_of(LINKS + OUR_LINK), firewall=firewall_of(OUR_TABLE))
    assert foreign(ours, "data0", armed=True) == []
    assert left_of_ours(ours) == [
        "left by a fault of ours: qdisc netem 5f10: dev data0 root limit 1000 delay 100ms",
        "left by a fault of ours: table inet runner_offline",
        "left by a fault of ours: runner-ifb0 UP NOARP mtu 1500 qlen 32",
    ]
    assert len(foreign(seen(firewall=firewall_of(OUR_TABLE + DOCKER)), "data0", armed=True)) == 1


def test_what_was_found_before_a_boot_must_be_gone_after_it() -> None:
    """A route that is still missing and a mount that is still there are what they were; the clock, and what is no field, says nothing."""
    recorded = ["+ mounts: /mnt tmpfs", "- routes: default via 10.0.0.1 dev eth0", "+ clock: it jumped on by 9 s", "a fault is on yet"]
    now = read({"mounts": ["/mnt tmpfs"], "routes": []})
    assert still(recorded, now) == recorded[:2]
    assert still(recorded, read({"mounts": [], "routes": ["default via 10.0.0.1 dev eth0"]})) == []
