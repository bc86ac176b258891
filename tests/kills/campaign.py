"""Many chains, until enough shots have hit; each chain's end is held against what must never be.

python -m tests.kills.campaign COUNT [--device local|qemu-pi] [--jobs N] [--seed S] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner.judgement.reading import load_evidence

from .chain import Chain, as_json, figures, kill_local, left_behind, untrue
from .on_a_board import kill_on_a_board
from .shots import Shot, board_shots, in_order, shots

SHOTS_PER_CHAIN = 4
SUPERSEDED_EVERY = 3  # this chain is not resumed: another run takes the device
VICTIMS = {
    "local": ("coordinator", "supervisor", "host", "link"),
    "qemu-pi": ("coordinator", "supervisor", "host", "keeper", "link"),
}


class Campaign:
    """Chains one after the other in each of `jobs` threads, until `count` shots have hit or they do not hit any more."""

    def __init__(self, folder: Path, count: int, device: str, seed: int, more_words: tuple[str, ...] = ()) -> None:
        self.folder, self.count, self.device, self.more_words = folder, count, device, more_words
        self.chains: list[Chain] = []
        self.wrong: list[str] = []
        self._lock = threading.Lock()
        self._supply = self._chains_of_shots(seed)

    def _chains_of_shots(self, seed: int) -> Iterator[list[Shot]]:
        for turn in range(1 + self.count // 20):
            if self.device != "local" and turn == 0:
                yield from board_shots()
                continue
            supply = iter(shots(seed + turn, VICTIMS[self.device]))
            while mine := list(itertools.islice(supply, SHOTS_PER_CHAIN)):
                yield in_order(mine)

    @property
    def kills(self) -> int:
        return sum(len(chain.fired) for chain in self.chains)

    def carry_out(self, jobs: int) -> None:
        with ThreadPoolExecutor(jobs) as pool:
            for future in [pool.submit(self._chains) for _ in range(jobs)]:
                future.result()

    def _chains(self) -> None:
        while self.kills < self.count and not self.wrong:
            with self._lock:
                mine = next(self._supply, None)
                if mine is None:
                    return
                number = len(self.chains) + 1
                kill = kill_local if self.device == "local" else kill_on_a_board
                chain = Chain(self.folder / f"chain-{number}", self.device, kill, self.more_words)
                self.chains.append(chain)
            problems = one_chain(chain, mine, superseded=number % SUPERSEDED_EVERY == 0)
            with self._lock:
                self.wrong += [f"{chain.root.name}: {problem}" for problem in problems]
            missed = ", ".join(f"{shot.victim} at {shot.point}" for shot in chain.missed)
            print(
                f"{chain.root.name}: {len(chain.fired)} hit, {self.kills} of {self.count}; missed: {missed or '-'}",
                file=sys.stderr,
                flush=True,
            )
            if not problems:
                shutil.rmtree(chain.root)
                shutil.rmtree(chain.tmp, ignore_errors=True)


def one_chain(chain: Chain, mine: list[Shot], *, superseded: bool) -> list[str]:
    """Shoots, brings the run to its end, and says what is wrong then."""
    problems = []
    for shot in mine:
        status = chain.shoot(shot)
        if status not in (0, 1, 3, -9):
            problems.append(f"{shot}: exit status {status}")
    old = chain.run
    if superseded:
        status = chain.command(*chain.exec_words, "--quick")
        if status != 0:  # nobody shot at this one
            problems.append(f"the next exec ended with {status}")
        if old and not load_evidence(old).over:
            problems.append("the next exec did not conclude the run that was left")
    status = chain.finish()
    a_result = any(shot.victim in ("host", "supervisor") for shot in chain.fired)  # a pipeline died; a device did not come back by itself
    if status != 0 and not (status == 1 and a_result):
        problems.append(f"it ended with exit status {status}")
    try:
        problems += [f"untrue: {problem}" for run in (old, chain.run) if run for problem in untrue_of(run)]
    except Exception as error:
        problems.append(f"its folder cannot be read: {error!r}")
    problems += [f"left behind: {each}" for each in left_behind(chain)]
    if problems:
        problems.append(as_json(chain))
    return problems


def untrue_of(run: object) -> list[str]:
    return untrue(run)  # type: ignore[arg-type]


def main() -> int:
    parser = argparse.ArgumentParser(description="Kills processes of runs until COUNT kills have hit, and looks for what must never be.")
    parser.add_argument("count", type=int)
    parser.add_argument("--device", default="local", choices=sorted(VICTIMS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="where chains that went wrong stay (default: a temporary folder)")
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(folder, asked.count, asked.device, asked.seed)
    campaign.carry_out(asked.jobs)
    print(json.dumps(figures(campaign.chains)))
    for problem in campaign.wrong:
        print(problem)
    if campaign.wrong or campaign.kills < asked.count:
        print(f"see {folder}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
