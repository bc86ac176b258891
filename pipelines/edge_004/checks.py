"""What EDGE-004 checks beyond the checks that every entry has: the right bytes, each sent once, inside a budget.

Nothing here trusts the device where anybody else can tell. The results are computed again from the readings that were shipped; what
arrived is the far end's word (receipts), piece by piece; what the wire carried is the device's counters, held from below against
the receipts and from above against the samples of the run's own telemetry.

The budget, in bytes on the wire, both ways, all layers:

    budget = size × (1 + OVERHEAD) + FIXED + interruptions × (largest piece × 1.25 + INTERRUPTION) + the run's own probe

    OVERHEAD 0.75       a piece of 1,024 bytes, the smallest: 220 of request and 180 of answer in HTTP, three segments of 66 there and
                        three back make 0.78; one of 4,800 (9.6 kbit/s) makes 0.20, one of 16,384 makes 0.11. On top of that one
                        packet in twenty twice (0.05 each way) and what was in flight then. 0.75 is what 9.6 kbit/s needs thrice over.
    FIXED 8,192         announcing, asking, verifying, connecting: some ten exchanges of 700 bytes, and neighbour discovery
    an interruption     (a fault that takes the link away, a restart, a refusal of a damaged piece) costs the piece in flight once more, a
                        connection and a question
    the probe           86 bytes there and 86 back for each of its packets: the link is watched over this very interface
"""

import base64
import csv
import hashlib
import zlib
from itertools import pairwise
from pathlib import Path

OVERHEAD, FIXED_BYTES, INTERRUPTION_BYTES = 0.75, 8192, 1500
PROBE_BYTES = 2 * 86
PIECE_S, LEAST_BYTES, MOST_BYTES = 4.0, 1024, 16384
_READINGS = Path(__file__).parent / "mocks" / "data" / "happy_path" / "inverters_valid_1536.csv"
_DAYS = {"recovery": 2, "stress": 7, "adversarial": 3}
_RECEIPTS = "results/journal/receipts.jsonl"
_MAX_UNPACKED = 4 << 20


def results_true(evidence, scenario):
    """The results are those of the readings, computed again here, and what was packed unpacks to them byte for byte."""
    problems = []
    for execution in evidence.of(scenario):
        expected = _results(_pipeline(evidence, scenario))
        if "produce" in execution.outputs and _data(execution, "produce").get("sha256") != _sha256(expected):
            problems.append((f"{execution.name}: its results are not those of the readings", execution.journal_file))
        if "pack" in execution.outputs:
            packed = _packed(execution)
            if packed is None or _data(execution, "pack").get("sha256") != _sha256(packed):
                problems.append((f"{execution.name}: what it packed is not what it says", execution.journal_file))
            elif _unpacked(packed) != expected:
                problems.append((f"{execution.name}: what it packed are not the results of the readings", execution.journal_file))
    return problems


def arrived_whole(evidence, scenario):
    """The far end has the whole file, once, and its hash is that of the packed results; the device says so only if it is true."""
    problems = []
    for execution in evidence.of(scenario):
        if "upload" not in execution.outputs:
            continue
        packed = _packed(execution) or b""
        begun = [r for r in _uploads(evidence, execution) if r.get("first")]
        if len(begun) != 1:
            problems.append((f"{execution.name}: {len(begun)} uploads were begun, one is due", _RECEIPTS))
        elif (begun[0].get("length"), begun[0].get("whole_sha256")) != (len(packed), _sha256(packed)):
            problems.append((f"{execution.name}: it was begun as another file than the packed results", _RECEIPTS))
        ends = [r for r in _pieces(evidence, execution) if r.get("complete")]
        if len(ends) != 1 or ends[0].get("offset") != len(packed):
            problems.append((f"{execution.name}: it was complete {len(ends)} times, {len(packed)} bytes are due once", _RECEIPTS))
        if "verify" in execution.outputs and _data(execution, "verify").get("equal") is not (len(ends) == 1):
            said = _data(execution, "verify").get("equal")
            problems.append((f"{execution.name}: it says of the hashes being equal: {said}", execution.journal_file))
    return problems


