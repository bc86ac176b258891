"""A device is held from the first moment on: its keeper hears of us while it is still starting; whoever loses it leaves it alone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError
from runner.farm.lease import LEASE_S, LeaseLost
from runner.story import live
from runner.target.session import NotOurs

LIMIT_S = 20.0


class Board:
    """A board that comes up when its keeper was renewed three times, and never before. Notes what is done to it."""

    def __init__(self, clock: Any) -> None:
        self.clock, self.done, self.renewed_s, self.error = clock, [], [], None  # type: ignore[var-annotated]
        self.power = self.transport = self
        self.enough = asyncio.Event()
        self.loss = "power_loss"

    def renew_lease(self) -> None:
        if self.error:
            raise self.error

    async def renew(self, duration_s: float) -> None:
        assert duration_s == LEASE_S
        self.renewed_s.append(self.clock.boottime_ns() / 1e9)
        if len(self.renewed_s) >= 3:
            self.enough.set()

    async def bring_up(self, say: Any) -> Any:
        await self.enough.wait()
        return SimpleNamespace(hello={}, ask=self.ask, close=self.close)

    async def facts(self) -> dict[str, Any]:
        return {}

    async def ask(self, do: str, **_: Any) -> dict[str, Any]:
        self.done.append(do)
        return {}

    async def close(self) -> None:
        self.done.append("closed")

    async def shut_down(self) -> None:
        self.done.append("down")


def run_on(board: Board, monkeypatch: pytest.MonkeyPatch) -> Any:
    async def make_target(request: Any) -> Any:
        return board

    async def leave(run: Any, target: Any) -> None:
        await run.session.close()

    monkeypatch.setattr(live, "make_target", make_target)
    monkeypatch.setattr(live, "_leave", leave)
    for name in ("_mark_evidence", "collect_evidence", "seal", "_make_room"):
        monkeypatch.setattr(live, name, lambda *_: None)
    return SimpleNamespace(
        plan=SimpleNamespace(device="pi-04", line=None, type=None), folder=SimpleNamespace(witness=None), clock=board.clock,
        lease=SimpleNamespace(renew=board.renew_lease), past=SimpleNamespace(unrecovered=None), target=None, session=None, lost=None,
        completed=False, say=lambda text: None, note=lambda *_, **__: None, emit=lambda *_, **__: None,
    )  # fmt: skip


def test_a_board_that_takes_long_to_come_up_keeps_its_keeper(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no session yet, and the keeper hears of us well within the time after which it would end the board."""

    async def go() -> None:
        board = Board(clock)
        async with asyncio.timeout(LIMIT_S), live.live_target(run_on(board, monkeypatch), lambda target: None):
            assert max(board.renewed_s) - min(board.renewed_s) <= LEASE_S
        assert board.done[-1] == "down"

    asyncio.run(go())


@pytest.mark.parametrize("error", [LeaseLost("lent again"), NotOurs("theirs")])
@pytest.mark.parametrize("heard_by", ["renewal", "block", "renewal, and ^C"])
def test_a_device_that_was_lost_is_not_even_switched_off(
    clock: Any, monkeypatch: pytest.MonkeyPatch, error: LabError, heard_by: str
) -> None:
    """Whoever heard of it, and whatever came with it: session and transport are closed here, and that is all."""

    async def go() -> None:
        board = Board(clock)
        run = run_on(board, monkeypatch)

        async def whole() -> None:
            async with asyncio.timeout(LIMIT_S), live.live_target(run, lambda target: None):
                if heard_by == "block":
                    raise error
                board.done.clear()
                board.error = error
                try:
                    await asyncio.Event().wait()
                finally:
                    if "^C" in heard_by:
                        task.cancel()

        task = asyncio.ensure_future(whole())
        with pytest.raises(asyncio.CancelledError if "^C" in heard_by else type(error)):
            await task
        assert run.lost is error
        assert [each for each in board.done if each != "renew"] == ["closed", "closed"]

    asyncio.run(go())
