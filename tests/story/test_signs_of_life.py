"""A device that is held is renewed while one thing takes long; whoever loses it stops."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError
from runner.farm.lease import LEASE_S, LeaseLost
from runner.story.signs_of_life import RENEW_EVERY_S, lease_kept, signs_of_life
from runner.target.session import NotOurs

LIMIT_S = 20.0


class Device:
    """Lease file, keeper and device in one: what each heard, and what it answers instead at its first time."""

    def __init__(self, clock: Any, **errors: Exception) -> None:
        self.clock, self.errors = clock, errors
        self.heard: dict[str, list[float]] = {"lease": [], "keeper": [], "device": []}
        self.enough, self.lost = asyncio.Event(), []  # type: ignore[var-annotated]

    def hear(self, who: str) -> None:
        self.heard[who].append(self.clock.boottime_ns() / 1e9)
        if len(self.heard["lease"]) >= 4:
            self.enough.set()
        if who in self.errors and len(self.heard[who]) == 1:
            raise self.errors[who]

    async def keeper(self, seconds: float) -> None:
        assert seconds == LEASE_S
        self.hear("keeper")

    async def ask(self, do: str, **_: Any) -> None:
        assert do == "renew"
        self.hear("device")

    @property
    def lent(self) -> Any:
        lease, target = SimpleNamespace(renew=lambda: self.hear("lease")), SimpleNamespace(power=SimpleNamespace(renew=self.keeper))
        return lease, target, self.clock

    async def held(self, block: Callable[[], Any]) -> None:
        async with asyncio.timeout(LIMIT_S), signs_of_life(*self.lent, lambda: self, on_lost=self.lost.append):
            await block()

    async def let_go(self, block: Callable[[], Any]) -> list[str]:
        """What was said meanwhile."""
        said: list[str] = []
        async with asyncio.timeout(LIMIT_S), lease_kept(*self.lent, on_lost=self.lost.append, say=said.append):
            await block()
        return said


def held(clock: Any, **errors: Exception) -> Device:
    """Held until its lease was renewed four times."""

    async def go() -> Device:
        device = Device(clock, **errors)
        await device.held(device.enough.wait)
        return device

    return asyncio.run(go())


def test_all_who_wait_for_a_sign_get_one_in_time(clock: Any) -> None:
    """Whatever the block waits for: each hears well within the time after which it would act."""
    device = held(clock)
    for who, times in device.heard.items():
        assert len(times) >= 3, who
        assert all(later - earlier <= LEASE_S / 2 for earlier, later in itertools.pairwise(times)), who
    assert LEASE_S / 2 > RENEW_EVERY_S


@pytest.mark.parametrize("who", ["lease", "keeper", "device"])
def test_one_that_does_not_answer_is_asked_again(clock: Any, who: str) -> None:
    """A busy lease file, a keeper or a link that fails once: nobody has lost anything."""
    device = held(clock, **{who: LabError("busy")})
    assert all(len(times) >= 2 for times in device.heard.values())


@pytest.mark.parametrize(
    ("who", "error"), [("lease", LeaseLost("lent again")), ("keeper", LeaseLost("lent again")), ("device", NotOurs("theirs"))]
)
def test_whoever_loses_the_device_stops(clock: Any, who: str, error: Exception) -> None:
    """The block is cancelled, however long it would have waited, and what is raised says why."""

    async def go() -> None:
        device = Device(clock, **{who: error})
        with pytest.raises(type(error)):
            await device.held(asyncio.Event().wait)
        assert device.lost == [error]

    asyncio.run(go())


@pytest.mark.parametrize("kind", [LeaseLost, RuntimeError])
@pytest.mark.parametrize("end", ["raises", "swallows"])
def test_what_ended_the_block_is_heard_whatever_the_block_makes_of_it(clock: Any, kind: type[Exception], end: str) -> None:
    """Its clean-up fails, or it takes the cancellation for its own: a loss is said, or our own mistake; no cancellation is left over."""

    async def go() -> None:
        async def block() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if end == "raises":
                    raise LabError("the clean-up failed") from None

        with pytest.raises(kind, match="lent again") as raised:
            await Device(clock, lease=kind("lent again")).held(block)
        assert isinstance(raised.value.__cause__, LabError) == (end == "raises")
        this = asyncio.current_task()
        assert this
        assert this.cancelling() == 0
        await asyncio.sleep(0)

    asyncio.run(go())


def test_a_loss_that_the_block_itself_hears_of_is_told(clock: Any) -> None:
    """By whoever it was said: nothing is done to the device afterwards."""

    async def go() -> None:
        device, error = Device(clock), NotOurs("theirs")

        async def block() -> None:
            raise error

        with pytest.raises(NotOurs):
            await device.held(block)
        assert device.lost == [error]

    asyncio.run(go())


@pytest.mark.parametrize("end", ["ends", "raises", "swallows"])
def test_an_interruption_together_with_the_loss_is_an_interruption(clock: Any, end: str) -> None:
    """The loss is known all the same."""

    async def go() -> None:
        device = Device(clock, lease=LeaseLost("lent again"))

        async def block() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task.cancel()  # ^C, while the block is being cancelled
                if end == "raises":
                    raise LabError("the clean-up failed") from None
                if end == "ends":
                    raise

        task = asyncio.ensure_future(device.held(block))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(device.lost) == 1

    asyncio.run(go())


def test_nobody_renews_any_more_behind_the_block(clock: Any) -> None:
    """Whatever it ended with: the renewal is over when the block is."""

    async def go() -> None:
        device = Device(clock)
        before = asyncio.all_tasks()
        await device.held(device.enough.wait)
        assert asyncio.all_tasks() == before

    asyncio.run(go())


def test_a_block_that_is_cancelled_by_others_is_just_cancelled(clock: Any) -> None:
    """^C is no lost lease."""

    async def go() -> None:
        device = Device(clock)
        task = asyncio.ensure_future(device.held(asyncio.Event().wait))
        await device.enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())


# ---- while a run is unwound -----------------------------------------------------------------------------------------------------------


def test_while_it_is_let_go_lease_and_keeper_hear_of_its_holder_and_the_device_does_not(clock: Any) -> None:
    """Draining over a slow link takes minutes: the board must not be switched off meanwhile, and the device is being let go."""

    async def go() -> None:
        device = Device(clock)
        assert await device.let_go(device.enough.wait) == []
        assert (len(device.heard["lease"]), len(device.heard["device"])) == (4, 0)
        assert len(device.heard["keeper"]) >= 3

    asyncio.run(go())


@pytest.mark.parametrize(
    ("who", "error", "lost", "said"),
    [
        ("lease", LeaseLost("lent again"), True, []),
        ("keeper", LeaseLost("lent again"), True, []),
        ("lease", LabError("busy"), False, ["the lease could not be renewed: busy"]),
        ("keeper", LabError("off already"), False, []),
        ("lease", RuntimeError("ours"), False, ["the lease is not renewed any more: RuntimeError: ours"]),
    ],
)
def test_letting_go_is_never_cut_short(clock: Any, who: str, error: Exception, lost: bool, said: list[str]) -> None:
    """Whatever becomes of the renewal, the block goes on to its end; a loss is told to whoever unwinds."""

    async def go() -> None:
        device = Device(clock, **{who: error})

        async def block() -> None:
            for _ in range(50):
                await asyncio.sleep(0.002)

        assert await device.let_go(block) == said
        assert device.lost == ([error] if lost else [])

    asyncio.run(go())
