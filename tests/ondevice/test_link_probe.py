"""The link probe: what is counted, and that nothing but its own packets is; with a far end on loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.ondevice import frames, link_probe
from runner.ondevice.claim import Claims
from runner.ondevice.link_probe import HEADER_BYTES, LIGHT, LinkProbe, Packet, Tally, decode, frame_bytes, median_and_95, train
from runner.ondevice.supervisor import Client, Supervisor
from runner.target.far_end.reflector import Reflector

WHO = "0123456789abcdef"
UNHURRIED = settings(deadline=None)  # a busy machine is no finding


def until(wanted: Callable[[], Any], limit_s: float = 20.0) -> Any:
    """What `wanted` gives, as soon as it gives anything."""
    deadline = time.monotonic() + limit_s
    while not (found := wanted()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
    return found


@pytest.fixture
def far_end(tmp_path: Path) -> Iterator[Reflector]:
    reflector = Reflector("127.0.0.1", 0, tmp_path / "link.jsonl")
    reflector.start()
    yield reflector
    reflector.stop()


@pytest.fixture
def probe() -> Iterator[LinkProbe]:
    probe = LinkProbe()
    yield probe
    probe.stop()


def log(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "link.jsonl").read_text().splitlines()]


# ---- packets and counting ---------------------------------------------------------------------------------------------


def test_a_packet_comes_back_as_it_was() -> None:
    """Header and padding: as long as a shaper would count it, and the same when read again."""
    packet = Packet(LIGHT, b"whowhowh", b"bootboot", 7, 2**60, 3, 2, 99)
    assert decode(packet.encode(200)) == packet
    assert frame_bytes(len(packet.encode(200))) == 200
    assert len(packet.encode(1)) == HEADER_BYTES
    assert HEADER_BYTES <= 51, "it fits into the smallest message that a link of ours passes"


@UNHURRIED
@given(st.binary(max_size=2000))
def test_anything_else_is_no_packet(data: bytes) -> None:
    """Whatever comes is a packet that says the same again, or none."""
    found = decode(data)
    assert found is None or found.encode(frame_bytes(len(data)))[:HEADER_BYTES] == data[:HEADER_BYTES]


@UNHURRIED
@given(st.lists(st.integers(0, 60), min_size=1, max_size=100), st.integers(0, 80))
def test_every_number_is_received_or_in_a_burst(sequences: list[int], sent: int) -> None:
    """What is missing adds up: received and the bursts are all that were sent; duplicates are what came again."""
    tally = Tally()
    for place, sequence in enumerate(sequences):
        tally.count(sequence, 100, 1_000 + place)
    said = tally.summary(sent)
    missing = sum(int(length) * times for length, times in said["bursts"].items())
    assert said["received"] + missing == said["sent"] == max(sent, max(sequences) + 1)
    assert said["received"] == len(set(sequences))
    assert said["duplicates"] == len(sequences) - len(set(sequences))
    assert said["packets"] * 100 == said["bytes"]


def test_bursts_and_the_rate_are_what_they_are() -> None:
    """0 1 _ _ 4 _ 6 _ _ _: one of one, one of two, and a last one of three that only `sent` can tell. 125 bytes a ms: 1000 kbit/s."""
    tally = Tally()
    for sequence in (0, 1, 4, 6):
        tally.count(sequence, 125, 10**9 + sequence * 1_000_000)
    assert tally.summary()["bursts"] == {"1": 1, "2": 1}
    assert tally.summary(10)["bursts"] == {"1": 1, "2": 1, "3": 1}
    steady = Tally()
    for sequence in range(8):
        steady.count(sequence, 125, 10**9)  # let through at once, and no rate
    for sequence in range(8, 408):
        steady.count(sequence, 125, 10**9 + (sequence - 7) * 1_000_000)
    assert steady.summary()["rate_kbit_s"] == pytest.approx(1000, rel=0.01)


def test_reordered_is_not_duplicate() -> None:
    """2 behind 3 is reordered; 3 behind 3 came twice."""
    tally = Tally()
    for sequence in (0, 1, 3, 2, 3):
        tally.count(sequence, 100, 1)
    assert (tally.reordered, tally.duplicates) == (1, 1)


def test_a_number_beyond_all_bounds_is_not_counted() -> None:
    """A device that numbers its packets as it likes costs no memory."""
    tally = Tally()
    for sequence in (2**32 - 1, link_probe.MAX_TRAIN_PACKETS, -1):
        tally.count(sequence, 100, 1)
    assert (tally.packets, tally.summary()["sent"]) == (0, 0)


@pytest.mark.parametrize(("behind_s", "share"), [(link_probe.FILLING_BEHIND_S, 0.97), (link_probe.BEHIND_S, 0.4)])
def test_a_train_that_is_to_fill_a_link_catches_up(monkeypatch: pytest.MonkeyPatch, behind_s: float, share: float) -> None:
    """A board that wakes up 100 ms late each time still sends what it was told to; a train that must not fill anything does not."""
    now = [0.0]
    late = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds + 0.1))
    monkeypatch.setattr(link_probe, "time", late)
    sent = train(lambda number: None, 10.0, 400.0, 1000, late.sleep, behind_s)
    assert (sent / 500 >= share) is (behind_s == link_probe.FILLING_BEHIND_S)


def test_a_train_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In number, whatever rate and time are asked for."""
    monkeypatch.setattr(link_probe, "MAX_TRAIN_PACKETS", 50)
    sent: list[int] = []
    assert train(sent.append, 1e9, 1e12, 100) == 50
    assert sent == list(range(50))


