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
