"""What a fault over a link could leave behind on this device, written down so that two moments can be compared; and what its
kernel and tools can do.

    before: {"qdiscs": [lines], "links": …, "clock": 1790000000} ─► faults, undone ─► after: the same lines, or the device is not as it was

Whatever changes by itself is not in it: counters, ages and lifetimes, handles and numbers that the kernel chose, the carrier of a
link, what systemd starts and ends on its own. So two fingerprints of a device that was left alone are equal, its clock within a
second. Nothing is changed, and no module is loaded, to look. What cannot be read is one sentence, "unknown: " and why.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import Any, Callable

from .journal import boot_id, boottime_ns
from .kernel_files import raw

LINES, LINE_CHARACTERS = 500, 300  # of each field: what is beyond is counted, and goes into a hash
TOOL_LIMIT_S = 10.0
DAD_LIMIT_S = 3.0  # how long an address that came back is waited for until the kernel has proven it to be nobody else's
UNKNOWN, IN_THIS_ORDER = "unknown: ", "in this order: "
_PLACES = ("/usr/sbin", "/sbin")  # searched behind PATH, which lacks them where nobody logged in
_MOUNTINFO, _MODULES, _TUN = "/proc/self/mountinfo", "/lib/modules", "/dev/net/tun"

_NEEDS: dict[str, tuple[str, dict[str, str]]] = {  # a capability's tool, and its modules by name and by the kernel's configuration
    "netem": ("tc", {"sch_netem": "CONFIG_NET_SCH_NETEM"}),
    "tbf": ("tc", {"sch_tbf": "CONFIG_NET_SCH_TBF"}),
    "htb": ("tc", {"sch_htb": "CONFIG_NET_SCH_HTB"}),
    "ifb": (
        "tc",
        {
            "ifb": "CONFIG_IFB",
            "sch_ingress": "CONFIG_NET_SCH_INGRESS",
            "cls_u32": "CONFIG_NET_CLS_U32",
            "act_mirred": "CONFIG_NET_ACT_MIRRED",
        },
    ),
    "nft": ("nft", {"nf_tables": "CONFIG_NF_TABLES"}),
    "ethtool": ("ethtool", {}),
    "tun": ("ip", {"tun": "CONFIG_TUN"}),  # and its device must be ours to open, see _tun
}


class Unknown(Exception):
    """A field cannot be read; the message says why."""


def fingerprint() -> dict[str, Any]:
    """Every field of FIELDS as sorted lines, the clock in whole seconds, and which moment of which boot this is."""
    found: dict[str, Any] = {}
    for name, read in FIELDS.items():
        try:
            found[name] = _bounded(read())
        except (Unknown, OSError, ValueError, IndexError) as error:
            found[name] = _bounded([f"{UNKNOWN}{error}"])
    boottime_s = boottime_ns() / 1e9
    return {**found, "clock": round(time.time() - boottime_s), "boottime_s": round(boottime_s), "boot_id": boot_id()}


_known: list[str] | None = None


def capabilities() -> list[str]:
    """What can be done to this device: to its link, what it can have too little of (`scarcity.capabilities`), whether its own clocks
    can be limited (`frequency.capabilities`)."""
    global _known
    if _known is None:  # asked on every connection; what is installed while this process lives is seen by the next one
        from . import frequency, scarcity

        has = _modules()
        _known = [*_of_the_link(has), *scarcity.capabilities(has), *frequency.capabilities()]
    return _known


def _of_the_link(has: Callable[[str, str], bool]) -> list[str]:
    """Those of netem, tbf, htb, ifb, nft, ethtool and tun that are here: tool, and modules built in, loaded or to be loaded."""
    found = [word for word, (tool, needed) in _NEEDS.items() if _tool(tool) and all(has(*each) for each in needed.items())]
    return [word for word in found if word != "tun" or _tun()]


def _tun() -> bool:
    """Whether its device is ours to open, or will be there for us: where the kernel itself makes devices (devtmpfs), this one comes with
    its module, which root may load."""
    if os.path.exists(_TUN) or os.path.isdir("/sys/module/tun"):
        return os.access(_TUN, os.R_OK | os.W_OK)
    made_by_kernel = re.search(rb"^(\S+ ){4}/dev .* - devtmpfs ", raw(_MOUNTINFO), re.MULTILINE)
    return bool(made_by_kernel) and os.geteuid() == 0


def _modules() -> Callable[[str, str], bool]:
    """Whether the kernel has a module, by its name and its configuration's; nothing is loaded to find out."""
    folder = f"{_MODULES}/{os.uname().release}"
    listed = b"".join(raw(f"{folder}/{name}") for name in ("modules.dep", "modules.builtin"))
    configured = b""
    if not listed:  # a kernel without a modules folder says what is in it itself, or nobody does
        import zlib

        packed = raw("/proc/config.gz")
        configured = zlib.decompress(packed, 31) if packed else b""

    def has(module: str, option: str) -> bool:
        return os.path.isdir(f"/sys/module/{module}") or f"/{module}.ko".encode() in listed or f"\n{option}=y\n".encode() in configured

    return has


