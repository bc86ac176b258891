"""What EDGE-003 checks beyond the checks that every entry has: that headquarters knows everything, once, in order, and truly.

Nothing here trusts the device where anybody else can tell. What was to be found is computed again from the events that were
shipped; what arrived is the far end's word (receipts); when the link was cut is the guard's (faults).

A finding's source is the device's own word. It is held against both others:

    "remote"     the far end has answered a lookup of that machine for each of them, and no outage covers the whole of its span
    "fallback"   nobody answered: some fault was on within its span      404, or no sense: the far end does not know the machine

What nobody can know: whether an answer that the far end gave right when the link went has arrived. So near the edges of an outage
(EDGE_S) either source is right.
"""

import csv
import hashlib
import json
from itertools import pairwise
from pathlib import Path

_MOCKS = Path(__file__).parent / "mocks"
_EVENTS = {"stress": "scale/events_valid_3k.csv", "adversarial": "adversarial/events_strangers_240.csv"}
_LIMITS = {"vibration": (710, 200), "temperature": (900, 210)}  # over the first, or by more than the second above the last
_EDGE_S = 2.0  # how far the guard's note of a step and the step itself may lie apart, on a board that is busy
_RECEIPTS = "results/journal/receipts.jsonl"


def findings_true(evidence, scenario):
    """What was found is what the shipped events hold, each with what its source knows of the machine, worst first; computed again here."""
    problems = []
    for execution, expected in _each(evidence, scenario):
        said = _data(execution, "detect").get("ids")
        if "detect" in execution.outputs and said != [finding["id"] for finding in expected]:
            found = f"detect found {_size(said)}, and not the {len(expected)} that there are"
            problems.append((f"{execution.name}: {found}", execution.journal_file))
        if "rank" in execution.outputs:
            bodies, order = _bodies(execution, expected)
            if _data(execution, "rank").get("order") != order:
                problems.append((f"{execution.name}: not ranked by limit and criticality", execution.journal_file))
            queued = [[each, _sha256(bodies[each])] for each in order]
            if "queue" in execution.outputs and _data(execution, "queue").get("bodies") != queued:
                problems.append((f"{execution.name}: what was queued is not what was found", execution.journal_file))
    return problems


def nothing_lost(evidence, scenario):
    """Every finding that the shipped events hold has arrived at the far end, whole, and nothing has that they do not hold."""
    problems = []
    for execution, expected in _each(evidence, scenario):
        bodies, _ = _bodies(execution, expected)
        hashes = {each: _sha256(body) for each, body in bodies.items()}
        arrived = {}
        for receipt in _records(evidence, execution):
            arrived.setdefault(receipt.get("id"), receipt.get("sha256"))
        for finding in expected:
            name, sha256 = finding["id"], hashes[finding["id"]]
            if sha256 not in (arrived.get(name), arrived.get(f"{name}-{sha256[:16]}")):
                found = "with other bytes" if arrived.get(name) else "never"
                problems.append((f"{execution.name}: finding {finding['number']} ({name}) arrived {found}", _RECEIPTS))
        allowed = {*hashes, *(f"{name}-{sha256[:16]}" for name, sha256 in hashes.items())}
        for name in [name for name in arrived if name not in allowed]:
            problems.append((f"{execution.name}: {name} arrived, which is no finding of these events", _RECEIPTS))
        if "forward" in execution.outputs and _data(execution, "forward").get("left") != 0:
            said = _data(execution, "forward").get("left")
            problems.append((f"{execution.name}: {said} findings are still in the queue when the pipeline ends", execution.journal_file))
    return problems


