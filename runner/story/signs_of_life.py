"""Whoever holds a device says so again and again: to the lease file, to its keeper, to the device itself.

    lease, keeper, device ◄── every RENEW_EVERY_S ──┐
                                                    └── the block goes on; cancelled when the device is not ours any more

A measurement over a slow link takes minutes, and nobody else would say anything meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from runner.clock import Clock
from runner.errors import LabError, RunnerError
from runner.farm.lease import LEASE_S, Lease, LeaseLost
from runner.target.session import NotOurs, Session
from runner.target.target import Target

RENEW_EVERY_S = LEASE_S / 6
LOST = (LeaseLost, NotOurs)  # the device is somebody else's: nothing may be done to it any more, not even switching it off


@contextlib.asynccontextmanager
async def signs_of_life(
    lease: Lease,
    target: Target,
    clock: Clock,
    session: Callable[[], Session | None] = lambda: None,
    *,
    on_lost: Callable[[LabError], None] = lambda error: None,
    say: Callable[[str], None] = lambda text: None,
) -> AsyncIterator[None]:
    """For the length of the block, over whatever `session` there is by then.

    Raises LeaseLost or NotOurs, the block cancelled, when the device is somebody else's, whatever else the block ends with; `on_lost`
    has heard it by then, also from the block itself. Any other mistake of the renewal ends the block, too. A ^C is still a ^C.
    """
    body = asyncio.current_task()
    assert body
    asked = body.cancelling()
    ended: list[Exception] = []

    async def renew() -> None:
        try:
            await _renewed(lease, clock, say, lambda: _sign_of_life(target, session()))
        except Exception as error:
            if isinstance(error, LOST):
                on_lost(error)
            ended.append(error)
            body.cancel()

    def instead(failed: BaseException | None) -> BaseException | None:
        """What is raised in place of `failed`, where the renewal ended the block."""
        if not ended:
            return None
        body.uncancel()
        if body.cancelling() > asked:  # by somebody else, too
            return None if isinstance(failed, asyncio.CancelledError) else asyncio.CancelledError()
        return ended[0]

    renewal = asyncio.ensure_future(renew())
    try:
        try:
            yield
        finally:
            await _over(renewal)
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, LOST):
            on_lost(error)
        if why := instead(error):
            raise why from error
        raise
    if why := instead(None):
        raise why


@contextlib.asynccontextmanager
async def lease_kept(
    lease: Lease, target: Target, clock: Clock, *, on_lost: Callable[[LabError], None], say: Callable[[str], None]
) -> AsyncIterator[None]:
    """Signs of life towards lease file and keeper, while a block undoes things on the device.

    The block is never cancelled, and hears of a loss by `on_lost`. Nobody speaks to the device itself: it is being let go.
    """

    async def renew() -> None:
        try:
            await _renewed(lease, clock, say, lambda: _said(target.power.renew(LEASE_S)))
        except LOST as error:
            on_lost(error)
        except Exception as error:
            say(f"the lease is not renewed any more: {type(error).__name__}: {error}")

    renewal = asyncio.ensure_future(renew())
    try:
        yield
    finally:
        await _over(renewal)


async def _renewed(lease: Lease, clock: Clock, say: Callable[[str], None], sign: Callable[[], Awaitable[None]]) -> None:
    """Again and again, until it raises LeaseLost or NotOurs."""
    while True:
        await clock.sleep(RENEW_EVERY_S)
        try:
            await asyncio.to_thread(lease.renew)
            await sign()
        except LOST:
            raise
        except LabError as error:  # the lease file is busy, or its disk full; there are five more tries before anybody takes over
            say(f"the lease could not be renewed: {error}")


async def _over(renewal: asyncio.Future[None]) -> None:
    renewal.cancel()
    await asyncio.wait([renewal])


async def _sign_of_life(target: Target, session: Session | None) -> None:
    """Towards the keeper and the device, whatever becomes of the other; the device's guard renews what is on its link.

    Raises LeaseLost or NotOurs; one that is being cut is renewed the next time round.
    """
    await _said(target.power.renew(LEASE_S))
    if session is not None:
        await _said(session.ask("renew", timeout_s=10))


async def _said(sign: Awaitable[object]) -> None:
    try:
        await sign
    except LOST:
        raise
    except (RunnerError, OSError):
        pass