def test_half_and_95_of_100() -> None:
    """Percentiles are round trips that there were; of none there are none."""
    assert median_and_95([1000 * n for n in range(1, 101)]) == {
        "echoes": 100,
        "rtt_min_ms": 1.0,
        "rtt_p50_ms": 50.0,
        "rtt_p95_ms": 96.0,
    }
    assert median_and_95([])["rtt_p50_ms"] is None


# ---- over loopback --------------------------------------------------------------------------------------------------------


def test_the_far_end_has_all_the_evidence(probe: LinkProbe, far_end: Reflector, tmp_path: Path) -> None:
    """Numbers without a gap, times of both clocks, and how many came back so far: in the log while the probe still runs."""
    probe.start("127.0.0.1", far_end.port, WHO, 0.02, 100)
    until(lambda: len(log(tmp_path)) >= 5)
    counted = probe.stop()
    lines = log(tmp_path)
    assert [line["sequence"] for line in lines] == list(range(len(lines)))
    assert {line["who"] for line in lines} == {WHO}
    assert len({(line["boot"], line["started_ms"]) for line in lines}) == 1
    assert all(line["sent_ns"] <= line["received_ns"] for line in lines), "one machine, so one clock"
    assert lines[-1]["echoes"] >= 3
    assert lines[-1]["rtt_us"] > 0
    assert counted["sent"] == len(lines)


def test_a_second_life_is_told_from_the_first(far_end: Reflector, tmp_path: Path) -> None:
    """After a restart numbers begin again, under another mark."""
    for at_least in (2, 4):
        probe = LinkProbe()
        probe.start("127.0.0.1", far_end.port, WHO, 0.02, 100)
        until(lambda wanted=at_least: len(log(tmp_path)) >= wanted)
        probe.stop()
    assert len({line["started_ms"] for line in log(tmp_path)}) == 2
    assert [line["sequence"] for line in log(tmp_path)].count(0) == 2


def test_a_probe_that_is_started_again_goes_on(probe: LinkProbe, far_end: Reflector, tmp_path: Path) -> None:
    """Another pace, the same numbers: what is lost between the two is known. Under another name everything begins again."""
    for interval_s, at_least in ((0.02, 2), (0.03, 4)):
        probe.start("127.0.0.1", far_end.port, WHO, interval_s, 100)
        until(lambda wanted=at_least: len(log(tmp_path)) >= wanted)
        probe.stop()
    lines = log(tmp_path)
    assert [line["sequence"] for line in lines] == list(range(len(lines)))
    assert len({line["started_ms"] for line in lines}) == 1
    probe.start("127.0.0.1", far_end.port, WHO[::-1], 0.02, 100)
    until(lambda: len(log(tmp_path)) > len(lines))
    assert log(tmp_path)[len(lines)]["sequence"] == 0