def nothing_sent_twice(evidence, scenario):
    """Each piece that was acknowledged begins where the one before ended: nothing that was there was taken again."""
    problems = []
    for execution in evidence.of(scenario):
        reached = 0
        for receipt in _pieces(evidence, execution):
            size, end = receipt.get("bytes"), receipt.get("offset")
            if type(size) is not int or type(end) is not int or size < 1:
                problems.append((f"{execution.name}: a piece of {size} bytes up to {end}", _RECEIPTS))
                break
            begin = end - size
            if begin < reached:
                problems.append(
                    (f"{execution.name}: bytes {begin} to {min(end, reached)} were sent again, and had been acknowledged", _RECEIPTS)
                )
            elif begin > reached:
                problems.append((f"{execution.name}: bytes {reached} to {begin} were left out", _RECEIPTS))
            reached = max(reached, end)
        packed = _packed(execution)
        if packed is not None and "upload" in execution.outputs and reached != len(packed):
            problems.append((f"{execution.name}: {reached} of {len(packed)} bytes were acknowledged", _RECEIPTS))
    return problems


def inside_budget(evidence, scenario):
    """All bytes on the wire, both ways and all layers, are inside the budget: size × 1.75 + 8,192, and for each interruption the piece that
    was in flight. The run's own probe is not counted."""
    problems = []
    for execution in evidence.of(scenario):
        if "verify" not in execution.outputs:
            continue
        rows = _counters(execution)
        if len(rows) < 2:
            problems.append((f"{execution.name}: nothing tells what the wire has carried", execution.journal_file))
            continue
        carried = sum(last["sent"] - first["sent"] + last["received"] - first["received"] for first, last in _boots(rows))
        size, largest = len(_packed(execution) or b""), _largest(evidence, execution)
        interruptions = _interruptions(evidence, execution)
        probe = _probe_bytes(evidence, execution, rows)
        budget = int(size * (1 + OVERHEAD) + FIXED_BYTES + interruptions * (largest * 1.25 + INTERRUPTION_BYTES) + probe)
        if carried > budget:
            said = f"{carried} bytes on the wire for {size}, the budget is {budget} ({interruptions} interruptions, {probe} of the probe's)"
            problems.append((f"{execution.name}: {said}", execution.journal_file))
    return problems


def counters_believable(evidence, scenario):
    """The device's counters never fall within a boot, carry at least what arrived, and no more than the run's own telemetry saw."""
    problems = []
    for execution in evidence.of(scenario):
        if "verify" not in execution.outputs:
            continue
        rows = _counters(execution)
        for a, b in pairwise(rows):
            if a["boot"] == b["boot"] and (b["sent"] < a["sent"] or b["received"] < a["received"] or b["at_ns"] < a["at_ns"]):
                problems.append((f"{execution.name}: its counters went back in {b['stage']}", execution.journal_file))
                break
        sent = sum(last["sent"] - first["sent"] for first, last in _boots(rows))
        arrived = sum(r.get("bytes", 0) for r in _pieces(evidence, execution))
        unseen = _restarts(execution) * _largest(evidence, execution)  # what went out between the last note and a cut
        if rows and sent + unseen < arrived:
            problems.append((f"{execution.name}: {arrived} bytes arrived, and its counters say that {sent} were sent", _RECEIPTS))
        for first, last in _boots(rows):
            seen = _sampled(execution, first["boot"], first["at_ns"], last["at_ns"])
            if seen is not None and last["interface"] != "lo" and last["sent"] - first["sent"] > seen:
                said = f"{last['sent'] - first['sent']} bytes, and its telemetry saw {seen} leave over all links"
                problems.append((f"{execution.name}: its counters say {said}", execution.journal_file))
    return problems


