"""A narrow link as argument lists: what each setting becomes, what a device must have, and what a real kernel says to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runner.errors import AskError
from runner.faults import bandwidth
from runner.faults.bandwidth import paces, queue_packets, severs
from runner.faults.compose import compose, programs_of
from runner.faults.kernel import EVERY_CAPABILITY, MAX_STEPS, Before, NeighbourTimers
from runner.model.device import DataLink
from runner.model.profile import Bandwidth, Direction, Profile
from runner.model.program import Program
from runner.ondevice.shaping import shape_of
from tests.faults.conftest import Cable

ONLY_TBF = frozenset({"tbf", "ifb", "nft"})
OURS = frozenset({"tbf", "ifb", "nft", "tun"})  # no netem


def asked(up: dict[str, Any] | None = None, down: dict[str, Any] | None = None, **timed: Any) -> Bandwidth:
    return Bandwidth.model_validate({"fault": "bandwidth", "up": up or {}, "down": down or {}, **timed})


def made(link: DataLink, settings: Bandwidth, capabilities: frozenset[str] = EVERY_CAPABILITY, before: Before | None = None) -> Program:
    return bandwidth.program(settings, link, "bandwidth-1", 1, capabilities, before or Before())


def lines(program: Program, step: int = 0) -> list[str]:
    return [" ".join(act.argv) for act in program.steps[step].acts]


# ---- one queue --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("up", "shape"),
    [
        ({"rate_kbit_s": 64}, "netem limit 10 rate 64000bit -14"),
        ({"rate_kbit_s": 18, "delay_ms": 650}, "netem limit 33 delay 650ms rate 18000bit -14"),
        ({"delay_ms": 12.5, "jitter_ms": 2.5}, "netem limit 2209 delay 12.5ms 2.5ms"),
        ({"loss_percent": 2}, "netem limit 2084 loss 2%"),
        ({"burst": {"p_percent": 5, "r_percent": 25}}, "netem limit 2084 loss gemodel 5% 25% 100% 0%"),
        (
            {"burst": {"p_percent": 5, "r_percent": 25, "loss_in_bad_percent": 70, "loss_in_good_percent": 0.1}},
            "netem limit 2084 loss gemodel 5% 25% 70% 0.1%",
        ),
        (
            {"delay_ms": 10, "duplicate_percent": 1, "reorder_percent": 0.5, "loss_percent": 0.0001},
            "netem limit 2168 delay 10ms loss 0.0001% duplicate 1% reorder 0.5%",
        ),
        ({"rate_kbit_s": 0.25}, "netem limit 10 rate 248bit -14"),  # whole bytes a second
        ({"rate_kbit_s": 5.47, "duty_cycle_percent": 10}, "netem limit 10 rate 544bit -14"),
        ({"rate_kbit_s": 6000}, "netem limit 125 rate 6000000bit -14"),
    ],
)
def test_each_setting_is_a_word_of_tc(link: DataLink, up: dict[str, Any], shape: str) -> None:
    """On the interface alone, under our handle; the other direction is left as it was."""
    program = made(link, asked(up))
    assert lines(program) == [f"tc qdisc add dev data0 root handle 5f10: {shape}"]
    assert [" ".join(act.argv) for act in program.undo] == ["tc qdisc del dev data0 root handle 5f10:"]
    assert (program.resources, program.needs) == (("qdisc data0",), ("netem",))


@pytest.mark.parametrize("share", [1, 2.9])
def test_a_rate_that_a_kernel_would_take_for_none_is_refused(link: DataLink, share: float) -> None:
    """Below one byte a second it counts zero, and zero is no limit."""
    with pytest.raises(AskError, match="a mean rate of") as refused:
        made(link, asked({"rate_kbit_s": 0.25, "duty_cycle_percent": share}))
    assert "8 bit/s" in refused.value.complaints[0].expected


def test_the_queue_has_room_for_what_is_on_its_way_and_a_quarter_of_a_second() -> None:
    """In small packets and in full ones; never less than TCP sends at once, and never less for more."""
    assert queue_packets(1000, 0) == 21  # 250 ms of 1500 bytes
    assert queue_packets(1, 0) == 10
    assert queue_packets(64, 300) == 38 + 10  # 2400 bytes on their way, in packets of 64
    for delay_ms in (0, 1, 100, 10_000):
        rooms = [queue_packets(rate, delay_ms) for rate in (0.1, 1, 10, 100, 1000, 10_000)]
        assert rooms == sorted(rooms)
        assert rooms[0] >= 10


# ---- both directions --------------------------------------------------------------------------------------------------


def test_what_comes_in_waits_on_a_device_of_our_own(link: DataLink) -> None:
    """It is led there last, and is no longer led there first of all when it is taken back."""
    program = made(link, asked({"rate_kbit_s": 18}, {"rate_kbit_s": 20, "delay_ms": 650}))
    assert lines(program) == [
        "tc qdisc add dev data0 root handle 5f10: netem limit 10 rate 18000bit -14",
        "ip link add runner-ifb0 type ifb",
        "ip link set runner-ifb0 up",
        "tc qdisc add dev runner-ifb0 root handle 5f10: netem limit 36 delay 650ms rate 20000bit -14",
        "tc qdisc add dev data0 handle ffff: ingress",
        "tc filter add dev data0 parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev runner-ifb0",
    ]
    assert [" ".join(act.argv) for act in program.undo] == [
        "tc qdisc del dev data0 ingress",
        "ip link del runner-ifb0",
        "tc qdisc del dev data0 root handle 5f10:",
    ]
    assert program.resources == ("ingress data0", "link runner-ifb0", "qdisc data0")
    assert ("modprobe", "-q", "ifb", "numifbs=0") in [act.argv for act in program.prepare]


def test_offloads_are_off_as_long_as_it_is_on(link: DataLink) -> None:
    """Those that were on, where there is a tool; they are on again afterwards, and no other is touched."""
    before = Before(offloads=("gso", "gro"))
    program = made(link, asked({"rate_kbit_s": 18}), before=before)
    assert lines(program)[:2] == ["ethtool -K data0 gso off", "ethtool -K data0 gro off"]
    assert [" ".join(act.argv) for act in program.undo][-2:] == ["ethtool -K data0 gso on", "ethtool -K data0 gro on"]
    assert [sign.contains for sign in program.signs][-1] == "generic-receive-offload: off"
    for without in (made(link, asked({"rate_kbit_s": 18})), made(link, asked({"rate_kbit_s": 18}), EVERY_CAPABILITY - {"ethtool"}, before)):
        assert not any("ethtool" in line for line in lines(without))


def test_a_slow_links_neighbours_are_given_time(link: DataLink) -> None:
    """Where an answer may take longer than the kernel waits for it: longer timers first, and those from before in the undo."""
    before = Before(neighbours=NeighbourTimers(base_reachable_ms=30000, retrans_ms=1000))
    slow = {"rate_kbit_s": 0.3, "delay_ms": 4800}
    program = made(link, asked(slow, slow), before=before)
    assert lines(program)[0] == "ip ntable change name arp_cache dev data0 base_reachable 3600000 retrans 60000"
    assert next(" ".join(act.argv) for act in program.undo) == "ip ntable change name arp_cache dev data0 base_reachable 30000 retrans 1000"
    assert ("base_reachable 3600000 ", ("ip", "ntable", "show", "dev", "data0", "name", "arp_cache")) in [
        (sign.contains, sign.argv) for sign in program.signs
    ]
    ours_already = Before(neighbours=NeighbourTimers(base_reachable_ms=3_600_000, retrans_ms=1000))
    assert "base_reachable 3601000 " in [sign.contains for sign in made(link, asked(slow, slow), before=ours_already).signs]
    six = DataLink(interface="data0", far_end="fd00::1")
    assert "name ndisc_cache" in lines(made(six, asked({"delay_ms": 300}, {"delay_ms": 300}), before=before))[0]
    quick = made(link, asked({"rate_kbit_s": 2000, "delay_ms": 5}, {"rate_kbit_s": 6000, "delay_ms": 5}), before=before)
    for without in (quick, made(link, asked(slow, slow))):  # what was there before is not known: nothing that nobody could undo
        assert not any("ntable" in line for line in lines(without))


def test_a_longer_message_does_not_pass(link: DataLink) -> None:
    """A table of its own: payload and headers, in both families; nothing else needs a queue."""
    program = made(link, asked({"payload_bytes": 51}, {"payload_bytes": 115}))
    (act,) = program.steps[0].acts
    assert 'oifname "data0" meta nfproto ipv4 meta length > 79 drop' in act.input
    assert 'iifname "data0" meta nfproto ipv6 meta length > 163 drop' in act.input
    assert (program.needs, program.resources) == (("nft",), ("nft inet runner_bandwidth",))


@pytest.mark.parametrize(
    ("up", "so"),
    [
        ({"rate_kbit_s": 0.1}, False),
        ({"loss_percent": 99}, False),
        ({"loss_percent": 100}, True),
        ({"burst": {"p_percent": 100, "r_percent": 1}}, False),
        ({"burst": {"p_percent": 50, "r_percent": 50, "loss_in_good_percent": 100}}, True),
        ({"payload_bytes": 51}, True),
        ({"payload_bytes": 1960}, False),
    ],
)
def test_a_slow_link_is_no_severed_one(link: DataLink, up: dict[str, Any], so: bool) -> None:
    """A link is severed where no connection holds: all is lost, or only short messages pass."""
    assert severs(asked(up)) is so
    assert made(link, asked(up)).severs_data is so
    assert made(link.model_copy(update={"one_path": True}), asked({}, up)).severs_management is so


# ---- over time --------------------------------------------------------------------------------------------------------


def test_a_trace_changes_the_queue_and_says_so(link: DataLink) -> None:
    """From window to window: on, a change at each point, off; points behind the end of a window are not met."""
    trace = [{"at_s": 0, "rate_kbit_s": 100}, {"at_s": 4, "rate_kbit_s": 50, "delay_ms": None}, {"at_s": 30, "rate_kbit_s": 10}]
    program = made(link, asked({"trace": trace}, at_s=1, for_s=10, every_s=20, times=2))
    assert [(step.at_s, step.word, step.on) for step in program.steps] == [
        (1, "–/100 kbit/s (down/up)", True),
        (5, "–/50 kbit/s (down/up)", True),
        (11, "as before", False),
        (21, "–/100 kbit/s (down/up)", True),
        (25, "–/50 kbit/s (down/up)", True),
    ]
    assert lines(program, 1) == ["tc qdisc change dev data0 root handle 5f10: netem limit 10 rate 50000bit -14"]
    assert program.lasts_s == 31


def test_a_trace_begins_anew_as_long_as_the_fault_is_on() -> None:
    """Delays alone, too; the rate stays what it is."""
    spikes = Direction.model_validate(
        {"rate_kbit_s": 8, "trace": [{"at_s": 0, "delay_ms": 16}, {"at_s": 14, "delay_ms": 70}], "trace_every_s": 15}
    )
    assert [(pace.at_s, pace.rate_kbit_s, pace.delay_ms) for pace in paces(spikes, 31)] == [
        (0, 8, 16), (14, 8, 70), (15, 8, 16), (29, 8, 70), (30, 8, 16), (44, 8, 70),
    ]  # fmt: skip


def test_a_ramp_reaches_its_rate_in_even_steps() -> None:
    """The first is where it begins, the last is what was asked for; never more than one a second, and at most sixty."""
    for seconds, count in ((4, 5), (600, 61)):
        ramp = paces(Direction(ramp_from_kbit_s=100, rate_kbit_s=20, ramp_s=seconds))
        assert (len(ramp), ramp[0].rate_kbit_s, ramp[-1]) == (count, 100, (seconds, 20, 0))
        rates = [pace.rate_kbit_s or 0 for pace in ramp]
        assert rates == sorted(rates, reverse=True)


def test_too_many_changes_are_refused(link: DataLink) -> None:
    """A board has to keep them all."""
    trace = [{"at_s": 0, "delay_ms": 1}, {"at_s": 0.1, "delay_ms": 2}]
    with pytest.raises(AskError, match=f"more than {MAX_STEPS} times"):
        made(link, asked({"trace": trace, "trace_every_s": 0.2}))
    with pytest.raises(AskError, match="a program of 2999 steps"):
        made(link, asked({"trace": trace}, for_s=1, every_s=2, times=1000))


# ---- what a device has ------------------------------------------------------------------------------------------------


def test_without_netem_a_rate_is_shaped_by_tbf_and_the_step_says_so(link: DataLink) -> None:
    """In both directions; its limit is a quarter of a second of bytes, at least ten packets."""
    program = made(link, asked({"rate_kbit_s": 64}, {"rate_kbit_s": 2000}), ONLY_TBF)
    assert program.needs == ("tbf", "ifb")
    assert program.steps[0].word == "tbf: rate only, 2000/64 kbit/s (down/up)"
    assert lines(program)[0] == "tc qdisc add dev data0 root handle 5f10: tbf rate 64000bit burst 1600 limit 15140"
    assert lines(program)[3] == "tc qdisc add dev runner-ifb0 root handle 5f10: tbf rate 2000000bit burst 2500 limit 62500"


def said(program: Program, step: int = 0) -> dict[str, Any]:
    (act,) = program.steps[step].acts
    return dict(json.loads(act.input))


def test_without_netem_our_own_shaper_does_all_of_it_and_the_step_says_so(link: DataLink) -> None:
    """One act; in its input both directions, payload too. No queue of the kernel's, and no device but its own."""
    settings = asked(
        {"rate_kbit_s": 18, "delay_ms": 650, "jitter_ms": 50, "loss_percent": 2, "payload_bytes": 51},
        {"burst": {"p_percent": 5, "r_percent": 25}, "duplicate_percent": 1},
    )
    program = made(link, settings, OURS)
    assert (program.shaper, program.needs) == ("ours", ("nft", "tun"))
    assert lines(program) == ["@supervisor shape start"]
    assert program.steps[0].word.startswith("our shaper: –/18 kbit/s, –/650±50 ms")
    found = said(program)
    assert (found["interface"], found["tun"], found["seed"]) == ("data0", "runner-tun0", "1 1")
    assert found["up"] == {
        "queue_packets": 10, "rate_kbit_s": 18, "delay_ms": 650, "jitter_ms": 50, "loss_percent": 2, "payload_bytes": 51,
    }  # fmt: skip
    assert found["down"] == {"queue_packets": 2084, "burst": [5, 25, 100, 0], "duplicate_percent": 1}
    for way in ("up", "down"):
        assert shape_of(found[way])
    assert not any("tc" in act.argv for step in program.steps for act in step.acts)
    assert made(link, settings).shaper == "netem"
    assert made(link, asked({"rate_kbit_s": 18}), ONLY_TBF).shaper == "tbf"
    assert made(link, asked({"payload_bytes": 18}), OURS).shaper == ""  # a table is enough