def test_without_a_far_end_numbers_go_on(probe: LinkProbe) -> None:
    """Nobody answers: everything is sent, nothing comes back, and that is no error."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        probe.start("127.0.0.1", nobody.getsockname()[1], WHO, 0.02, 100)
        for _ in range(3):
            nobody.recv(2000)
        counted = probe.stop()
    assert counted["sent"] >= 3
    assert counted["echoes"] == 0


@pytest.mark.parametrize(("who", "interval_s"), [("00", 1.0), ("x" * 16, 1.0), (WHO, 0.0), (WHO, float("nan"))])
def test_a_light_probe_that_would_be_none_is_refused(probe: LinkProbe, who: str, interval_s: float) -> None:
    """A name of another length, or a pace that is no light one; nothing was started."""
    with pytest.raises(ValueError, match=r"16 hex digits|hexadecimal"):
        probe.start("127.0.0.1", 9, who, interval_s, 100)
    assert probe.stop() == {"sent": 0, "echoes": 0}


def test_a_train_up_is_counted_by_the_far_end(probe: LinkProbe, far_end: Reflector, tmp_path: Path) -> None:
    """All of it on loopback, in order; none of it in the log of the light probe."""
    far_end.expect(WHO)
    said = probe.train("127.0.0.1", far_end.port, WHO, 0.2, 2000, 500, echo=False)
    until(lambda: far_end.counts()["trains"][WHO] == said["sent"])
    summary = far_end.summary(WHO, said["sent"])
    assert (summary["received"], summary["bytes"], summary["bursts"]) == (said["sent"], said["bytes"], {})
    assert (summary["duplicates"], summary["reordered"]) == (0, 0)
    assert log(tmp_path) == []
    with pytest.raises(ValueError, match="no train"):
        far_end.summary(WHO)


def test_an_echoed_train_tells_round_trips(probe: LinkProbe, far_end: Reflector) -> None:
    """Each packet comes back, and half of them took at most so long."""
    said = probe.train("127.0.0.1", far_end.port, WHO, 0.2, 200, 100, echo=True)
    assert said["echoes"] == said["sent"] > 0
    assert 0 < said["rtt_p50_ms"] <= said["rtt_p95_ms"]


def test_a_train_down_comes_to_where_the_light_probe_is(probe: LinkProbe, far_end: Reflector, tmp_path: Path) -> None:
    """The device counts what the far end sent; without a light probe nobody knows where to, on either side."""
    with pytest.raises(ValueError, match="no light probe"):
        probe.catch(0.1)
    with pytest.raises(ValueError, match="no light packet"):
        far_end.send(WHO, 0.1, 100, 100)
    probe.start("127.0.0.1", far_end.port, WHO, 0.02, 100)
    until(lambda: log(tmp_path))
    caught: list[dict[str, Any]] = []
    catching = threading.Thread(target=lambda: caught.append(probe.catch(1.0)))
    catching.start()
    until(lambda: probe._catching)
    sent = far_end.send(WHO, 0.3, 1000, 500)
    catching.join(20)
    assert (caught[0]["packets"], caught[0]["bytes"]) == (sent["sent"], sent["bytes"])


# ---- a hostile device ---------------------------------------------------------------------------------------------------


def test_what_is_no_packet_is_counted_and_not_logged(far_end: Reflector, tmp_path: Path) -> None:
    """Garbage costs a number; it is not answered, and the probe behind it is served."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.settimeout(20)
        for data in (b"", b"Lp", b"x" * 1400, b"Lp" + b"\x00" * 60_000):
            device.sendto(data, ("127.0.0.1", far_end.port))
        packet = Packet(LIGHT, b"whowhowh", b"bootboot", 1, 2, 3).encode(100)
        device.sendto(packet, ("127.0.0.1", far_end.port))
        answer = device.recv(2000)
    assert len(answer) == len(packet), "never more than was sent"
    until(lambda: log(tmp_path))
    assert far_end.counts()["malformed"] == 4
    assert len(log(tmp_path)) == 1