def received_once(evidence, scenario):
    """Each finding was new at the far end exactly once. It came again only with the same bytes, and not oftener than acknowledgements
    can have been lost: one for each time that a link fault came on, and for each restart."""
    problems = []
    for execution, expected in _each(evidence, scenario):
        hashes = {_sha256(body): name for name, body in _bodies(execution, expected)[0].items()}
        news, repeats = {}, []
        for receipt in _records(evidence, execution):
            finding = hashes.get(receipt.get("sha256"))
            if finding is None:
                continue  # not ours: `nothing_lost` tells of those that should not be there
            if _refused(receipt):
                continue
            if receipt.get("first"):
                news[finding] = news.get(finding, 0) + 1
            else:
                repeats.append((finding, receipt))
        for finding, times in news.items():
            if times != 1:
                problems.append((f"{execution.name}: {finding} was new {times} times", _RECEIPTS))
        for finding in sorted({finding for finding, _ in repeats} - set(news)):
            problems.append((f"{execution.name}: {finding} came again and had never come", _RECEIPTS))
        bound = _acknowledgements_at_risk(evidence, execution)
        if len(repeats) > bound:
            said = f"{len(repeats)} records were sent again, and at most {bound} acknowledgements can have been lost"
            problems.append((f"{execution.name}: {said}", _RECEIPTS))
    return problems


def order_kept(evidence, scenario):
    """Findings arrived in the order of their rank, one after the other, none ahead of a worse one."""
    problems = []
    for execution, expected in _each(evidence, scenario):
        bodies, order = _bodies(execution, expected)
        hashes = {_sha256(body): name for name, body in bodies.items()}
        news = [r for r in _records(evidence, execution) if r.get("first") and r.get("sha256") in hashes]
        for place, (receipt, due) in enumerate(zip(news, order, strict=False), 1):
            found = hashes[receipt["sha256"]]
            if found != due or receipt.get("sequence") != place:
                said = f"at place {place} came {found} as number {receipt.get('sequence')}, due was {due}"
                problems.append((f"{execution.name}: {said}", _RECEIPTS))
                break  # all behind it are out of place, too
    return problems


def fallback_honest(evidence, scenario):
    """Each finding's source is what it can have been: "remote" with an answer of the far end's for it, and not inside an outage;
    "fallback" only where the link was at fault within its span, or where the far end does not know the machine."""
    table = json.loads((_MOCKS / "far_end" / "assets.json").read_text(encoding="utf-8"))
    problems = []
    for execution, expected in _each(evidence, scenario):
        if "enrich" not in execution.outputs:
            continue
        answers, claimed = {}, {}
        for receipt in evidence.receipts(execution.name):
            if receipt.get("service") == "lookup" and receipt.get("status", 200) == 200:
                key = receipt.get("key", receipt.get("id"))
                answers[key] = answers.get(key, 0) + 1
        faults, outages = _spans(evidence, execution), _spans(evidence, execution, ("offline",))
        lookups = _lookups(execution)
        for finding in expected:
            said, asset = lookups.get(finding["id"]), finding["asset"]
            about = f"{execution.name}: finding {finding['number']} of {asset}"
            if said is None or said.get("source") not in ("remote", "fallback"):
                problems.append((f"{about} does not say where it was looked up", execution.journal_file))
                continue
            span = (said.get("boot"), said.get("asked_ns"), said.get("answered_ns"))
            if said["source"] == "remote":
                claimed[asset] = claimed.get(asset, 0) + 1
                if asset not in table:
                    problems.append((f"{about} says remote, and the far end does not know that machine", execution.journal_file))
                elif claimed[asset] > answers.get(asset, 0):
                    problems.append((f"{about} says remote, and the far end has answered no such lookup", _RECEIPTS))
                elif any(_inside(span, outage) for outage in outages):
                    cut = "the link was cut from before it asked until behind it"
                    problems.append((f"{about} says remote, and {cut}", execution.journal_file))
            elif said.get("why") == "unreachable":
                if not any(_touches(span, fault) for fault in faults):
                    problems.append((f"{about} says that nobody answered, and nothing was wrong with the link", execution.journal_file))
            elif asset in table:
                problems.append((f"{about} says {said.get('why')!r}, and the far end knows that machine", execution.journal_file))
    return problems


def outage_met(evidence, scenario):
    """The outage, where there was one, fell into the enrichment: some findings could not be looked up, and some were. Else the run
    shows nothing of it. An enrichment that began again behind a power cut may lie in the outage as a whole."""
    problems = []
    for execution in evidence.of(scenario):
        if not any(fault.get("fault") == "offline" for fault in _planned(evidence, execution)):
            continue  # another profile was laid over it
        if not _spans(evidence, execution, ("offline",)):
            problems.append((f"{execution.name}: the outage that was planned never came", "results/journal/device-guard.journal"))
            continue
        sources = {said.get("source") for said in _lookups(execution).values()}
        wanted = {"fallback"} if any(cut.stage == "enrich" for cut in execution.cuts) else {"remote", "fallback"}
        if "enrich" in execution.outputs and not wanted <= sources:
            problems.append((f"{execution.name}: every finding says {' and '.join(sorted(map(str, sources)))}", execution.journal_file))
    return problems


