"""Our own shaper: a narrow link on a kernel that has no queue for it (netem), but TUN and nftables. In both directions.

    up      programs ─► mark LED, other routes ─► TUN ─► [Course] ─► raw socket, mark SENT ─► interface ─► far end
    down    programs ◄── TUN ◄── [Course] ◄── packet socket ◄── interface ◄── far end      the kernel's own copy: dropped

    shape start           reads what to do from standard input (JSON); all is in effect when it returns, and a process of its own stays
    shape set TUN         reads another shape of each direction; in effect when it returns
    shape shown TUN       says that it runs, and what it did; nothing where none runs
    shape stop TUN TABLE PRIORITY ROUTES      takes all of it away, in whatever state it is; nothing there is no error

It is found by a name that only a living process can hold (an abstract socket of this network namespace), and the kernel says whose
it is: no file can be stale. **Killed, the link is dark**, both ways: what was led to it meets nobody, and the table still drops
what would go past it. That is so until the table and the rules are taken away, for which nobody needs the shaper.
All that is done to the kernel is done before the process of its own begins: whoever has waited for `shape start` to end,
or has killed it, need not fear that it goes on.

Names, marks and the table's text come from whoever asks. Packets of the link's neighbourhood (ARP, IPv6's neighbours, whatever is
for many) go past it.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from typing import Any

from .say import say

IP, IP_V6 = 0x0800, 0x86DD
HELD_BYTES = 32 << 20  # of all packets that wait or are on their way; more is lost, and counted
BURST = 64  # packets of one direction, before the other one is looked at
LINE_BYTES = 1 << 16
START_S, STOP_S, ANSWER_S = 20.0, 10.0, 2.0
WRONG, NOT_HERE = 64, 1

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SIOCGIFMTU, _SIOCGIFHWADDR = 0x8921, 0x8927
_SO_MARK, _SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 36, 32, 33
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_VNET_HDR = 263, 6, 15
_FOR_US = 0  # PACKET_HOST
_LINK_BYTES = {1: 14, 512: 0, 519: 0, 65534: 0}  # in front of an IP packet, by the kind of interface: Ethernet and Wi-Fi; ppp; none
_BUFFER_BYTES = 4 << 20
_TRIES_S = 0.02
_DUMMY = "192.0.0.8/32"  # … which a kernel that filters allows only to an interface with an address: the one that is nobody's (RFC 7600)


# ---- the way through it -------------------------------------------------------------------------------------------------------


class Line:
    """One direction: a course, what it holds, and where that goes to."""

    def __init__(self, course: Any, send: Any) -> None:
        self.course, self._send = course, send
        self._held: list[tuple[float, int, bytes]] = []
        self._bytes = self._number = 0
        self.counts = {"passed": 0, "refused": 0, "no_room": 0}  # refused: by the kernel, as it would have done without us

    def take(self, packet: bytes, now_s: float) -> None:
        import heapq

        for leaves_s in self.course.take(now_s, len(packet), packet[0] >> 4):
            if self._bytes + len(packet) > HELD_BYTES:
                self.counts["no_room"] += 1
                continue
            self._number += 1
            self._bytes += len(packet)
            heapq.heappush(self._held, (leaves_s, self._number, packet))

    def release(self, now_s: float) -> float | None:
        """Sends what is due; when the next one is."""
        import heapq

        while self._held and self._held[0][0] <= now_s:
            _, _, packet = heapq.heappop(self._held)
            self._bytes -= len(packet)
            try:
                self._send(packet)
                self.counts["passed"] += 1
            except OSError:
                self.counts["refused"] += 1
        return self._held[0][0] if self._held else None


class Shaper:
    """`said` is what `shape start` read. Everything is open, and the kernel leads packets here, when it is made.

    Raises OSError or ValueError.
    """

    def __init__(self, said: dict[str, Any]) -> None:
        import random

        from .shaping import Course, shape_of

        shapes = {way: shape_of(said[way]) for way in ("up", "down") if said.get(way) is not None}
        if not shapes:
            raise ValueError("neither up nor down is to be shaped")
        self._interface = str(said["interface"])
        self.name = _listen(said["tun"])
        self._tun = _tun(said["tun"])
        self._link_bytes = _link_bytes(self._interface)
        self._sockets = {4: _raw(socket.AF_INET, self._interface, said["sent"]), 6: _raw(socket.AF_INET6, self._interface, said["sent"])}
        send = {"up": self._out, "down": self._in}
        chance = {way: random.Random(f"{said['seed']} {way}") for way in shapes}
        self.lines = {way: Line(Course(shape, chance[way]), send[way]) for way, shape in shapes.items()}
        self._taken: list[socket.socket] = []
        self.strange = self._unseen = 0  # captures that were no packets, or could not be taken apart; and see `said`
        _lead(said, _mtu(self._interface))
        if "down" in shapes:  # only when the kernel drops its own copy: nothing arrives twice
            self._taken = [_packets(self._interface, protocol) for protocol in (IP, IP_V6)]
        self._buffer = bytearray(1 << 17)

    def run(self) -> None:
        """Until its TUN is gone."""
        sources: dict[int, Any] = {self._tun: None, **{each.fileno(): each for each in (self.name, *self._taken)}}
        while True:
            now_s = time.monotonic()
            dues = [due_s for due_s in (line.release(now_s) for line in self.lines.values()) if due_s is not None]
            wait_s = max(0.0, min(dues) - time.monotonic()) if dues else None
            for ready in select.select(sources, [], [], wait_s)[0]:
                if ready == self._tun:
                    if not self._take_up():
                        return
                elif sources[ready] is self.name:
                    self._answer()
                else:
                    self._take_down(sources[ready])

    def _take_up(self) -> bool:
        """False when there is no TUN any more."""
        from .packets import leaves_the_link

        line = self.lines.get("up")
        for _ in range(BURST):
            try:
                packet = os.read(self._tun, 1 << 16)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                return False
            try:
                if line is not None and leaves_the_link(packet):
                    line.take(packet, time.monotonic())
            except ValueError:
                self.strange += 1
        return True

    def _take_down(self, taken: socket.socket) -> None:
        from .packets import VIRTIO, came_over_the_link, whole

        view, behind = memoryview(self._buffer), VIRTIO.size + self._link_bytes
        for _ in range(BURST):
            try:
                size, (_, _, kind, *_) = taken.recvfrom_into(view)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # the interface went down, or one capture could not be described
                self.strange += 1
                return
            if kind != _FOR_US:
                continue
            try:
                packet = bytes(view[behind:size])
                if came_over_the_link(packet):
                    for each in whole(bytes(view[: VIRTIO.size]), packet, self._link_bytes):
                        self.lines["down"].take(each, time.monotonic())
            except ValueError:
                self.strange += 1

    def _out(self, packet: bytes) -> None:
        from .packets import destination

        version = packet[0] >> 4
        out = self._sockets[version]
        if out is None:
            raise OSError("no such family here")
        to = destination(packet)
        out.sendto(packet, (socket.inet_ntoa(to), 0) if version == 4 else (socket.inet_ntop(socket.AF_INET6, to), 0, 0, 0))

    def _in(self, packet: bytes) -> None:
        os.write(self._tun, packet)

    def descriptors(self) -> set[int]:
        """All that it needs to go on."""
        sockets = [self.name, *self._taken, *filter(None, self._sockets.values())]
        return {self._tun, *(each.fileno() for each in sockets)}

    # ---- what others ask of it ------------------------------------------------------------------------------

    def _answer(self) -> None:
        """One request; whoever is neither root nor who we are is not heard."""
        from .shaping import shape_of

        connection, _ = self.name.accept()
        with connection:
            try:
                connection.settimeout(ANSWER_S / 2)
                if _whose(connection)[1] not in (0, os.geteuid()):
                    return
                said = json.loads(_line(connection) or b"{}")
                answer: dict[str, Any]
                try:
                    if said.get("do") == "set":
                        shapes = {way: shape_of(said[way]) for way in self.lines if said.get(way) is not None}
                        for way, shape in shapes.items():
                            self.lines[way].course.change(shape)
                    answer = {"ok": self.said()}
                except (ValueError, KeyError, TypeError) as error:
                    answer = {"error": f"{error}"}
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except (OSError, ValueError, AttributeError) as error:
                say(f"whoever asked is gone: {error}")

    def said(self) -> dict[str, Any]:
        """What became of the packets of each direction. `unseen`: the kernel had no room for them, because we were late."""
        for taken in self._taken:  # the kernel begins anew each time that it is asked
            self._unseen += struct.unpack("II", taken.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
        counts = {way: {**line.course.counts, **line.counts} for way, line in self.lines.items()}
        return {"pid": os.getpid(), "ways": counts, "strange": self.strange, "unseen": self._unseen}


# ---- what is opened -----------------------------------------------------------------------------------------------------------


def _listen(tun: str) -> socket.socket:
    """The name that says that a shaper runs. Raises OSError where one does."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(_address(tun))
    except OSError as error:
        raise OSError(f"a shaper runs here already: {error}") from error
    return name


