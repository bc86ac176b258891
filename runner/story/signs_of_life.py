"""Whoever holds a device says so again and again: to the lease file, to its keeper, to the device itself.

    lease, keeper, device ◄── every RENEW_EVERY_S ──┐
                                                    └── the block goes on; cancelled when the device is not ours any more

A measurement over a slow link takes minutes, and nobody else would say anything meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable

from runner.clock import Clock
from runner.errors import LabError, RunnerError
from runner.farm.lease import LEASE_S, Lease, LeaseLost
from runner.target.session import NotOurs, Session
from runner.target.target import Target

RENEW_EVERY_S = LEASE_S / 6


@contextlib.asynccontextmanager
async def signs_of_life(lease: Lease, target: Target, clock: Clock, session: Session | None = None) -> AsyncIterator[None]:
    """For the length of the block. Raises LeaseLost or NotOurs, the block cancelled, when the device is somebody else's."""
    lost: list[RunnerError] = []
    body = asyncio.current_task()
    assert body

    async def renew() -> None:
        while True:
            await clock.sleep(RENEW_EVERY_S)
            try:
                await asyncio.to_thread(lease.renew)
                await sign_of_life(target, session)
            except (LeaseLost, NotOurs) as error:
                lost.append(error)
                body.cancel()
                return
            except LabError:
                pass  # the lease file is busy, or its disk full; there are five more tries before anybody takes over

    renewal = asyncio.ensure_future(renew())
    try:
        yield
    except asyncio.CancelledError:
        if lost:
            body.uncancel()
            raise lost[0] from None
        raise
    finally:
        renewal.cancel()


async def sign_of_life(target: Target, session: Session | None) -> None:
    """Towards the keeper and the device, whatever becomes of the other; the device's guard renews what is on its link.

    Raises LeaseLost or NotOurs; one that is being cut is renewed the next time round.
    """
    await _said(target.power.renew(LEASE_S))
    if session is not None:
        await _said(session.ask("renew", timeout_s=10))


async def _said(sign: Awaitable[object]) -> None:
    try:
        await sign
    except (LeaseLost, NotOurs):
        raise
    except (RunnerError, OSError):
        pass