def depth_told(evidence, scenario):
    """How deep the queue was is told over time: never deeper than there are findings, and empty at the end."""
    problems = []
    for execution, expected in _each(evidence, scenario):
        if "forward" not in execution.outputs:
            continue
        depths = _data(execution, "forward").get("depths")
        rows = depths if isinstance(depths, list) and depths else [None]
        if not all(isinstance(row, list) and len(row) == 3 and type(row[1]) is int and type(row[2]) is int for row in rows):
            problems.append((f"{execution.name}: nothing tells how deep the queue was", execution.journal_file))
            continue
        deepest = max(row[2] for row in rows)
        if deepest != len(expected) or min(row[2] for row in rows) < 0:
            problems.append((f"{execution.name}: the queue was {deepest} deep, of {len(expected)} findings", execution.journal_file))
        if rows[-1][2] != 0:
            problems.append((f"{execution.name}: the queue was {rows[-1][2]} deep at the end", execution.journal_file))
        if any(a[0] == b[0] and a[1] > b[1] for a, b in pairwise(rows)):
            problems.append((f"{execution.name}: the depth was told out of time", execution.journal_file))
    return problems


def poison_withstood(evidence, scenario):
    """Somebody else's bytes lay under one of our ids first, and that held up no other: the finding went out under its other name."""
    problems = []
    for execution, expected in _each(evidence, scenario):
        arrived = {r.get("id"): r.get("sha256") for r in reversed(_records(evidence, execution)) if r.get("first")}
        poisoned = [each["id"] for each in expected if arrived.get(each["id"]) == _sha256(_forged(each["id"]))]
        if len(poisoned) != 1:
            problems.append((f"{execution.name}: {len(poisoned)} ids were taken by somebody else, one was meant to be", _RECEIPTS))
        for name in poisoned if "forward" in execution.outputs else ():
            renamed = _data(execution, "forward").get("renamed")
            other = f"{name}-{_sha256(_bodies(execution, expected)[0][name])[:16]}"
            if other not in arrived or renamed != [[name, other]]:
                problems.append((f"{execution.name}: {name} was refused, and did not go out as {other}", execution.journal_file))
    return problems


def retry_heeded(evidence, scenario):
    """A stage that asked Stageflow for another try was given one."""
    problems = []
    for execution in evidence.of(scenario):
        for record in execution.of_kind("stage_finished"):
            stage = record.payload["stage"]
            asked = record.payload.get("status") == "retry"
            if asked and execution.outputs[stage].get("status") == "retry" and execution.of_kind("finished"):
                said = f"{stage} asked for another try ({record.payload.get('error')}), got none, and the pipeline ended as if all was well"
                problems.append((f"{execution.name}: {said}", execution.where(record)))
    return problems


# ---- what is right, computed from what was shipped ------------------------------------------------------------------


def _each(evidence, scenario):
    """Each execution, and the findings that its events hold."""
    pipeline = evidence.plan["scenarios"][scenario]["pipeline"]
    expected = _expected(_EVENTS.get(pipeline, "happy_path/events_valid_300.csv"))
    return [(execution, expected) for execution in evidence.of(scenario)]


def _expected(name):
    """The findings of a file, by going through it machine by machine and sensor by sensor."""
    series = {}
    with (_MOCKS / "data" / name).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["value"].isdigit() and row["sensor"] in _LIMITS:
                series.setdefault((row["asset"], row["sensor"]), []).append((int(row["number"]), int(row["second"]), int(row["value"])))
    found = []
    for (asset, sensor), events in series.items():
        limit, jump = _LIMITS[sensor]
        for place, (number, second, value) in enumerate(events):
            rose = value - events[place - 1][2] if place else 0
            if value > limit or rose > jump:
                seen = {"number": number, "second": second, "asset": asset, "sensor": sensor, "value": value}
                seen["kind"] = "limit" if value > limit else "jump"
                found.append({**seen, "id": _sha256(_canonical(seen))[:32]})
    return sorted(found, key=lambda finding: finding["number"])