# ---- tools ----------------------------------------------------------------------------------------------------


def _tool(name: str) -> str:
    """Where a tool lies; "" where there is none. Busybox has namesakes of these that print something else."""
    for folder in (*os.environ.get("PATH", "").split(os.pathsep), *_PLACES):
        path = os.path.join(folder, name)
        if folder and os.access(path, os.X_OK) and not os.path.realpath(path).endswith("/busybox"):
            return path
    return ""


def _said(name: str, *arguments: str) -> str:
    """What a tool printed. Raises Unknown when it is not there, fails or does not end."""
    import subprocess

    path = _tool(name)
    if not path:
        raise Unknown(f"no {name}")
    try:
        done = subprocess.run(
            [path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=TOOL_LIMIT_S, env={**os.environ, "LC_ALL": "C"}
        )
    except subprocess.TimeoutExpired:
        raise Unknown(f"{name} did not end within {TOOL_LIMIT_S:g} s") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unknown(f"{name} {' '.join(arguments)} says {said[0]}")
    return done.stdout.decode("utf-8", "replace")


def _without(line: str, *patterns: str) -> str:
    for pattern in patterns:
        line = re.sub(pattern, " ", line)
    return " ".join(line.split())


# ---- what tc, ip and nft print, each a pure function of the text ---------------------------------------------------


def qdiscs_of(text: str) -> list[str]:
    """Lines of `tc qdisc show`; a handle that the kernel chose (8000: and above) is "auto:", which ffff: of an ingress is not."""
    lines = [_without(line, r"\brefcnt \d+", r"\bdirect_packets_stat \d+") for line in text.splitlines()]
    return [re.sub(r"\b(?!ffff:)[89a-f][0-9a-f]{3}:", "auto:", line) for line in lines if line]


_MADE_BY_MODULES = {  # by being loaded, and they stay: nobody's as long as nobody puts them up
    "ifb0", "ifb1", "dummy0", "bond0", "teql0",
    "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6tnl0", "ip6_vti0", "ip6gre0",
}  # fmt: skip
_FLAGS = ("UP", "PROMISC", "ALLMULTI", "NOARP", "DEBUG")


def links_of(text: str) -> list[str]:
    """Lines of `ip -o link show`: name, the flags that somebody set, mtu, length of its queue, master."""
    found = []
    for line in text.splitlines():
        _, name, rest = line.split(": ", 2)
        said = re.split("[<>,]", rest.partition("> ")[0])
        flags = [flag for flag in _FLAGS if flag in said]
        known = [each[0] for each in re.finditer(r"\b(mtu|qlen|master) \S+", rest.partition("\\")[0])]
        if "UP" in flags or name.partition("@")[0] not in _MADE_BY_MODULES:
            found.append(" ".join([re.sub(r"@if\d+$", "", name), *flags, *known]))
    return found


def addresses_of(text: str) -> list[str]:
    """Lines of `ip -o addr show`, without how long they are valid. IPv6's temporary ones come and go by themselves."""
    lines = [line.partition(": ")[2].partition("\\")[0] for line in text.splitlines() if " temporary " not in line]
    return [_without(line, r"\b(tentative|deprecated|dynamic)\b", r"\b(valid|preferred)_lft \S+") for line in lines if line]


def routes_of(text: str) -> list[str]:
    """Lines of `ip -o route show table all`, without their ages and what only says that a link has no carrier."""
    return [_without(line, r"\b(expires|age|users|nhid|error) -?\w+", r"\b(linkdown|dead)\b", r"\\") for line in text.splitlines() if line]


def firewall_of(text: str) -> list[str]:
    """Lines of `nft -s list ruleset`, each behind the table and chain that it stands in. Elements that rules add, or that run
    out by themselves, are left out."""
    found: list[str] = []
    heads: list[str] = []
    by_itself = skipping = False
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        if line == "}":
            heads, skipping = heads[:-1], False
            continue
        if line.endswith(" {") and not line.startswith("elements ="):
            heads.append(line[:-2])
            by_itself = False
            found.append(" ".join(heads))
            continue
        by_itself = by_itself or line.startswith("timeout ") or (line.startswith("flags ") and ("dynamic" in line or "timeout" in line))
        skipping = skipping or (by_itself and line.startswith("elements ="))
        if not skipping:
            found.append(f"{' '.join(heads)}: {_without(line, r'packets [0-9]+ bytes [0-9]+')}")
    return found


def legacy_of(text: str, tool: str) -> list[str]:
    """Lines of `iptables-save`, behind tool and table. A chain of the kernel's that accepts is what every table begins with."""
    found, table = [], ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line and not line.startswith("#") and line != "COMMIT":
            line = _without(line, r"\[\d+:\d+\]")
            if not re.fullmatch(r":\S+ ACCEPT", line):
                found.append(f"{tool} {table}: {line}")
    return found


# ---- the fields -------------------------------------------------------------------------------------------------


def _qdiscs() -> list[str]:
    return qdiscs_of(_said("tc", "qdisc", "show"))


def _links() -> list[str]:
    return links_of(_said("ip", "-o", "link", "show"))


def _addresses() -> list[str]:
    deadline = time.monotonic() + DAD_LIMIT_S
    text = _said("ip", "-o", "addr", "show")
    while re.search(r" tentative (?!.*dadfailed)", text) and time.monotonic() < deadline:
        time.sleep(0.1)  # its routes come with the proof
        text = _said("ip", "-o", "addr", "show")
    return addresses_of(text)


def _routes() -> list[str]:
    return routes_of(_said("ip", "-o", "route", "show", "table", "all"))


def _rules() -> list[str]:
    families = ("-4", "-6") if os.path.exists("/proc/net/if_inet6") else ("-4",)
    return [f"{family} {_without(line)}" for family in families for line in _said("ip", family, "rule").splitlines()]


def _firewall() -> list[str]:
    """nftables, and the older tables where the kernel has some: their command would make them to look at them."""
    lines: list[str] = []
    unknown: list[str] = []
    try:
        lines += firewall_of(_said("nft", "-s", "list", "ruleset"))
    except Unknown as error:
        unknown.append(f"{UNKNOWN}{error}")
    for tool, listed in (("iptables", "/proc/net/ip_tables_names"), ("ip6tables", "/proc/net/ip6_tables_names")):
        save = f"{tool}-legacy-save" if _tool(f"{tool}-legacy-save") else f"{tool}-save"
        for table in sorted(raw(listed).decode("ascii", "replace").split()):
            try:
                lines += legacy_of(_said(save, "-t", table), tool)
            except Unknown as error:
                unknown.append(f"{UNKNOWN}{error}")
    order = [IN_THIS_ORDER + _short_hash(lines)] if len(lines) > 1 else []
    return [*lines, *order, *unknown]


_BY_SYSTEMD = re.compile(r"\.(service|scope|mount|socket|swap)$|^user\.slice$|^system-.*\.slice$")
_LIMITS = {  # files of either version, and what stands there when nobody has set a limit
    "cpu.max": "max 100000", "cpu.weight": "100", "memory.max": "max", "memory.high": "max", "memory.low": "0", "memory.min": "0",
    "memory.swap.max": "max", "pids.max": "max", "io.max": "", "cgroup.freeze": "0",
    "cpu.cfs_quota_us": "-1", "cpu.shares": "1024", "freezer.self_freezing": "0",
    "blkio.throttle.read_bps_device": "", "blkio.throttle.write_bps_device": "",
    "blkio.throttle.read_iops_device": "", "blkio.throttle.write_iops_device": "",
}  # fmt: skip
_MEMORY_V1 = ("memory.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.memsw.limit_in_bytes")
_FOLDERS = 2000  # control groups that are looked at, of each hierarchy


def _cgroups() -> list[str]:
    """Each control group with its limits, by where it is mounted. What systemd starts and ends by itself, a login's too, is left out."""
    found = []
    for line in _mount_lines():
        place, kind = line.split()[4], line.partition(" - ")[2].split(" ")[0]
        if kind not in ("cgroup", "cgroup2"):
            continue
        count = 0
        for folder, below, _ in os.walk(place):
            below[:] = sorted(name for name in below if not _BY_SYSTEMD.search(name))
            count += 1
            if count <= _FOLDERS:
                found.append(" ".join([folder, *_limits(folder)]))
        if count > _FOLDERS:
            found.append(f"{place} and {count - _FOLDERS} more below it")
    return found


def _limits(folder: str) -> list[str]:
    limits = []
    for name in (*_LIMITS, *_MEMORY_V1, "cpuset.cpus"):
        data = raw(os.path.join(folder, name))
        value = ";".join(data.decode("ascii", "replace").split("\n")).strip("; ")
        if not data:
            continue
        if name in _MEMORY_V1:
            default = value.isdigit() and int(value) > 2**62
        elif name == "cpuset.cpus":  # inherited by one version, empty in the other
            default = value in ("", raw(os.path.join(os.path.dirname(folder), name)).decode("ascii", "replace").strip())
        else:
            default = value == _LIMITS[name]
        if not default:
            limits.append(f"{name}={value.replace(' ', '_')}")
    return limits


def _offloads() -> list[str]:
    """Interface and feature, for each that is on and could be off; asked of the kernel itself, which needs no ethtool."""
    import socket

    found = []
    names: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, interface in socket.if_nameindex():
            try:
                if interface in _MADE_BY_MODULES and not _is_up(asker.fileno(), interface):
                    continue
                names = names or _feature_names(asker.fileno(), interface)
                found += [f"{interface} {feature}" for feature in _features_on(asker.fileno(), interface, names)]
            except OSError:  # an interface that went away, or has no features
                continue
    if not names:
        raise Unknown("the kernel names no offload")
    return found


_SIOCGIFFLAGS, _SIOCETHTOOL, _STRINGS_BYTES = 0x8913, 0x8946, 32
_GSTRINGS, _GSSET_INFO, _GFEATURES, _SS_FEATURES = 0x1B, 0x37, 0x3A, 4


def _is_up(fd: int, interface: str) -> bool:
    import fcntl
    import struct

    (flags,) = struct.unpack_from("H", fcntl.ioctl(fd, _SIOCGIFFLAGS, struct.pack("16s24x", interface.encode())), 16)
    return bool(flags & 1)


def _ethtool(fd: int, interface: str, request: bytes) -> bytes:
    """One request of <linux/ethtool.h>: the same bytes as the kernel left them. Raises OSError."""
    import array
    import fcntl
    import struct

    data = array.array("B", request)
    address, _ = data.buffer_info()
    fcntl.ioctl(fd, _SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), address))
    return data.tobytes()