def test_our_shaper_leads_only_what_it_shapes(link: DataLink) -> None:
    """A direction of which nothing is asked goes its own way."""
    both, up, down = (
        said(made(link, asked(*ways), OURS)) for ways in (({"delay_ms": 5}, {"delay_ms": 5}), ({"delay_ms": 5},), ({}, {"delay_ms": 5}))
    )
    for name, chain in (("up", "chain lead"), ("up", "chain closed"), ("down", "chain take")):
        assert [chain in each["filter"] for each in (both, up, down)] == [True, name == "up", name == "down"]
    assert (up["down"], down["up"]) == (None, None)


def test_our_shaper_is_told_of_each_change(link: DataLink) -> None:
    """Only the direction that changes; a new window begins it anew, with chance of its own."""
    trace = [{"at_s": 0, "rate_kbit_s": 100}, {"at_s": 4, "rate_kbit_s": 50}]
    program = made(link, asked({"trace": trace}, {"loss_percent": 1}, at_s=1, for_s=10, every_s=20, times=2), OURS)
    assert [(step.at_s, step.word, step.on) for step in program.steps] == [
        (1, "our shaper: –/100 kbit/s, 1/– % lost (down/up)", True),
        (5, "our shaper: –/50 kbit/s, 1/– % lost (down/up)", True),
        (11, "as before", False),
        (21, "our shaper: –/100 kbit/s, 1/– % lost (down/up)", True),
        (25, "our shaper: –/50 kbit/s, 1/– % lost (down/up)", True),
    ]
    assert lines(program, 1) == ["@supervisor shape set runner-tun0"]
    assert said(program, 1) == {"up": {"queue_packets": 10, "rate_kbit_s": 50}, "down": None}
    assert program.steps[2].acts == program.undo
    assert [said(program, number)["seed"] for number in (0, 3)] == ["1 1", "1 2"]