def pieces_planned(evidence, scenario):
    """Pieces grow with what the link has shown: the first has 1,024 bytes, none has more than twice the one before, or than 16,384;
    and what was planned is what the measured goodput carries in four seconds, within that."""
    problems = []
    for execution in evidence.of(scenario):
        before = LEAST_BYTES // 2
        for number, receipt in enumerate(_pieces(evidence, execution), 1):
            size = receipt["bytes"] if type(receipt["bytes"]) is int else 0
            if size > min(MOST_BYTES, max(LEAST_BYTES, 2 * before)):
                problems.append((f"{execution.name}: piece {number} had {size} bytes, the one before {before}", _RECEIPTS))
            before = size
        if "plan" in execution.outputs:
            goodput, said = (_data(execution, "plan").get(key) for key in ("goodput_bytes_s", "piece_bytes"))
            carried = int(goodput * PIECE_S) if type(goodput) is int else 0
            planned = max(LEAST_BYTES, min(2 * LEAST_BYTES, carried))
            if type(goodput) is not int or type(said) is not int or abs(said - planned) > PIECE_S:  # the goodput is told in whole bytes
                problems.append(
                    (f"{execution.name}: pieces of {said} bytes were planned at {goodput} bytes a second", execution.journal_file)
                )
    return problems


def cut_in_the_middle(evidence, scenario):
    """The link left, or the power failed, between two pieces that were acknowledged. Else the run shows nothing of resuming."""
    problems = []
    for execution in evidence.of(scenario):
        rows = [row for row in _counters(execution) if row["stage"] in ("upload", "plan")]
        gone = [
            said
            for said in evidence.faults(execution.name)
            for first, last in _boots(rows)
            if said.get("on") and said.get("fault") == "offline" and _plain(said.get("boot_id")) == _plain(first["boot"])
            and first["at_ns"] <= said["boottime_ns"] <= last["at_ns"]
        ]  # fmt: skip
        if not gone and not any(cut.stage.partition("@")[0] == "upload" for cut in execution.cuts):
            problems.append((f"{execution.name}: nothing happened to the link or the power while it was uploading", execution.journal_file))
    return problems


def meddling_refused(evidence, scenario):
    """What somebody else wrote into the upload, and every piece that was damaged on its way, was refused; nothing of it counts."""
    problems = []
    for execution in evidence.of(scenario):
        answers = _data(execution, "meddle").get("answers")
        if "meddle" in execution.outputs and answers != [409, 460, 409]:
            problems.append((f"{execution.name}: the meddler was answered {answers}, expected 409, 460, 409", execution.journal_file))
        if "upload" in execution.outputs and not any(
            r.get("status") == 460 and r.get("bytes", 0) > 64 for r in _uploads(evidence, execution)
        ):
            problems.append((f"{execution.name}: no piece of ours was damaged on its way", _RECEIPTS))
    return problems


# ---- what is right, computed from what was shipped ------------------------------------------------------------------