def _feature_names(fd: int, interface: str) -> list[str]:
    import struct

    (count,) = struct.unpack_from("=I", _ethtool(fd, interface, struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _SS_FEATURES, 0)), 16)
    if not 0 < count <= 1024:
        return []
    head = struct.pack("=III", _GSTRINGS, _SS_FEATURES, count)
    data = _ethtool(fd, interface, head + bytes(_STRINGS_BYTES * count))[len(head) :]
    words = [data[place : place + _STRINGS_BYTES] for place in range(0, len(data), _STRINGS_BYTES)]
    return [word.partition(b"\0")[0].decode("ascii", "replace") for word in words]


def _features_on(fd: int, interface: str, names: list[str]) -> list[str]:
    import struct

    blocks = (len(names) + 31) // 32
    data = _ethtool(fd, interface, struct.pack("=II", _GFEATURES, blocks) + bytes(16 * blocks))
    on = []
    for number, name in enumerate(names):
        _, _, active, never_changed = struct.unpack_from("=IIII", data, 8 + 16 * (number // 32))
        if name and (active & ~never_changed) >> (number % 32) & 1:
            on.append(name)
    return on


_NEIGHBOURS = "/proc/sys/net"  # ipv4/neigh/data0/retrans_time_ms


def _neighbours() -> list[str]:
    """Each interface's timers, in milliseconds: how long a neighbour's address counts, and when it is asked for again."""
    found = []
    for family in ("ipv4", "ipv6"):
        try:
            interfaces = os.listdir(f"{_NEIGHBOURS}/{family}/neigh")
        except FileNotFoundError:  # a kernel without this family
            continue
        for interface in interfaces:
            if interface in ("default", *_MADE_BY_MODULES):
                continue
            values = [raw(f"{_NEIGHBOURS}/{family}/neigh/{interface}/{name}_time_ms") for name in ("base_reachable", "retrans")]
            base_reachable, retrans = (value.decode("ascii", "replace").strip() for value in values)
            if base_reachable and retrans:  # or it went away meanwhile
                found.append(f"{interface} {family} base_reachable {base_reachable} retrans {retrans}")
    if not found:
        raise Unknown("the kernel does not say")
    return found


_BY_ITSELF = (  # a login's, a service's, one that is mounted when looked at, those of namespaces and of containers
    "/run/user/", "/run/credentials/", "/proc/sys/fs/binfmt_misc", "/run/netns", "/run/docker/", "/var/lib/docker/", "/var/lib/containers/",
)  # fmt: skip


def _mount_lines() -> list[str]:
    with open(_MOUNTINFO, encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in file]


def mounts_of(lines: list[str]) -> list[str]:
    """Lines of mountinfo without numbers that the kernel chose: where, what of it, of which kind, from where, how."""
    found = []
    for line in lines:
        front, _, back = line.partition(" - ")
        _, _, _, root, place, options, *_ = front.split(" ")
        kind, source, more = back.split(" ", 2)
        if not place.startswith(_BY_ITSELF):
            more = "" if kind == "autofs" else more
            found.append(" ".join([place, re.sub(r":\[\d+\]$", "", root), kind, source, options, more]).strip())
    return found


def _mounts() -> list[str]:
    return mounts_of(_mount_lines())


FIELDS: dict[str, Callable[[], list[str]]] = {  # addresses before routes: it waits for those that are being proven
    "qdiscs": _qdiscs,
    "links": _links,
    "addresses": _addresses,
    "routes": _routes,
    "rules": _rules,
    "firewall": _firewall,
    "cgroups": _cgroups,
    "offloads": _offloads,
    "neighbours": _neighbours,
    "mounts": _mounts,
}


def _bounded(lines: list[str]) -> list[str]:
    """Sorted, plain and no more than anybody reads: what is cut off is counted and hashed, so that a change in it is still one."""
    plain = sorted("".join(c if " " <= c <= "~" else "?" for c in line) for line in lines)
    cut = [line if len(line) <= LINE_CHARACTERS else f"{line[: LINE_CHARACTERS - 20]}... {_short_hash([line])}" for line in plain]
    if len(cut) <= LINES:
        return cut
    return [*cut[: LINES - 1], f"and {len(cut) - LINES + 1} more lines, {_short_hash(cut[LINES - 1 :])}"]


def _short_hash(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