def test_the_undo_of_our_shaper_is_one_act_and_each_thing_has_a_sign(link: DataLink) -> None:
    """It is told what to take away, by our tags; in a program it is a step as well, so it fails only if something is left."""
    program = made(link, asked({"delay_ms": 5}), OURS)
    assert [" ".join(act.argv) for act in program.undo] == [
        "@supervisor shape stop runner-tun0 runner_shaper 10 24336",
    ]
    assert [sign.contains for sign in program.signs] == [
        "table inet runner_shaper", "lookup 24336", "lookup 24336", "runner-tun0:", "shaper runs",
    ]  # fmt: skip


def test_a_jammer_that_packets_wake_and_our_shaper_are_not_held_together(link: DataLink) -> None:
    """It would meet each packet twice; with the kernel's own queue it does not."""
    jamming = {"fault": "jamming", "jammer": "reactive", "probability_percent": 5, "answer_ms": 5}
    profile = Profile.model_validate({"title": "both", "faults": [asked({"delay_ms": 5}).model_dump(), jamming], "severs": ["data"]})
    for capabilities, problems in ((OURS, 1), (EVERY_CAPABILITY, 0), (None, 0)):
        assert len(compose([("both", profile)], link, (), capabilities)[1]) == problems


@pytest.mark.parametrize(
    ("settings", "capabilities", "missing"),
    [
        (asked({"rate_kbit_s": 1, "delay_ms": 5}), ONLY_TBF, "netem"),
        (asked({"rate_kbit_s": 1, "loss_percent": 5}), ONLY_TBF, "netem"),
        (asked({"rate_kbit_s": 1, "burst": {"p_percent": 1, "r_percent": 1}}), ONLY_TBF, "netem"),
        (asked({"rate_kbit_s": 1, "trace": []}, {"duplicate_percent": 1}), ONLY_TBF, "netem"),
        (asked({"trace": [{"at_s": 0, "delay_ms": 5}]}), ONLY_TBF, "netem"),
        (asked({"rate_kbit_s": 1}), frozenset({"ifb", "nft"}), "tbf"),
        (asked({}, {"rate_kbit_s": 1}), EVERY_CAPABILITY - {"ifb"}, "ifb"),
        (asked({"payload_bytes": 5}), EVERY_CAPABILITY - {"nft"}, "nft"),
        (asked({"rate_kbit_s": 1}), frozenset(), "tbf"),
    ],
)
def test_what_a_device_cannot_do_is_refused(link: DataLink, settings: Bandwidth, capabilities: frozenset[str], missing: str) -> None:
    """Nothing is left out silently: what is missing, for what, and what to do."""
    with pytest.raises(AskError, match=f"the device has no {missing}: ") as refused:
        made(link, settings, capabilities)
    (complaint,) = refused.value.complaints
    assert missing in complaint.expected
    assert complaint.do


