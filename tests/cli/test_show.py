"""Looking at runs, entries, devices and profiles, in a lab with nothing in it and in one with something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.lab.folder import RunFolder

Runner = Callable[..., Any]


def test_a_lab_without_runs_says_how_to_make_one(runner: Runner, make_lab: Callable[..., Path]) -> None:
    """An empty list for a program, the next command for a person."""
    lab = str(make_lab({}))
    assert runner("--json", "--lab", lab, "run", "list").json["runs"] == []
    assert "no run yet: runner exec EDGE-002" in runner("--lab", lab, "run", "list").out


def test_people_who_type_run_are_told_exec(runner: Runner) -> None:
    """The whole command that they meant, ready to be copied."""
    said = runner("run", "EDGE-002", "--device", "qemu-pi")
    assert said.exit_code == 2
    assert "do: runner exec EDGE-002 --device qemu-pi" in said.err


@pytest.mark.real
def test_a_run_is_listed_and_shown(runner: Runner, real_lab: Path) -> None:
    """By what a person would look for, and the report as it was written."""
    lab = ("--lab", str(real_lab))
    (run,) = RunFolder.every(real_lab / "runs")
    (row,) = runner("--json", *lab, "run", "list").json["runs"]
    assert {key: row[key] for key in ("run_id", "entry", "device", "status")} == {
        "run_id": run.run_id, "entry": "EDGE-002", "device": "local", "status": "completed",
    }  # fmt: skip
    assert run.run_id in runner(*lab, "run", "list").out
    assert "# Final report: EDGE-002" in runner(*lab, "run", "show", run.run_id).out
    assert runner("--json", *lab, "run", "show", f"EDGE-002/{run.run_id}").json["run"]["verdict"] == "PASS_WITH_CONCERNS"


@pytest.mark.real
def test_one_damaged_run_does_not_hide_the_others(runner: Runner, real_run: RunFolder, make_lab: Callable[..., Path]) -> None:
    """It is listed as unreadable, with what is wrong with it."""
    lab = make_lab({})
    (lab / "runs").symlink_to(real_run.root.parent.parent)
    (lab / "runs" / "EDGE-002" / "run-2026-01-01-001" / "config").mkdir(parents=True)
    rows = runner("--json", "--lab", str(lab), "run", "list").json["runs"]
    assert [row["status"] for row in rows] == ["unreadable", "completed"]
    assert "config/run_config.json cannot be read" in rows[0]["summary"]


def test_the_entry_is_shown_with_all_it_asks_for(runner: Runner) -> None:
    """Limits, bar and checks, as its file says them."""
    rows = {row["id"]: row for row in runner("--json", "entry", "list", "--here").json["entries"]}
    assert rows["EDGE-002"]["priority"] == "P0"
    assert {"baseline", "recovery"} <= set(rows["EDGE-002"]["scenarios"])
    entry = runner("--json", "entry", "show", "EDGE-002").json["entry"]
    assert entry["limits"]["restored_s"] == 5
    assert "restored_s: 5" in runner("entry", "show", "edge-002").out


def test_devices_say_what_a_cut_of_them_is(runner: Runner) -> None:
    """A process crash or a power loss, never mixed up."""
    rows = {row["name"]: row["cut"] for row in runner("--json", "device", "list").json["devices"]}
    boards = dict.fromkeys(("qemu-pi", "qemu-x86", "qemu-serial", "qemu-serial-uart", "qemu-raspi3b"), "power_loss")
    assert rows == {"local": "process_crash", **boards}
    assert "a cut         power_loss: " in runner("device", "show", "qemu-pi").out


def test_profiles_say_what_they_sever(runner: Runner) -> None:
    """With their faults, from the list and from the file."""
    rows = {row["name"]: (row["faults"], row["severs"]) for row in runner("--json", "profile", "list").json["profiles"]}
    said = {"journal-damage": (["tamper"], ["power"]), "power-cuts": (["power_cut"], ["power"]), "steady": (["steady"], [])}
    assert said.items() <= rows.items()
    assert rows["flapping"] == (["offline"], ["data"])
    assert "points: [before_flush" in runner("profile", "show", "power-cuts").out


def test_profiles_say_what_they_do_and_need(runner: Runner) -> None:
    """A link's figures in a few words and as its file has them, and what a device's kernel must have for it."""
    row = next(row for row in runner("--json", "profile", "list").json["profiles"] if row["name"] == "2g-rural")
    assert (row["does"], row["needs"]) == (["20/18 kbit/s, 650 ms, 2 % lost (down/up)"], ["netem", "ifb"])
    assert row["links"][0]["down"] == {"rate_kbit_s": 20.0, "delay_ms": 650.0, "loss_percent": 2.0}
    assert row["sources"] == ["Augmented Traffic Control (ATC), its shipped network profiles"]
    line = next(line for line in runner("profile", "list").out.splitlines() if line.startswith("flapping "))
    assert line.split()[1:4] == ["offline", "nft", "data"]
    assert "nothing passes, 5 s in every 12 s, 50 times" in line


def test_a_fault_that_nobody_brings_is_a_complaint_about_its_profile(runner: Runner, make_lab: Callable[..., Path]) -> None:
    """Exit 2, with the file and the faults that there are."""
    own = "title: Fog\nfaults: [{fault: external, name: fog}]\n"
    said = runner("--json", "--lab", str(make_lab({"profiles/mine.yaml": own})), "profile", "list")
    assert said.exit_code == 2
    error = said.json["error"]
    assert error["found"] == "no fault is called 'fog'"
    assert error["expected"] == "one of bandwidth, clock, disk, jamming, offline, resources, steady"
    assert error["where"].endswith("profiles/mine.yaml")


@pytest.mark.parametrize("words", [("device", "show", "nope"), ("entry", "show", "NOPE-001"), ("profile", "show", "nope")], ids=" ".join)
def test_a_name_that_is_not_there_is_answered_with_those_that_are(runner: Runner, words: tuple[str, ...]) -> None:
    """Exit 2, and all names."""
    said = runner("--json", *words)
    assert said.exit_code == 2
    assert said.json["error"]["expected"].startswith("one of ")


def test_a_labs_words_cannot_reach_the_terminal(runner: Runner, make_lab: Callable[..., Path]) -> None:
    """A device type whose title would clear the screen is shown with the escape taken out."""
    own = 'title: "\\e[2Jcleared"\narch: native\ntransport: local\npower: process\nloss: process_crash\n'
    said = runner("--lab", str(make_lab({"devices/local-process.yaml": own})), "device", "list")
    assert said.exit_code == 0
    assert "[2Jcleared" in said.out
    assert "\x1b" not in said.out
