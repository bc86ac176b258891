"""`device provision`: what a run would send before it begins, laid onto a device beforehand; the run finds it there by its hash.

    lease ─► up, with the supervisor ─► what it lacks is said, with its time ─► sent ─► unpacked and compiled there

For a device on a slow line that is minutes which no run has to wait for, or none at all where it has a faster way for once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.lab.load import folder_name
from runner.lab.where import cache_root
from runner.story.trial import IsOn, at_hand, nobody_knows
from runner.target.bundle import Environment, fetch_own_wheels, fetch_wheels, make_bundle, make_environment
from runner.target.drivers import Request
from runner.target.rate import lacking

UNPACK_LIMIT_S = 600.0
Kinds = dict[str, list[bytes]]


@dataclass(frozen=True)
class Supply:
    """What runs of one entry need; without `entry`, what those of all entries on this Stageflow have in common."""

    stageflow: str
    entry: str = ""
    pipelines: Path | None = None  # the entry's folder


@dataclass(frozen=True)
class Provisioned:
    """What was sent; all of it is durable and unpacked on the device, whatever was there before."""

    supervisor_bytes: int
    kinds: dict[str, int]  # "wheels", "pipelines"

    @property
    def sent_bytes(self) -> int:
        return self.supervisor_bytes + sum(self.kinds.values())


async def provision(request: Request, identity: str, supplies: Sequence[Supply], is_on: IsOn = nobody_knows) -> Provisioned:
    """Under the device's lease, which is not waited for. Raises LabError, Taken and Quarantined among them; what has arrived by then
    stays, and is not sent again."""
    async with at_hand(request, identity, f"device provision {request.name}", wait=False, is_on=is_on) as (target, session, _):
        blobs: dict[str, bytes] = {}
        pipelines: set[str] = set()
        trees: dict[str, list[str]] = {}
        for supply in supplies:
            wheels = await asyncio.to_thread(fetch_wheels, supply.stageflow, session.hello, cache_root(), request.say)
            if supply.pipelines is None:
                environment: Environment = make_environment(wheels)
                blobs |= environment.blobs
                trees[environment.tree] = list(environment.blobs)
                continue
            wheels = wheels + await asyncio.to_thread(fetch_own_wheels, supply.pipelines, session.hello, cache_root(), request.say)
            bundle = make_bundle(supply.pipelines, folder_name(supply.entry), wheels)
            blobs |= bundle.blobs
            pipelines.add(bundle.pipeline_blob)
            trees |= {bundle.pipeline_tree: [bundle.pipeline_blob], bundle.environment_tree: list(bundle.environment_blobs)}
        sent: dict[str, int] = {"wheels": 0, "pipelines": 0}

        def announce(missing: frozenset[str]) -> None:
            kinds: Kinds = {
                "wheels": [blobs[sha256] for sha256 in missing - pipelines],
                "pipelines": [blobs[sha256] for sha256 in missing & pipelines],
            }
            sent.update({kind: sum(map(len, data)) for kind, data in kinds.items()})
            if said := lacking(target.transport, target.name, kinds, "what has arrived once is not sent again"):
                request.say(said)

        await session.push(blobs, announce)
        for tree, names in trees.items():
            await session.ask("unpack", tree=tree, blobs=names, compile=True, timeout_s=UNPACK_LIMIT_S)
        return Provisioned(target.installed_bytes, sent)