# ---- for real, with what every kernel has -------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("words", [{"jitter_ms": 5}, {"burst": {"p_percent": 1, "r_percent": 2}}, {"loss_percent": 0.3}], ids=str)
def test_a_real_tc_understands_every_word(cable: Cable, link: DataLink, words: dict[str, Any]) -> None:
    """A kernel without netem says so, and only then: `tc` has read the whole line before it asks the kernel."""
    program = made(link, asked({"rate_kbit_s": 0.3, "delay_ms": 200, "duplicate_percent": 1, "reorder_percent": 1, **words}))
    (act,) = program.steps[0].acts
    done = cable.on(cable.device, *act.argv)
    assert done.returncode == 0 or "qdisc kind is unknown" in done.stderr
    cable.undo(program)
    wrong = cable.on(cable.device, *("rite" if word == "rate" else word for word in act.argv))
    assert wrong.returncode != 0 and "qdisc kind is unknown" not in wrong.stderr


@pytest.mark.real
def test_tbf_in_both_directions_comes_and_goes(cable: Cable, link: DataLink) -> None:
    """Echoes pass the queue and the device of our own; every sign is seen, and afterwards everything is as before."""
    if cable.on(
        cable.device, *["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit", "burst", "2000", "limit", "2000"]
    ).returncode:
        pytest.skip("this kernel has no tbf")
    cable.on(cable.device, *["tc", "qdisc", "del", "dev", "lo", "root"])
    untouched = cable.state()
    program = made(link, asked({"rate_kbit_s": 400}, {"rate_kbit_s": 300}, for_s=5, every_s=10, times=2), ONLY_TBF)
    for step in program.steps:
        cable.run(step.acts)
        assert [cable.sees(sign) for sign in program.signs] == [step.on] * len(program.signs)
        assert cable.passes()
        if step.on:
            assert "Sent 0 bytes" not in cable.on(cable.device, "tc", "-s", "qdisc", "show", "dev", "runner-ifb0").stdout
        else:
            assert cable.state() == untouched
    cable.undo(program)
    cable.undo(program)
    assert cable.state() == untouched