def _address(tun: str) -> str:
    return f"\0stageflow-runner-shaper-{tun}"


def _tun(tun: str) -> int:
    """A TUN device that is gone with its last holder. Raises OSError where something of this name is there: one would be attached to."""
    if tun in (name for _, name in socket.if_nameindex()):
        raise OSError(f"there is a {tun} already, and it is not ours")
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", tun.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


def _raw(family: int, interface: str, mark: int) -> socket.socket | None:
    """For whole packets that leave by this interface and by no other; None where the kernel has no such family."""
    try:
        out = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
    except OSError:
        if family == socket.AF_INET:
            raise
        return None
    out.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    out.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
    out.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)
    return out


def _packets(interface: str, protocol: int) -> socket.socket:
    """What comes in of one family from here on, each with a virtio header in front."""
    taken = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    taken.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    taken.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    taken.bind((interface, protocol))
    return taken


def _asked_of(interface: str, request: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        return fcntl.ioctl(asker.fileno(), request, struct.pack("16s24x", interface.encode()))


def _mtu(interface: str) -> int:
    return int(struct.unpack_from("i", _asked_of(interface, _SIOCGIFMTU), 16)[0])


def _link_bytes(interface: str) -> int:
    """Raises ValueError for an interface whose frames we do not know."""
    (kind,) = struct.unpack_from("H", _asked_of(interface, _SIOCGIFHWADDR), 16)
    if kind not in _LINK_BYTES:
        raise ValueError(f"{interface} is an interface of kind {kind}; our shaper knows {sorted(_LINK_BYTES)}")
    return _LINK_BYTES[kind]


def _lead(said: dict[str, Any], mtu: int) -> None:
    """Packets are led to the TUN from here on, as far as this kernel has a family. Raises OSError with what a tool said."""
    tun, upwards = said["tun"], said.get("up") is not None
    _write(f"/proc/sys/net/ipv4/conf/{tun}/rp_filter", "2")  # what comes in by it has its way out by another interface …
    _write(f"/proc/sys/net/ipv6/conf/{tun}/addr_gen_mode", "1")  # no address of its own
    lines = [f"route add default dev {tun} table {said['routes']}"] if upwards else []
    lines += [f"rule add pref {said['priority']} fwmark {said['led']} lookup {said['routes']}"] if upwards else []
    _tool(["ip", "-batch", "-"], [f"address add {_DUMMY} dev {tun} scope host", f"link set dev {tun} mtu {mtu} up", *lines])
    if upwards and os.path.exists("/proc/net/if_inet6"):
        _tool(["ip", "-6", "-batch", "-"], lines)
    _tool(["nft", "-f", "-"], [said["filter"]])


def _write(path: str, value: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(value)
    except OSError:
        pass


def _tool(argv: list[str], lines: list[str]) -> None:
    import subprocess

    done = subprocess.run(
        argv, input="\n".join([*lines, ""]).encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=START_S, check=False
    )
    if done.returncode:
        raise OSError(f"{' '.join(argv)}: {' '.join(done.stdout.decode('utf-8', 'replace').split())}")


# ---- the process --------------------------------------------------------------------------------------------------------------


def start() -> int:
    """All is in effect, and a process of its own shapes, when this returns 0; else nothing runs, and an undo takes away the rest."""
    try:
        shaper = Shaper(json.loads(sys.stdin.read()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"the link cannot be shaped: {type(error).__name__}: {error}", file=sys.stderr)
        return WRONG
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        return 0 if os.read(ready, 1) else WRONG
    os.close(ready)
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        _stand_alone({*shaper.descriptors(), tell})
        shaper.name.listen(8)  # anew, so that the kernel knows whose it is
        os.write(tell, b"+")
        os.close(tell)
        shaper.run()
    finally:
        os._exit(0)


def _stand_alone(kept: set[int]) -> None:
    """Without whatever it was started with: a lock that says that an act is under way, above all. A log on a full disk is none."""
    log = os.path.join(os.environ.get("RUNNER_STATE", ""), "shaper.log")
    try:
        target = os.open(log if os.path.isabs(log) else os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:
        target = os.open(os.devnull, os.O_WRONLY)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for fd, number in ((nothing, 0), (target, 1), (target, 2)):
        os.dup2(fd, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:  # noqa: SIM105 - contextlib is not imported on a device for this
                os.close(int(name))
            except OSError:
                pass  # the descriptor by which the folder was read
    try:  # noqa: SIM105
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    except OSError:
        pass


def _connect(tun: str) -> socket.socket | None:
    """To the shaper of this network namespace, if there is one. Raises OSError where its name is somebody else's."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(ANSWER_S)
    try:
        connection.connect(_address(tun))
    except ConnectionRefusedError:
        connection.close()
        return None
    if _whose(connection)[1] not in (0, os.geteuid()):
        connection.close()
        raise OSError("the name of the shaper is somebody else's")
    return connection


def _whose(connection: socket.socket) -> tuple[int, int]:
    """The pid and the user at the other end, as the kernel knows them."""
    pid, user, _ = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, user


def _line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < LINE_BYTES:
        piece = connection.recv(LINE_BYTES)
        if not piece:
            break
        data += piece
    return data


def _ask(tun: str, question: dict[str, Any]) -> dict[str, Any]:
    """Raises OSError or ValueError."""
    connection = _connect(tun)
    if connection is None:
        raise OSError("no shaper runs here")
    with connection:
        connection.sendall(json.dumps(question).encode() + b"\n")
        answer = json.loads(_line(connection) or b"{}")
    if "ok" not in answer:
        raise ValueError(answer.get("error", "the shaper did not answer"))
    return dict(answer["ok"])


def change(tun: str) -> int:
    try:
        _ask(tun, {**json.loads(sys.stdin.read()), "do": "set"})
        return 0
    except (OSError, ValueError) as error:
        print(f"the link keeps its shape: {error}", file=sys.stderr)
        return NOT_HERE


def shown(tun: str) -> int:
    """One that does not answer runs all the same."""
    try:
        connection = _connect(tun)
        if connection is None:
            return NOT_HERE
        with connection:
            pid = _whose(connection)[0]
    except socket.timeout:
        print("shaper runs: it takes nobody's call")
        return 0
    except OSError as error:
        print(error, file=sys.stderr)
        return NOT_HERE
    try:
        print(f"shaper runs: {json.dumps(_ask(tun, {'do': 'shown'}), sort_keys=True)}")
    except (OSError, ValueError) as error:
        print(f"shaper runs: pid {pid}: {error}")
    return 0


def stop(tun: str, table: str, priority: str, routes: str) -> int:
    """Nothing of a shaper is left when this returns 0: neither what leads packets to it, which goes first, nor the process."""
    rule = ["pref", priority, "lookup", routes]
    families = ["-4", "-6"] if os.path.exists("/proc/net/if_inet6") else ["-4"]
    _try(["nft", "delete", "table", "inet", table])
    for family in families:
        _try(["ip", family, "rule", "del", *rule])
    _try(["ip", "link", "del", tun])
    status = _end(tun)
    left = [f"table {table}"] if f"table inet {table}" in _try(["nft", "list", "tables"]).splitlines() else []
    left += [f"rule {routes}" for family in families if f"lookup {routes}" in _try(["ip", family, "rule", "show"])]
    left += [tun] if tun in (name for _, name in socket.if_nameindex()) else []
    if left:
        print(f"left: {', '.join(left)}", file=sys.stderr)
    return NOT_HERE if left else status


def _try(argv: list[str]) -> str:
    """What a tool printed, whether or not it failed."""
    import subprocess

    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=STOP_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{argv[0]}: {error}", file=sys.stderr)
        return ""
    return done.stdout.decode("utf-8", "replace")


def _end(tun: str) -> int:
    """No shaper runs when this returns 0."""
    deadline = time.monotonic() + STOP_S
    killed = 0
    while time.monotonic() < deadline:
        try:
            connection = _connect(tun)
        except OSError as error:
            print(error, file=sys.stderr)
            return NOT_HERE
        if connection is None:
            return 0
        with connection:
            pid = _whose(connection)[0]
            if pid != killed and pid > 1:  # it holds its name at this moment, so it is no other process
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed = pid
                except ProcessLookupError:
                    pass
        time.sleep(_TRIES_S)
    print(f"the shaper {killed} does not end", file=sys.stderr)
    return NOT_HERE


def main(arguments: list[str]) -> int:
    command, *rest = arguments or [""]
    if command == "start" and not rest:
        return start()
    verb = {"set": change, "shown": shown}.get(command)
    if verb is not None and len(rest) == 1:
        return verb(rest[0])
    if command == "stop" and len(rest) == 4:
        return stop(*rest)
    print("usage: shape start | set TUN | shown TUN | stop TUN TABLE PRIORITY ROUTES", file=sys.stderr)
    return WRONG
