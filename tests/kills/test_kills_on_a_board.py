"""The same with an emulated board, its keeper and its disk; a file of its own, so that it runs beside the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from .campaign import Campaign
from .chain import figures


@pytest.mark.qemu
def test_a_board_whose_people_are_killed_comes_to_its_end(tmp_path: Path) -> None:
    """Nothing is missing, doubled or left, and no board stays dark. `scripts/kills --device qemu-pi` has all scenarios and more kills."""
    campaign = Campaign(tmp_path, 20, "qemu-pi", seed=1, more_words=("--quick", "--scenario", "recovery"))
    campaign.carry_out(jobs=1)
    print(figures(campaign.chains))
    assert campaign.wrong == []
    assert campaign.kills >= 20