@pytest.mark.real
def test_a_narrow_link_can_be_jammed_and_be_narrow_again(cable: Cable, shipped: dict[str, Profile], link: DataLink) -> None:
    """What comes over the device of our own still meets the other fault's table; each is taken back without the other."""
    untouched = cable.state()
    narrow = made(link, asked({"rate_kbit_s": 400}, {"rate_kbit_s": 300}), ONLY_TBF)
    for name in ("jam-constant", "flapping"):
        (other,) = programs_of(shipped[name].links, link, "any", 1)
        for first, second in ((narrow, other), (other, narrow)):
            cable.run(first.steps[0].acts)
            cable.run(second.steps[0].acts)
            assert cable.echoes(3) == 0
            cable.undo(other)
            assert cable.passes()
            assert all(map(cable.sees, narrow.signs))
            cable.undo(narrow)
            assert cable.state() == untouched


@pytest.mark.real
def test_our_own_shaper_comes_and_goes(cable: Cable, link: DataLink) -> None:
    """In both directions, in each alone, and again: every sign is seen, echoes pass, and afterwards everything is as before."""
    untouched = cable.state()
    for up, down in (({"delay_ms": 20}, {"rate_kbit_s": 300}), ({"delay_ms": 20}, {}), ({}, {"loss_percent": 0.001})):
        program = made(link, asked(up, down, for_s=5, every_s=10, times=2), OURS)
        for step in program.steps:
            cable.run(step.acts)
            rules = bool(up)  # nothing that leaves is led anywhere where only the other way is shaped
            expected = [step.on, step.on and rules, step.on and rules, step.on, step.on]
            assert [cable.sees(sign) for sign in program.signs] == expected
            assert cable.passes()
            assert step.on or cable.state() == untouched
        cable.undo(program)
        cable.undo(program)
        assert cable.state() == untouched