def test_the_log_is_bounded_and_says_what_it_lacks(far_end: Reflector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many lines a second; how many more there were is a line, too. Beyond its size nothing is logged."""
    monkeypatch.setattr("runner.target.far_end.reflector.MAX_LINES_PER_S", 3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        for number in range(20):
            device.sendto(Packet(LIGHT, b"whowhowh", b"bootboot", 1, 2, number).encode(100), ("127.0.0.1", far_end.port))
        until(lambda: far_end.packets == 20)
        told = until(lambda: [line["not_logged"] for line in log(tmp_path) if "not_logged" in line])
        assert sum(told) + sum("sequence" in line for line in log(tmp_path)) == 20
        monkeypatch.setattr("runner.target.far_end.reflector.MAX_LOG_BYTES", 0)
        size = (tmp_path / "link.jsonl").stat().st_size
        device.sendto(Packet(LIGHT, b"whowhowh", b"bootboot", 1, 2, 99).encode(100), ("127.0.0.1", far_end.port))
        until(lambda: far_end.packets == 21)
    assert (tmp_path / "link.jsonl").stat().st_size == size


def test_a_flood_under_another_name_takes_no_room(far_end: Reflector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name has its own so many lines a second; what is lacking is told of the one that sent too much, and when it came."""
    monkeypatch.setattr("runner.target.far_end.reflector.MAX_LINES_PER_S", 3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        for number in range(30):
            device.sendto(Packet(LIGHT, b"floodflo", b"bootboot", 1, 2, number).encode(100), ("127.0.0.1", far_end.port))
        for number in range(3):
            device.sendto(Packet(LIGHT, b"whowhowh", b"bootboot", 1, 2, number).encode(100), ("127.0.0.1", far_end.port))
        until(lambda: far_end.packets == 33)
        until(lambda: [line for line in log(tmp_path) if "not_logged" in line])
    assert [line["sequence"] for line in log(tmp_path) if line["who"] == b"whowhowh".hex()] == [0, 1, 2]
    for line in log(tmp_path):
        if "not_logged" in line:
            assert line["who"] == b"floodflo".hex() and line["from_ns"] <= line["received_ns"]


def test_whoever_is_expected_has_room_behind_any_number_of_strangers(
    far_end: Reflector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made-up names beyond the table share what one of them may have; a name that the coordinator has told of is not one of those."""
    monkeypatch.setattr("runner.target.far_end.reflector.MAX_LINES_PER_S", 3)
    far_end.expect(b"whowhowh".hex())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        for number in range(100):
            device.sendto(Packet(LIGHT, number.to_bytes(8, "big"), b"bootboot", 1, 2, 3).encode(100), ("127.0.0.1", far_end.port))
        for number in range(3):
            device.sendto(Packet(LIGHT, b"whowhowh", b"bootboot", 1, 2, number).encode(100), ("127.0.0.1", far_end.port))
        until(lambda: far_end.packets == 103)
    assert [line["sequence"] for line in log(tmp_path) if line.get("who") == b"whowhowh".hex()] == [0, 1, 2]


def test_so_many_devices_and_trains_are_known_and_no_more(far_end: Reflector) -> None:
    """Names are cheap for whoever makes them up; they cost us a bounded table."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        for number in range(100):
            device.sendto(Packet(LIGHT, number.to_bytes(8, "big"), b"bootboot", 1, 2, 3).encode(100), ("127.0.0.1", far_end.port))
        until(lambda: far_end.packets == 100)
    assert len(far_end.counts()["peers"]) == 64
    for number in range(16):
        far_end.expect(f"{number:016x}")
    with pytest.raises(ValueError, match="16 trains"):
        far_end.expect(WHO)


# ---- as a coordinator asks for it ------------------------------------------------------------------------------------------


def test_the_supervisor_probes_and_answers_others_meanwhile(far_end: Reflector, tmp_path: Path) -> None:
    """Light probe, train, stop: as requests. While a catch goes on, whatever else is asked has its answer first."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    supervisor = Supervisor(str(tmp_path), 4711, Claims(str(tmp_path), str(tmp_path)))
    threading.Thread(target=Client(theirs, supervisor).listen, daemon=True).start()
    decoder, waiting = frames.Decoder(), list[dict[str, Any]]()

    def hear() -> dict[str, Any]:
        while not waiting:
            waiting.extend(frame.json() for frame in decoder.feed(ours.recv(65536)))
        return waiting.pop(0)

    def ask(number: int, do: str, **words: Any) -> None:
        ours.sendall(frames.encode_json({"id": number, "do": do, **words}))

    to = {"far_end": "127.0.0.1", "port": far_end.port, "who": WHO}
    ask(1, "probe_start", **to, interval_s=0.02, size=100)
    assert hear() == {"id": 1, "ok": {}}
    until(lambda: log(tmp_path))
    ask(2, "probe_catch", duration_s=1.0)
    ask(3, "renew")
    assert [hear()["id"], hear()["id"]] == [3, 2]
    ask(4, "probe_train", **to, duration_s=0.05, rate_kbit_s=1000, size=200)
    assert hear()["ok"]["sent"] > 0
    ask(5, "probe_stop")
    assert hear()["ok"]["sent"] >= len(log(tmp_path))
    ours.close()
