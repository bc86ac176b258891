"""The same with a link fault on the board: whoever is killed, it comes off, and the device is what it was.

A killed execution under a link fault is set aside and made again, because nobody renewed the fault meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.farm.lease import Leases
from runner.judgement.evidence import SET_ASIDE
from runner.judgement.reading import load_evidence

from .campaign import one_chain
from .chain import Chain
from .on_a_board import kill_on_a_board
from .shots import Shot

WORDS = ("--scenario", "recovery", "--quick", "--profile", "geo-satellite")  # one cut under a delay, which is measured in seconds


@pytest.mark.qemu
@pytest.mark.long
def test_a_run_that_is_killed_under_a_link_fault_comes_to_its_end_and_the_link_is_what_it_was(tmp_path: Path) -> None:
    """Killed with the fault on, right behind a power cut of it, and before it was lifted; then killed with the fault on again, and the
    next run takes the device."""
    chain = Chain(tmp_path, "qemu-pi", kill_on_a_board, WORDS)
    resumed = [Shot("coordinator", point, 1, "coordinator") for point in ("impose.after", "cut.done", "lift.before")]
    problems = one_chain(chain, resumed, superseded=False)
    assert not problems, "\n".join(problems)
    assert chain.fired == resumed
    assert chain.run
    evidence = load_evidence(chain.run)
    kinds = [(record.kind, record.payload.get("ending")) for record in evidence.coordinator]
    assert ("execution_ended", SET_ASIDE) in kinds
    assert ("link_lifted", None) in kinds
    in_order(chain)

    held = Shot("coordinator", "hold.before", 2, "coordinator")
    problems = one_chain(chain, [held], superseded=True)
    assert not problems, "\n".join(problems)
    assert chain.fired[-1] == held
    in_order(chain)


def in_order(chain: Chain) -> None:
    """Nothing is expected of the device any more, nobody has quarantined it, and its own check finds nothing."""
    leases = Leases(chain.state)
    assert (leases.expected(chain.device), leases.quarantined(chain.device)) == (None, None)
    assert chain.command("device", "check", chain.device) == 0