@pytest.mark.real
def test_a_link_of_our_own_shaper_can_be_jammed_and_be_narrow_again(cable: Cable, shipped: dict[str, Profile], link: DataLink) -> None:
    """What the shaper hands on came over the link: the other fault's table meets it. Each is taken back without the other."""
    untouched = cable.state()
    narrow = made(link, asked({"rate_kbit_s": 400}, {"rate_kbit_s": 300}), OURS)
    for name in ("jam-constant", "flapping"):
        (other,) = programs_of(shipped[name].links, link, "any", 1)
        for first, second in ((narrow, other), (other, narrow)):
            cable.run(first.steps[0].acts)
            cable.run(second.steps[0].acts)
            assert cable.echoes(3) == 0
            cable.undo(other)
            assert cable.passes()
            assert all(map(cable.sees, narrow.signs))
            cable.undo(narrow)
            assert cable.state() == untouched


@pytest.mark.real
def test_a_payload_passes_our_shaper_up_to_its_length_and_no_further(cable: Cable, link: DataLink) -> None:
    """To the byte, each way by itself."""
    for ways in (({"payload_bytes": 51, "delay_ms": 1}, {}), ({}, {"payload_bytes": 51, "delay_ms": 1})):
        program = made(link, asked(*ways), OURS)
        cable.run(program.steps[0].acts)
        assert cable.echoes(3, size=51, wait_s=10) == 3
        assert cable.echoes(3, size=52) == 0
        cable.undo(program)
        assert cable.echoes(3, size=52, wait_s=10) == 3


@pytest.mark.real
def test_somebody_elses_queue_is_not_deleted(cable: Cable, link: DataLink) -> None:
    """The undo names our handle: a qdisc under another one stays."""
    foreign = ("tc", "qdisc", "add", "dev", "data0", "root", "handle", "1:", "tbf", "rate", "9mbit", "burst", "2000", "limit", "9000")
    if cable.on(cable.device, *foreign).returncode:
        pytest.skip("this kernel has no tbf")
    untouched = cable.state()
    cable.undo(made(link, asked({"rate_kbit_s": 64}), ONLY_TBF))
    assert cable.state() == untouched


@pytest.mark.real
def test_a_payload_passes_up_to_its_length_and_no_further(cable: Cable, link: DataLink) -> None:
    """To the byte, each way by itself."""
    for settings in (asked({"payload_bytes": 51}), asked({}, {"payload_bytes": 51})):
        program = made(link, settings)
        cable.run(program.steps[0].acts)
        assert cable.echoes(3, size=51, wait_s=10) == 3
        assert cable.echoes(3, size=52) == 0
        cable.undo(program)
        assert cable.echoes(3, size=52, wait_s=10) == 3
