"""The reliable stream over lines that do anything to it, in virtual time: bytes arrive once, in order, or the line is said to be lost."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from runner.ondevice import line_packets, reliable
from runner.ondevice.line_packets import ACK, DATA, NEVER_BARE, PROBE, Escapes, Packet, Packets
from runner.ondevice.reliable import Reliable
from runner.target.line_simulator import Noise
from tests.fuzz.made_up import budgets, holds
from tests.ondevice.virtual_line import MS, Damage, Line

EPOCH = b"epoch 1!"


def random_bytes(size: int, seed: int = 5) -> bytes:
    return random.Random(seed).randbytes(size)


def joined(to_far: Damage = bytes, to_near: Damage = bytes, **line: int) -> Line:
    return Line(Reliable(EPOCH, True, 0), Reliable(EPOCH, False, 0), to_far=to_far, to_near=to_near, **line)


def carry(line: Line, to_far: bytes = b"", to_near: bytes = b"", limit_s: float = 3600) -> None:
    """Sends both at once, as there is room, until they have arrived, or one end is lost."""
    left = {"near": bytearray(to_far), "far": bytearray(to_near)}

    def arrived() -> bool:
        for end, rest in ((line.near, left["near"]), (line.far, left["far"])):
            room = end.room
            end.send(bytes(rest[:room]))
            del rest[:room]
        return len(line.heard["far"]) >= len(to_far) and len(line.heard["near"]) >= len(to_near)

    line.run_until(arrived, limit_s)


def check_honest(line: Line, to_far: bytes, to_near: bytes) -> None:
    """The property: nothing but what was sent, from its beginning, and all of it unless somebody says that the line is lost."""
    for name, sent in (("far", to_far), ("near", to_near)):
        heard = bytes(line.heard[name])
        assert sent.startswith(heard), f"{name} heard something else, {len(heard)} bytes"
        assert heard == sent or line.near.lost or line.far.lost, f"{name} heard {len(heard)} of {len(sent)} bytes, and nobody complains"


NOISES = st.builds(
    Noise,
    seed=st.integers(0, 1 << 32),
    flips=st.sampled_from([0.0, 1e-4, 1e-3, 1e-2]),
    drops=st.sampled_from([0.0, 1e-4, 1e-3, 1e-2]),
    inserts=st.sampled_from([0.0, 1e-3, 1e-2]),
    repeats=st.sampled_from([0.0, 0.1, 0.9]),
    changes=st.dictionaries(st.integers(0, 255).filter(lambda value: not 0x20 <= value < 0x7F), st.sampled_from([b"", b"\n", b"\r\n"])),
)


def check_carried(to_far: Noise, to_near: Noise, there: int, back: int) -> None:
    line = joined(to_far, to_near)
    sent, answered = random_bytes(there), random_bytes(back, 6)
    carry(line, sent, answered)
    check_honest(line, sent, answered)


@budgets(quick=40, long=400)
def test_whatever_the_line_does_bytes_arrive_once_and_in_order(examples: int) -> None:
    """Flips, losses, insertions, repeated packets, and values that the line eats or changes, in both directions at once."""
    holds(check_carried, NOISES, NOISES, st.integers(0, 20_000), st.integers(0, 20_000), examples=examples)


@pytest.mark.parametrize("noise", [Noise(1, flips=1e-3), Noise(2, drops=1e-3), Noise(3, inserts=1e-3), Noise(4, repeats=0.5)], ids=repr)
def test_what_a_line_can_carry_is_carried(noise: Noise) -> None:
    """A line with one fault in a thousand bytes is slower, and not lost."""
    line, sent = joined(noise, noise), random_bytes(60_000)
    carry(line, sent, sent)
    assert line.heard["far"] == line.heard["near"] == sent


def _no_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_packets, "_sum", lambda key, data: bytes(6))


def _no_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reliable, "_missing", lambda self, piece: [])
    monkeypatch.setattr(reliable, "SILENCE_LIMIT_S", 1e6)


def _twice_is_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def data(self: Reliable, packet: Packet) -> bytes:
        whole = original(self, packet)
        return whole or packet.payload

    original = Reliable._data
    monkeypatch.setattr(Reliable, "_data", data)


@pytest.mark.parametrize("broken", [_no_sum, _no_repetition, _twice_is_twice])
def test_a_broken_end_breaks_the_property(monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], None]) -> None:
    """The negative control: without sums, without repetition, or when a repeated packet counts twice, it is noticed."""
    broken(monkeypatch)
    line, sent = joined(Noise(7, flips=1e-3, repeats=0.1), Noise(8, flips=1e-3)), random_bytes(30_000)
    carry(line, sent, limit_s=20)
    with pytest.raises(AssertionError, match="heard"):
        check_honest(line, sent, b"")


# ---- how much of the line is used: arithmetic in virtual time, so equal on every machine -------------------------------


def share_of_the_line(size: int = 250_000, **noise: float) -> float:
    line, sent = joined(Noise(1, **noise), Noise(2, **noise)), random_bytes(size)
    carry(line, sent)
    assert line.heard["far"] == sent
    return size / (line.now_ns / 1e9) / (line.baud / 10)


def test_a_clean_line_is_used_to_more_than_nine_tenths() -> None:
    """At 115,200 baud, incompressible bytes, the start included: at least 93 % of what the line could carry; zmodem has 95.8."""
    assert share_of_the_line() >= 0.95


def test_a_noisy_line_is_used_better_than_by_zmodem() -> None:
    """With one error in 10,000 bytes, both ways: zmodem has 66.7 %."""
    assert share_of_the_line(flips=1e-4) >= 0.88


def test_packets_are_shorter_on_a_noisy_line_and_long_again_when_it_is_clean() -> None:
    """The length follows the losses, both ways."""
    noise = Noise(1, flips=1e-3)
    line = joined(noise, bytes)
    carry(line, random_bytes(100_000))
    assert line.near._size() < 300
    noise.flips = 0
    line.heard["far"].clear()
    carry(line, random_bytes(600_000))
    assert line.near._size() == line_packets.MAX_PAYLOAD_BYTES


def test_an_end_that_is_slow_to_answer_does_not_stop_the_line() -> None:
    """Answers that take up to a second at random, as from a starved emulator: more than three kilobytes a second arrive."""
    chance = random.Random(4)
    line, sent = joined(), random_bytes(40_000)
    far, hurried = line.far, line.far.due
    answers_at = [0]

    def late(now_ns: int) -> bytes:
        if now_ns < answers_at[0]:
            return b""
        data = hurried(now_ns)
        if data:
            answers_at[0] = now_ns + chance.randrange(100, 900) * MS
        return bytes(data)

    def deadline(now_ns: int) -> int:
        return max(now_ns + MS, answers_at[0])

    far.due, far.deadline_ns = late, deadline
    carry(line, sent, limit_s=60)
    assert line.heard["far"] == sent
    assert line.now_ns < 13 * 10**9


def test_a_line_of_9600_baud_is_used_too() -> None:
    """Its answers take seconds; what is on its way is not taken for lost, and sent again and again."""
    line, sent = joined(baud=9600), random_bytes(20_000)
    carry(line, sent, limit_s=60)
    assert line.heard["far"] == sent
    assert line.near.lost_packets <= 2


def test_little_flies_ahead_of_a_question() -> None:
    """However much the kernel would take, less than two seconds of the line are in flight: a question that comes then is soon answered."""
    line = joined(buffer_bytes=1 << 20)
    carry(line, random_bytes(200_000))
    assert line.near._window < 11_520 * 2


# ---- which bytes the line carries ------------------------------------------------------------------------------------


def test_a_line_that_changes_nothing_is_learned() -> None:
    """After a moment all values but those that are never bare are written as they are."""
    line = joined()
    line.run_until(lambda: not line.near._escapes.unknown and not line.far._escapes.unknown, limit_s=2)
    assert not line.near._escapes.unknown
    packet = Escapes.write(line.near._escapes, b"key", Packet(DATA, 1, 0, bytes(range(256))))
    assert not set(packet[1:-1]) & (NEVER_BARE - {line_packets.ESCAPE})


@pytest.mark.parametrize(
    "changes",
    [{0xFF: b"", 0x03: b"", 0x0D: b"\n"}, {value: bytes((value & 0x7F,)) for value in range(128, 256)}],
    ids=["eats and translates", "seven bits"],
)
def test_what_a_line_changes_stays_escaped(changes: dict[int, bytes]) -> None:
    """Values that never arrive as they are stay escaped, all others do not; and bytes go through unchanged."""
    line, sent = joined(Noise(1, changes=changes), Noise(2, changes=changes)), random_bytes(30_000)
    carry(line, sent, sent)
    assert line.heard["far"] == line.heard["near"] == sent
    line.run_until(lambda: not (line.near._probes or line.near._flying), limit_s=60)
    assert set(line.near._escapes.unknown) == set(changes)


def test_flow_control_of_a_terminal_is_never_triggered() -> None:
    """XON and XOFF stand nowhere on the line, whatever is sent."""
    escapes = Escapes()
    escapes.learn(bytes(range(256)))
    assert not {line_packets.XON, line_packets.XOFF} & set(escapes.write(b"k", Packet(DATA, 0x1311, 0x1113131111, bytes(range(256)))))


# ---- silence, strangers, restarts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("to_far", "to_near"), [(b"", b""), (b"", None), (None, b"")], ids=["both", "we are not heard", "we hear nothing"])
def test_silence_is_a_lost_line_within_the_limit(to_far: bytes | None, to_near: bytes | None) -> None:
    """A mute end, a deaf one and a cut cable are noticed by both ends, idle ones, too; and it is said what was waited for."""
    mute: list[bool] = []
    line = joined(
        lambda data: data if not mute or to_far is None else b"",
        lambda data: data if not mute or to_near is None else b"",
    )
    carry(line, b"hello", b"hello")
    line.run_until(lambda: False, limit_s=100)
    assert not line.near.lost, "an idle line is no lost one"
    mute.append(True)
    began = line.now_ns
    for end in (line.near, line.far):
        line.run_until(lambda end=end: bool(end.lost), limit_s=200)  # type: ignore[misc]
        while not end.lost and line.now_ns < began + 200 * 10**9:
            line.step()
    assert "acknowledged nothing for 30 s" in line.near.lost
    assert "acknowledged nothing for 30 s" in line.far.lost
    assert line.now_ns - began < 70 * 10**9


def test_a_deaf_minute_shorter_than_the_limit_costs_time_alone() -> None:
    """A line that is gone for twenty seconds goes on where it was."""
    line, sent = joined(), random_bytes(100_000)
    gone = (3 * 10**9, 23 * 10**9)
    line.to_far = line.to_near = lambda data: b"" if gone[0] < line.now_ns < gone[1] else data
    carry(line, sent, sent)
    assert line.heard["far"] == line.heard["near"] == sent
    assert gone[1] < line.now_ns < 50 * 10**9


def test_packets_of_another_epoch_and_our_own_echo_are_nothing() -> None:
    """An end that was started anew is never taken for the old one, and a line that echoes says nothing to us."""
    near, other, far = Reliable(EPOCH, True, 0), Reliable(b"epoch 2!", False, 0), Reliable(EPOCH, False, 0)
    near.send(b"question")
    said = b"".join(iter(lambda: near.due(0), b""))
    assert near.receive(said, 1) == other.receive(said, 1) == b""
    assert near.damaged and other.damaged
    assert far.receive(said, 1) == b"question"


def test_a_goodbye_ends_both() -> None:
    """Its words arrive, even where one of three packets is damaged."""
    line = joined(Noise(3, flips=3e-2))
    carry(line, b"x")
    line.near.bye("no more questions")
    line.run_until(lambda: False, limit_s=5)
    assert line.near.lost == "we have ended: no more questions"
    assert line.far.lost in ("", "the other end has ended: no more questions")


# ---- what no honest end sends ------------------------------------------------------------------------------------------


PACKETS = st.builds(Packet, st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, (1 << 48) - 1), st.binary(max_size=200))


def check_bounded(packets: list[Packet]) -> None:
    end, writer = Reliable(EPOCH, True, 0), Escapes()
    end.send(b"something that flies")
    for number, packet in enumerate(packets):
        end.receive(writer.write(EPOCH + b"f", packet), number * MS)
        for _ in range(100):
            end.due(number * MS)
    assert len(end._pieces) <= reliable.MAX_FLYING and len(end._flying) <= reliable.MAX_FLYING


@budgets(quick=100, long=2000)
def test_a_hostile_end_breaks_nothing(examples: int) -> None:
    """Packets with right sums and any content: no exception, and bounded memory."""
    holds(check_bounded, st.lists(PACKETS, max_size=40), examples=examples)


def test_what_was_not_sent_is_not_acknowledged() -> None:
    """An acknowledgement beyond what was sent, or of a number that we never had, changes nothing."""
    end, writer = Reliable(EPOCH, True, 0, probing=False), Escapes()
    end.send(b"abc")
    end.due(0)
    for packet in (Packet(ACK, 1, 4, b""), Packet(ACK, 9, 3, b""), Packet(ACK, 1, 0, b"\x00\x01\xff\xff")):
        end.receive(writer.write(EPOCH + b"f", packet), MS)
    assert not end.settled
    end.receive(writer.write(EPOCH + b"f", Packet(ACK, 1, 3, b"")), MS)
    assert end.settled


def test_what_is_no_packet_is_kept_for_the_console_log() -> None:
    """A kernel's words between packets cost no packet, and stand beside them; noise without end takes no memory."""
    packets, wire = Packets(b"k"), Escapes().write(b"k", Packet(DATA, 1, 0, b"payload"))
    heard = list(packets.feed(b"[ 1.2] usb 1-1: new device\r\n" + wire + b"[ 1.3] login: " + wire))
    assert [packet.payload for packet in heard] == [b"payload", b"payload"]
    assert packets.beside == b"[ 1.2] usb 1-1: new device\r\n[ 1.3] login: "
    for _ in range(100):
        assert list(packets.feed(b"x" * 65536)) == []
        packets.beside.clear()
    assert len(packets._segment) <= line_packets.MAX_SEGMENT_BYTES
    assert [packet.payload for packet in packets.feed(wire)] == [b"payload"]