def _bodies(execution, expected):
    """({id: its bytes}, ids by rank), from what the sources know; where the device does not say which source, the smaller table."""
    remote = json.loads((_MOCKS / "far_end" / "assets.json").read_text(encoding="utf-8"))
    local = json.loads((_MOCKS / "data" / "fallback" / "assets_fallback_3.json").read_text(encoding="utf-8"))
    lookups, whole = _lookups(execution), []
    for finding in expected:
        source = "remote" if lookups.get(finding["id"], {}).get("source") == "remote" else "fallback"
        kind = finding["asset"].split("-")[0]
        known = remote.get(finding["asset"], {}) if source == "remote" else local.get(kind, {"site": "unknown", "criticality": 9})
        criticality = known.get("criticality", 0)
        score = finding["value"] * 1000 // _LIMITS[finding["sensor"]][0] * criticality
        whole.append({**finding, "site": known.get("site"), "criticality": criticality, "source": source, "score": score})
    order = [finding["id"] for finding in sorted(whole, key=lambda finding: (-finding["score"], finding["number"]))]
    return {finding["id"]: _canonical(finding) for finding in whole}, order


def _canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _forged(name):
    """The intruder's bytes."""
    return json.dumps({"id": name, "kind": "nothing to see here"}).encode()


# ---- what others say ------------------------------------------------------------------------------------------------


def _data(execution, stage):
    return execution.outputs.get(stage, {}).get("data") or {}


def _size(value):
    return len(value) if isinstance(value, list) else "nothing"


def _lookups(execution):
    """{id: what the device says of its lookup}, as far as it is something."""
    said = _data(execution, "enrich").get("lookups")
    rows = said if isinstance(said, list) else []
    return {row["id"]: row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)}


def _records(evidence, execution):
    return [receipt for receipt in evidence.receipts(execution.name) if receipt.get("service") == "records"]


def _refused(receipt):
    return receipt.get("status") == 409


def _planned(evidence, execution):
    """The link faults that an execution was to have; of one that was not planned at first, by the coordinator's note of its beginning."""
    plans = [each for each in evidence.plan["executions"] if each["name"] == execution.stands_for]
    began = [each.payload for each in evidence.coordinator if each.kind == "execution_began"]
    plans += [each.get("plan") or {} for each in began if each.get("execution") == execution.name]
    return (plans[0].get("links") or []) if plans else []


def _acknowledgements_at_risk(evidence, execution):
    """Each time that a fault came on, one; not when it was put on again behind a restart, which is counted itself."""
    came_on = sum(bool(fault.get("on")) and not fault.get("replayed") for fault in evidence.faults(execution.name))
    return came_on + max(len(execution.cuts), len(execution.of_kind("restored")))


def _spans(evidence, execution, kinds=None):
    """(boot id, from, to in ns) for each time that a link fault was on; the end of the boot, where nothing says that it went off."""
    open_since, spans = {}, []
    for said in evidence.faults(execution.name):
        if kinds and said.get("fault") not in kinds:
            continue
        key = (_plain(said.get("boot_id")), said.get("program"))
        if said.get("on"):
            open_since.setdefault(key, said["boottime_ns"])
        elif key in open_since:
            spans.append((key[0], open_since.pop(key), said["boottime_ns"]))
    return spans + [(boot, began, float("inf")) for (boot, _), began in open_since.items()]


def _touches(span, fault):
    """Whether a fault was on at some time within the span, as far as anybody can tell."""
    edge = _EDGE_S * 1e9
    return _is_span(span) and fault[0] == _plain(span[0]) and span[1] <= fault[2] + edge and span[2] >= fault[1] - edge


def _inside(span, fault):
    """Whether the whole span lies well within the fault."""
    edge = _EDGE_S * 1e9
    return _is_span(span) and fault[0] == _plain(span[0]) and span[1] >= fault[1] + edge and span[2] <= fault[2] - edge


def _is_span(span):
    return type(span[1]) is int and type(span[2]) is int and span[1] <= span[2]


def _plain(boot):
    return str(boot).replace("-", "")