def _results(pipeline):
    """The bytes of the results, inverter by inverter and then put into the order of time."""
    with _READINGS.open(newline="") as file:
        readings = [(int(r["quarter"]), r["inverter"], int(r["watts"]), int(r["tenths_celsius"])) for r in csv.DictReader(file)]
    text, check = ["day,quarter,inverter,watt_hours,so_far,deviation,tenths_celsius,state,check"], 1
    for day in range(1, _DAYS.get(pipeline, 1) + 1):
        sunny = [(quarter, inverter, watts * (99 + day) // 100, tenths) for quarter, inverter, watts, tenths in readings]
        medians = {q: sorted(w for quarter, _, w, _ in sunny if quarter == q) for q in {quarter for quarter, *_ in sunny}}
        totals = {}
        for quarter, inverter, watts, tenths in sunny:
            median = medians[quarter][len(medians[quarter]) // 2]
            totals[inverter] = totals.get(inverter, 0) + watts // 4
            deviation = (watts - median) * 1000 // median if median else 0
            state = "night" if median == 0 else "dim" if deviation < -250 else "hot" if tenths > 450 else "ok"
            check = (check * 1009 + 31 * watts + 17 * tenths + quarter + day) % 999983
            text.append(f"{day},{quarter},{inverter},{watts // 4},{totals[inverter]},{deviation},{tenths},{state},{check}")
    return ("\n".join(text) + "\n").encode()


def _packed(execution):
    """The packed bytes that the device tells of; None if it tells of none."""
    try:
        return base64.b64decode(_data(execution, "pack").get("packed"), validate=True)
    except (TypeError, ValueError):
        return None


def _unpacked(packed):
    """At most so much: whoever sent it may have packed a great deal of nothing."""
    try:
        unpacker = zlib.decompressobj()
        return unpacker.decompress(packed, _MAX_UNPACKED) if not unpacker.unconsumed_tail else None
    except zlib.error:
        return None


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


# ---- what others say ------------------------------------------------------------------------------------------------


def _pipeline(evidence, scenario):
    return evidence.plan["scenarios"][scenario]["pipeline"]


def _data(execution, stage):
    return execution.outputs.get(stage, {}).get("data") or {}


def _uploads(evidence, execution):
    return [receipt for receipt in evidence.receipts(execution.name) if receipt.get("service") == "uploads"]


def _pieces(evidence, execution):
    """Receipts of pieces that were acknowledged. `offset` is where the far end stood then: at the piece's end."""
    return [r for r in _uploads(evidence, execution) if not r.get("first") and "bytes" in r and r.get("status", 204) == 204]


def _largest(evidence, execution):
    return max((r["bytes"] for r in _pieces(evidence, execution) if type(r["bytes"]) is int), default=0)


def _counters(execution):
    """The notes of the wire's counters, as far as they are something."""
    said = _data(execution, "verify").get("counters")
    shape = {"boot": str, "at_ns": int, "stage": str, "interface": str, "sent": int, "received": int}
    rows = said if isinstance(said, list) else []
    return [row for row in rows if isinstance(row, dict) and all(type(row.get(key)) is kind for key, kind in shape.items())]


def _boots(rows):
    """(first, last) of each boot: its counters began at zero."""
    found = {}
    for row in rows:
        first, _ = found.get(row["boot"], (row, row))
        found[row["boot"]] = (first, row)
    return list(found.values())


def _restarts(execution):
    return max(len(execution.cuts), len(execution.of_kind("restored")))


def _interruptions(evidence, execution):
    """Restarts, outages that came on, and pieces that were refused because they were damaged."""
    outages = sum(bool(said.get("on")) and said.get("fault") in ("offline", "jamming") for said in evidence.faults(execution.name))
    return _restarts(execution) + outages + sum(r.get("status") == 460 for r in _uploads(evidence, execution))


def _probe_bytes(evidence, execution, rows):
    """What the run's own probe put on the wire between the notes of each boot: its packets are numbered, so the lost ones count, too.

    Each time that the probe is started it numbers from the beginning, and it says only how the boot id begins.
    """
    packets = 0
    for first, last in _boots(rows):
        numbers = {}
        for line in evidence.link(execution.name):
            boot = _plain(line.get("boot"))
            if boot and _plain(first["boot"]).startswith(boot) and first["at_ns"] <= line["sent_ns"] <= last["at_ns"]:
                numbers.setdefault(line.get("started_ms"), []).append(line["sequence"])
        packets += sum(max(each) - min(each) + 3 for each in numbers.values())
    return packets * PROBE_BYTES


def _sampled(execution, boot, from_ns, to_ns):
    """Bytes that left over all links by the telemetry of this boot, from the sample before to the one behind; None: one is missing."""
    samples = [
        (record.boottime_ns, value)
        for record in execution.of_kind("sample")
        if _plain(record.boot_id) == _plain(boot)
        for key, value in record.payload["metrics"].items()
        if key.startswith("system.network.io{") and "transmit" in key
    ]
    totals = {}
    for at_ns, value in samples:
        totals[at_ns] = totals.get(at_ns, 0) + value
    before, behind = [at for at in totals if at <= from_ns], [at for at in totals if at >= to_ns]
    return int(totals[min(behind)] - totals[max(before)]) if before and behind else None


def _plain(boot):
    return str(boot).replace("-", "")