def test_a_kernel_that_talks_into_a_packet_costs_that_packet() -> None:
    """Every second of a boot's chatter in the middle of packets, and all arrives."""
    chance = random.Random(1)

    def talk(data: bytes) -> bytes:
        at = chance.randrange(len(data))
        return data[:at] + b"\r\n[   12.345678] random: crng init done\r\n" + data[at:] if chance.random() < 0.1 else data

    line, sent = joined(talk, talk), random_bytes(50_000)
    carry(line, sent, sent)
    assert line.heard["far"] == line.heard["near"] == sent
    assert b"crng init done" in line.near.beside


def test_every_value_is_read_as_it_was_written_however_it_is_escaped() -> None:
    """Before anything was learned, and after each single value was."""
    payload = bytes(range(256))
    for value in range(256):
        escapes = Escapes()
        escapes.learn(bytes((value,)))
        (packet,) = Packets(b"k").feed(escapes.write(b"k", Packet(DATA, 0xFFFF, (1 << 48) - 1, payload)))
        assert packet == Packet(DATA, 0xFFFF, (1 << 48) - 1, payload)


def test_no_flipped_bit_gives_a_wrong_packet() -> None:
    """Each bit of a packet on the line, flipped: it is gone, or still what it was (a code in small letters), and never another one."""
    escapes, right = Escapes(), Packet(DATA, 7, 99, b"\x00\xffpayload~}")
    wire = escapes.write(b"k", right)
    for bit in range(len(wire) * 8):
        broken = bytearray(wire)
        broken[bit // 8] ^= 1 << bit % 8
        assert all(packet == right for packet in Packets(b"k").feed(bytes(broken) + b"~"))


def test_a_probe_stands_bare_on_the_line() -> None:
    """What is tried is tried as it is."""
    assert bytes(range(32)) in Escapes().write(b"k", Packet(PROBE, 1, 0, bytes(range(32))))
