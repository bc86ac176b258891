"""What EDGE-002 checks beyond the checks that every entry has: that the day's books are right.

Nothing here trusts the device: totals are computed again from the readings that were shipped to it.
"""

import csv
import hashlib
from pathlib import Path

_READINGS = Path(__file__).parent / "mocks" / "data" / "happy_path" / "readings_valid_10k.csv"


def ledger_adds_up(evidence, scenario):
    """Entries, balance and head of the ledger are those of the readings, computed again here."""
    meters = {}
    with _READINGS.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["watt_hours"].isdigit() and int(row["watt_hours"]) <= 6000:
                meters[row["meter"]] = meters.get(row["meter"], 0) + int(row["watt_hours"])
    balance, head = 0, b""
    for number, (meter, watt_hours) in enumerate(sorted(meters.items()), 1):
        balance += watt_hours
        head = hashlib.pbkdf2_hmac("sha256", head + f"{number}|{meter}|{watt_hours}|{balance}".encode(), b"ledger", 100)
    expected = {"entries": len(meters), "balance": balance, "head": head.hex()}
    problems = []
    for execution in evidence.of(scenario):
        if "ledger" in execution.outputs:
            data = execution.outputs["ledger"]["data"]
            found = {key: data.get(key) for key in expected}
            if found != expected:
                problems.append((f"{execution.name}: ledger {found}, expected {expected}", execution.journal_file))
    return problems


def files_match_outputs(evidence, scenario):
    """Each finished stage named exactly one file, and its hash was journaled with it."""
    problems = []
    for execution in evidence.of(scenario):
        for stage, result in execution.outputs.items():
            if len(result["files"]) != 1 or sorted(result["files"]) != sorted(result["data"].get("files", [])):
                problems.append((f"{execution.name}: {stage} names {sorted(result['files'])}", execution.journal_file))
    return problems


def shards_add_up(evidence, scenario):
    """Each pipeline of the stress merged every believable reading exactly once, as computed again here."""
    total, meters, rows = 0, set(), 0
    with _READINGS.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["watt_hours"].isdigit() and int(row["watt_hours"]) <= 6000:
                total, rows = total + int(row["watt_hours"]), rows + 1
                meters.add(row["meter"])
    expected = {"meters": len(meters), "total_watt_hours": total, "rows": rows}
    problems = []
    for execution in evidence.of(scenario):
        merges = [stage for stage in execution.outputs if stage.partition("@")[0] == "merge"]
        for stage in merges:
            found = {key: execution.outputs[stage]["data"].get(key) for key in expected}
            if found != expected:
                problems.append((f"{execution.name}: {stage} has {found}, expected {expected}", execution.journal_file))
        if len({execution.outputs[stage]["data"].get("digest") for stage in merges}) > 1:
            problems.append((f"{execution.name}: its pipelines came to different digests", execution.journal_file))
    return problems


def alarms_sent_once(evidence, scenario):
    """Every alarm went out exactly once, restarts or not. Nobody but the outbox itself would tell."""
    problems = []
    for execution in evidence.of(scenario):
        if "tally" in execution.outputs:
            data = execution.outputs["tally"]["data"]
            if data["gone_out"] != data["distinct"]:
                twice = data["gone_out"] - data["distinct"]
                found = f"{execution.name}: {twice} of {data['gone_out']} alarms went out again, and every stage says ok"
                where = [execution.where(r) for r in execution.of_kind("stage_finished") if r.payload["stage"] == "tally"]
                problems.append((found, where[-1]))
    return problems
