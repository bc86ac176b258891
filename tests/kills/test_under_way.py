"""Runs that are under way: ended by ^C once and twice, left alone, attached to, cancelled, and gone on with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.cli.exec import ONE_REQUEST_S
from runner.judgement.reading import load_evidence

from .chain import REPOSITORY, Chain, kill_local, left_behind, untrue

pytestmark = pytest.mark.real
LIMIT_S = 120.0


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path, "local", kill_local)


def command(chain: Chain, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "RUNNER_STATE": str(chain.state), "TMPDIR": str(chain.tmp), "PYTHONPATH": str(REPOSITORY)}
    arguments = [sys.executable, "-m", "runner", "--lab", str(chain.root), *words]
    return subprocess.run(arguments, cwd=chain.root, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@contextmanager
def stopped_at(chain: Chain, point: str, *before: signal.Signals) -> Iterator[subprocess.Popen[bytes]]:
    """An `exec` that has stopped itself at `point`; `before` that it was sent these. Afterwards it goes on, and ends."""
    (chain.root / "failpoint").write_text(f"coordinator {point} 1 stop")
    process = chain._start(["exec", "KILL-001"], RUNNER_FAILPOINT=str(chain.root / "failpoint"))
    for number in before:
        _until(lambda: (chain.root / "runs").exists() and "pushed" in (chain.root / "output").read_text())
        process.send_signal(number)
    _until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.wait(LIMIT_S)


def _until(true: object) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_interrupted_once_behind_a_cut_it_unwinds_and_can_be_gone_on_with(chain: Chain) -> None:
    """The device's power is gone at that moment; nothing is left, the run says so, and a resume brings it to its end."""
    with stopped_at(chain, "cut.done") as process:
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert chain.run
    assert (load_evidence(chain.run).ending or {})["ending"] == "interrupted"
    assert [one for one in left_behind(chain) if one.startswith(("process", "lease", "temporary"))] == []
    assert f"next: runner run resume KILL-001/{chain.run.run_id}" in (chain.root / "output").read_text()
    assert chain.finish() == 0
    assert untrue(chain.run) == []
    assert left_behind(chain) == []


def test_who_goes_on_with_an_execution_says_how_often_it_was_cut_before(chain: Chain) -> None:
    """All of them are the execution's, and the time beside them is not that of all of them."""
    with stopped_at(chain, "recover.after") as process:
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert chain.finish() == 0
    assert re.search(r"\nrecovery-1 .*   3 crashes, 1 of them before   ok\n", (chain.root / "output").read_text())


def test_one_request_that_arrives_twice_is_one(chain: Chain) -> None:
    """`timeout` signals a process and its group: that is no second ^C."""
    with stopped_at(chain, "cut.done") as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 130
    assert chain.run
    assert (load_evidence(chain.run).ending or {})["ending"] == "interrupted"


def test_interrupted_twice_it_stops_at_once_and_the_next_start_cleans_up(chain: Chain) -> None:
    """Nothing is unwound, and the run says nothing of its end; the next one on the device mirrors it and concludes it."""
    with stopped_at(chain, "unwind.before", signal.SIGINT) as process:
        time.sleep(2 * ONE_REQUEST_S)  # a second request is one that comes later than that
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert "stopped at once" in (chain.root / "output").read_text()
    old = chain.run
    assert old
    assert load_evidence(old).ending is None
    listed = json.loads(command(chain, "--json", "run", "list").stdout)["runs"][0]
    assert (listed["status"], old.run_id in listed["summary"]) == ("killed", True)
    assert chain.command("exec", "KILL-001", "--quick") == 0
    ended = load_evidence(old)
    assert (ended.over, (ended.ending or {})["ending"]) == (True, "lab")
    assert (ended.note("superseded") or {})["whole"] is True
    assert left_behind(chain) == []


def test_a_detached_run_goes_on_by_itself_and_is_attached_to(chain: Chain) -> None:
    """The command returns when the folder is there; attaching shows every line from the first on, and ends as the run does."""
    left = command(chain, "--json", "exec", "KILL-001", "--detach")
    assert left.returncode == 0, left.stderr
    assert chain.run
    assert json.loads(left.stdout)["run_id"] == chain.run.run_id
    followed = command(chain, "run", "attach", chain.run.run_id)
    assert followed.returncode == 0
    assert "baseline-1" in followed.stdout
    assert "PASS WITH CONCERNS" in followed.stdout
    assert left_behind(chain) == []


