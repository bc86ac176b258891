"""Seven stages that do real, checkable work on a day of meter readings.

    readings.csv ─► ingest ─► screen ─► aggregate ─► train (costly) ─► forecast ─► ledger ─► seal
                    parse     bounds    per meter    fit a model       next day    counters  digest

Every stage leaves one file in the working folder and names it in `files`, so that a restart can tell whether
what was promised is really there. All outputs depend on the input alone: no clock, no chance.
"""

import csv
import hashlib
from pathlib import Path

from stageflow import StageOutput

from .files import keep, load

READINGS = Path(__file__).parent.parent / "mocks" / "data" / "happy_path" / "readings_valid_10k.csv"
HIGHEST_WATT_HOURS = 6000  # a household meter cannot count more in an hour on a 25 A main
TRAINING_ROUNDS = 60
HASHES_PER_ROUND = 2000
LEDGER_ROUNDS = 100  # per entry, so that forging a day's ledger costs something
SEAL_ROUNDS = 40000


class Ingest:
    """Raw lines → typed readings; what cannot be parsed is counted, never dropped in silence."""

    async def execute(self, ctx):
        readings, unreadable = [], 0
        with READINGS.open(newline="") as file:
            for row in csv.DictReader(file):
                try:
                    readings.append([row["meter"], int(row["hour"]), int(row["watt_hours"])])
                except ValueError:
                    unreadable += 1
        return StageOutput.ok({"files": [keep("readings.json", readings)], "readings": len(readings), "unreadable": unreadable})


class Screen:
    """Readings outside of what the meter can count are set aside."""

    async def execute(self, ctx):
        good, suspect = [], []
        for reading in load("readings.json"):
            (good if 0 <= reading[2] <= HIGHEST_WATT_HOURS else suspect).append(reading)
        return StageOutput.ok({"files": [keep("screened.json", good)], "good": len(good), "suspect": len(suspect)})


class Aggregate:
    """Watt-hours per meter, and per hour over all meters."""

    async def execute(self, ctx):
        meters, hours = {}, [0] * 24
        for meter, hour, watt_hours in load("screened.json"):
            meters[meter] = meters.get(meter, 0) + watt_hours
            hours[hour] += watt_hours
        return StageOutput.ok(
            {"files": [keep("totals.json", {"meters": meters, "hours": hours})], "meters": len(meters), "total_watt_hours": sum(hours)}
        )


class Train:
    """The costly stage: fits a smoothing factor by trying many, and stamps the work done. Never to be done twice."""

    async def execute(self, ctx):
        hours = load("totals.json")["hours"]
        best, best_error, work = 0, None, b""
        for round_number in range(1, TRAINING_ROUNDS):
            factor = round_number / TRAINING_ROUNDS
            level, error = hours[0], 0.0
            for actual in hours[1:]:
                error += abs(actual - level)
                level = factor * actual + (1 - factor) * level
            work = hashlib.pbkdf2_hmac("sha256", work + str(round(error, 6)).encode(), b"train", HASHES_PER_ROUND)
            if best_error is None or error < best_error:
                best, best_error = round_number, error
        model = {"smoothing_of_60": best, "mean_error": round(best_error / 23, 3), "work": work.hex()}
        return StageOutput.ok({"files": [keep("model.json", model)], **model})


class Forecast:
    """The next day, hour by hour, from the fitted model; and how much a little more or less smoothing would change it."""

    async def execute(self, ctx):
        hours, fitted = load("totals.json")["hours"], load("model.json")["smoothing_of_60"]
        forecast = smoothed(hours, fitted / TRAINING_ROUNDS)
        spread = [0] * len(hours)
        for tried in range(1, TRAINING_ROUNDS):
            for hour, value in enumerate(smoothed(hours, tried / TRAINING_ROUNDS)):
                spread[hour] = max(spread[hour], abs(value - forecast[hour]))
        peak = forecast.index(max(forecast))
        return StageOutput.ok({"files": [keep("forecast.json", [forecast, spread])], "peak_hour": peak, "widest": max(spread)})


def smoothed(hours, factor):
    """Exponential smoothing: each hour's expectation from all hours before it."""
    level, expected = float(hours[0]), []
    for actual in hours:
        level = factor * actual + (1 - factor) * level
        expected.append(round(level))
    return expected


class Ledger:
    """One numbered entry per meter and a running balance: a lost, doubled or reordered entry breaks the chain."""

    async def execute(self, ctx):
        balance, head, entries = 0, b"", []
        for number, (meter, watt_hours) in enumerate(sorted(load("totals.json")["meters"].items()), 1):
            balance += watt_hours
            entry = f"{number}|{meter}|{watt_hours}|{balance}".encode()
            head = hashlib.pbkdf2_hmac("sha256", head + entry, b"ledger", LEDGER_ROUNDS)
            entries.append([number, meter, watt_hours, balance, head.hex()])
        return StageOutput.ok({"files": [keep("ledger.json", entries)], "entries": len(entries), "balance": balance, "head": head.hex()})


class Seal:
    """A slow digest over everything that the day produced."""

    async def execute(self, ctx):
        digest = hashlib.sha256()
        for name in ("readings.json", "screened.json", "totals.json", "model.json", "forecast.json", "ledger.json"):
            digest.update(Path(name).read_bytes())
        seal = hashlib.pbkdf2_hmac("sha256", digest.digest(), b"seal", SEAL_ROUNDS).hex()
        return StageOutput.ok({"files": [keep("seal.json", {"seal": seal})], "seal": seal})