def test_what_a_detached_run_cannot_do_is_heard(chain: Chain) -> None:
    """An error before there is a folder is told by the command that was typed."""
    done = command(chain, "exec", "KILL-002", "--detach")
    assert done.returncode == 2
    assert not list((chain.root / "runs").glob("*/run-*"))


def test_cancelling_unwinds_in_order(chain: Chain) -> None:
    """The process is asked to end, is waited for, and the run can still be gone on with."""
    with stopped_at(chain, "hold.before") as process:
        assert chain.run
        name = chain.run.run_id
        asking = subprocess.Popen(
            [sys.executable, "-m", "runner", "--lab", str(chain.root), "run", "cancel", name],
            env={**os.environ, "RUNNER_STATE": str(chain.state), "TMPDIR": str(chain.tmp), "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
        )
        _until(lambda: "SigPnd" in Path(f"/proc/{process.pid}/status").read_text() and _pending(process.pid, signal.SIGINT))
    said, _ = asking.communicate(timeout=LIMIT_S)
    assert (process.returncode, asking.returncode) == (130, 0)
    assert b"has ended" in said
    assert chain.finish() == 0


def test_cancelling_a_killed_run_ends_what_it_left(chain: Chain) -> None:
    """What it left on the device is mirrored and ended; there is nothing to go on with then."""
    with stopped_at(chain, "cut.done") as process:
        process.kill()
    assert chain.run
    done = command(chain, "run", "cancel", chain.run.run_id)
    assert done.returncode == 130, done.stderr
    assert load_evidence(chain.run).over
    assert left_behind(chain) == []


def test_a_killed_run_whose_folder_is_damaged_stops_no_other(chain: Chain) -> None:
    """The next run on the device says so, with the command that helps, and comes to its end; once that was typed, nobody says it again."""
    with stopped_at(chain, "cut.done") as process:
        process.kill()
    old = chain.run
    assert old
    old.coordinator_journal.write_bytes(b"nothing that anybody could read")
    assert chain.command("exec", "KILL-001", "--quick") == 0
    said = (chain.root / "output").read_text()
    assert f"KILL-001/{old.run_id} is damaged, and cannot be concluded" in said
    assert f"next: runner run verify KILL-001/{old.run_id}" in said
    verified = command(chain, "run", "verify", old.run_id).stdout
    (next_one,) = [line.removeprefix("next: runner ") for line in verified.splitlines() if line.startswith("next: ")]
    assert command(chain, *next_one.split()).returncode == 0
    for words in ("is gone: what its run left on the device stays there", ""):
        assert chain.command("exec", "KILL-001", "--quick") == 0
        said = (chain.root / "output").read_text()
        assert (words in said, "cannot be concluded" in said) == (True, False)
    assert "is gone" not in said


def test_a_run_under_way_is_neither_resumed_nor_reported_on(chain: Chain) -> None:
    """Both say so, and what to type instead."""
    with stopped_at(chain, "hold.before"):
        assert chain.run
        for words in (("run", "resume"), ("report",)):
            done = command(chain, *words, chain.run.run_id)
            assert done.returncode == 2
            assert f"runner run attach {chain.run.run_id}" in done.stderr


def _pending(pid: int, number: signal.Signals) -> bool:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return any(int(lines[key], 16) >> (number - 1) & 1 for key in ("SigPnd", "ShdPnd"))


def test_a_run_whose_device_a_stranger_had_meanwhile_ends_blocked_and_whole(chain: Chain) -> None:
    """Another lease file's run took the device over: what the first one wrote until then is mirrored, and nobody calls it failed."""
    with stopped_at(chain, "cut.done") as process:
        process.kill()
    old = chain.run
    assert old
    claim = chain.state / "local" / "local" / "claim.json"
    claim.write_text(json.dumps({**json.loads(claim.read_text()), "holder": ""}))  # as if its time were over
    ours = (chain.state / "leases").rename(chain.root / "our-leases")
    theirs = command(chain, "exec", "KILL-001", "--quick")
    assert theirs.returncode == 0, theirs.stdout + theirs.stderr
    (chain.state / "leases").rename(chain.root / "their-leases")
    ours.rename(chain.state / "leases")
    done = command(chain, "run", "resume", old.run_id)
    assert done.returncode == 3
    assert "was lent to somebody else" in done.stdout
    evidence = load_evidence(old)
    assert evidence.over
    assert evidence.executions[-1].records[-1].kind == "abandoned"
    assert left_behind(chain) == []
