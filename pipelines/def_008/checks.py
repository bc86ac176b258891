"""What DEF-008 checks beyond the checks that every entry has: what came over a jammed link, in which order, and what became of the rest.

    what was shipped ─► every message there can be, its bytes and its place in the order   computed here, in another way
    receipts           what came to the far end, in the order of arrival                   nobody but the far end writes them
    faults             when the link was jammed, by the device's guard                     carried to the far end's clock by the hellos
    account            the device's own log of its queue                                   only believed where the others bear it out

What can be known of the order: messages are queued in the order of the watch, an audit record before the report that it is about, and
one is under way at a time. So when a report comes, every audit record before it in the watch was queued when the report was chosen,
and must have come before it; and once another message came that could only be chosen after it was gone, none comes again.
"""

import functools
import hashlib
import json
import re
from pathlib import Path

BOUND_RECORDS, BOUND_BYTES = 96, 32_000
IN_FLIGHT_S = 3.0  # what was sent before, and a slow guard that notes a step when it is done
RESUME_LIMIT_S = 30.0  # pause, connection and acknowledgement at their longest, and a slow board
RECEIPTS = "results/journal/receipts.jsonl"
_DATA = Path(__file__).parent / "mocks" / "data"
_WATCHES = {  # pipeline → what it reads
    "baseline": "happy_path/watch_valid_144.csv",
    "stress": "scale/watch_valid_372.csv",
    "chaos": "happy_path/watch_valid_144.csv",
    "adversarial": "adversarial/watch_malformed_60.csv",
    "recovery": "happy_path/watch_valid_144.csv",
}
_LINE = re.compile(
    r"(?P<source>radar|acoustic|camera|node),(?P<number>[0-9]{1,12}),(?P<clock>[0-9]{1,12}),"
    r"(?P<kind>report|sync|auth_failure|seal_open|key_use|config_change),(?P<value>-?[0-9]{1,12})"
)
_WHAT = ("put", "drop", "try", "ack", "late", "lost")


# ---- what must be ---------------------------------------------------------------------------------------------


def _decision(kind, value):
    rules = {
        "report": [("rejected", value < 0 or value > 100), ("contact", value > 79), ("routine", True)],
        "auth_failure": [("lock_out", value > 2), ("noted", True)],
        "seal_open": [("alarm", True)],
    }
    return next(name for name, so in rules.get(kind, [("noted", True)]) if so)


def _expected(evidence, scenario):
    """Every message of the scenario's watch in the order in which it is queued: (id, kind, its bytes)."""
    return _messages(_WATCHES[evidence.plan["scenarios"][scenario]["pipeline"]])


@functools.cache
def _messages(name):
    lines = (_DATA / name).read_text(encoding="utf-8").splitlines()[1:]
    found = [match.groupdict() for match in map(_LINE.fullmatch, lines) if match]
    found = [said for said in found if said["kind"] == "sync" or (said["kind"] == "report") == (said["source"] != "node")]
    ahead, items = {}, {}
    for said in found:
        if said["kind"] == "sync":
            ahead.setdefault(said["source"], int(said["clock"]) - int(said["value"]))
        else:
            items.setdefault((said["source"], int(said["number"])), said)
    order = sorted((int(said["clock"]) - ahead.get(key[0], 0), *key) for key, said in items.items())
    messages, previous, records = [], "0" * 64, 0
    for at_ms, source, number in order:
        said = items[source, number]
        value, about = int(said["value"]), f"{source}-{number}"
        decision = _decision(said["kind"], value)
        if decision != "routine":
            records += 1
            record = {"about": about, "at_ms": at_ms, "decision": decision, "value": value}
            record |= {"id": f"a-{records:05}", "kind": "audit", "previous": previous}
            previous = hashlib.sha256(_bytes(record)).hexdigest()
            messages.append((record["id"], "audit", _bytes({**record, "hash": previous})))
        if said["kind"] == "report" and decision != "rejected":
            report = {"at_ms": at_ms, "decision": decision, "id": f"t-{about}", "kind": "telemetry", "value": value}
            messages.append((report["id"], "telemetry", _bytes(report)))
    return tuple(messages)


def _bytes(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


# ---- what came, and in which order ----------------------------------------------------------------------------


def only_what_was_queued_came(evidence, scenario):
    """Each message that came is one of the watch's, byte for byte, under its own topic and with quality of service 1."""
    expected = {id: (kind, hashlib.sha256(data).hexdigest(), len(data)) for id, kind, data in _expected(evidence, scenario)}
    problems = []
    for execution in evidence.of(scenario):
        for receipt in _receipts(evidence, execution):
            id = receipt.get("id")
            if id not in expected:
                problems.append((f"{execution.name}: a message {str(id)[:60]!r} came, and the watch has none of that name", RECEIPTS))
                continue
            kind, digest, size = expected[id]
            if (receipt.get("sha256"), receipt.get("bytes")) != (digest, size):
                problems.append((f"{execution.name}: {id} came with other bytes than it has", RECEIPTS))
            if (receipt.get("topic"), receipt.get("qos")) != (f"{execution.name}/{kind}", 1):
                said = f"{execution.name}: {id} came under {str(receipt.get('topic'))[:80]!r} with QoS {receipt.get('qos')}"
                problems.append((said, RECEIPTS))
    return problems


def no_duplicates(evidence, scenario):
    """A message comes again only where its acknowledgement may have been lost: never more often than it was tried, by the log."""
    messages = _expected(evidence, scenario)
    problems = []
    for execution in evidence.of(scenario):
        rows, where = _log(execution, len(messages), problems)
        if rows is None:
            continue
        came = _counted(str(receipt.get("id")) for receipt in _receipts(evidence, execution))
        tried = _counted(messages[number - 1][0] for _, _, what, number, *_ in rows if what == "try")
        answered = {messages[number - 1][0] for _, _, what, number, *_ in rows if what in ("ack", "late")}
        more = [f"{id} came {count} times and was tried {tried.get(id, 0)} times" for id, count in came.items() if count > tried.get(id, 0)]
        problems += _said(execution, more, RECEIPTS)
        never = [f"{id} was acknowledged, and never came" for id in sorted(answered) if id not in came]
        problems += _said(execution, never, where)
    return problems


def acknowledged_is_gone(evidence, scenario):
    """What was acknowledged, and removed, is never sent again: not by the log, and not by the order in which messages came."""
    messages = _expected(evidence, scenario)
    kinds = {id: kind for id, kind, _ in messages}
    problems = []
    for execution in evidence.of(scenario):
        gone, under_way, again = set(), set(), []
        for id in (receipt.get("id") for receipt in _receipts(evidence, execution)):
            if id in gone:
                again.append(f"{id} came again after it was gone")
            if id in kinds:  # what is first is not gone as long as only audit records come, which go before it
                behind = {other for other in under_way - {id} if kinds[id] == "telemetry" or kinds[other] == "audit"}
                gone |= behind
                under_way = (under_way - behind) | {id}
        problems += _said(execution, again, RECEIPTS)
        rows, where = _log(execution, len(messages), problems)
        problems += _said(execution, _replayed(rows or [], messages)["gone"], where)
    return problems


def audit_first(evidence, scenario):
    """No report came before an audit record that was queued before it; each kind came by age. The log's choices were the same."""
    messages = _expected(evidence, scenario)
    places = {id: place for place, (id, _, _) in enumerate(messages)}
    problems = []
    for execution in evidence.of(scenario):
        firsts = [id for id in dict.fromkeys(receipt.get("id") for receipt in _receipts(evidence, execution)) if id in places]
        came, wrong = set(), []
        latest = {"audit": -1, "telemetry": -1}
        audits = [id for id, kind, _ in messages if kind == "audit"]
        for id in firsts:
            kind = messages[places[id]][1]
            if places[id] < latest[kind]:
                wrong.append(f"{id} came after {messages[latest[kind]][0]}, which is younger")
            latest[kind] = max(latest[kind], places[id])
            if kind == "telemetry":
                passed = next((audit for audit in audits if places[audit] < places[id] and audit not in came), None)
                if passed:
                    wrong.append(f"{id} came before {passed}, which was queued before it")
            came.add(id)
        problems += _said(execution, wrong, RECEIPTS)
        rows, where = _log(execution, len(messages), problems)
        problems += _said(execution, _replayed(rows or [], messages)["first"], where)
    return problems


# ---- what did not come ----------------------------------------------------------------------------------------


def no_audit_record_lost(evidence, scenario):
    """Every audit record came with its right hash, so that the chain is whole; none was dropped, and the node has the chain's head."""
    messages = _expected(evidence, scenario)
    chain = {id: hashlib.sha256(data).hexdigest() for id, kind, data in messages if kind == "audit"}
    last = next((json.loads(data) for _, kind, data in reversed(messages) if kind == "audit"), {"hash": "0" * 64})
    problems = []
    for execution in evidence.of(scenario):
        came = {receipt.get("id"): receipt.get("sha256") for receipt in _receipts(evidence, execution)}
        lost = [f"audit record {id} never came" for id in chain if id not in came]
        lost += [f"audit record {id} breaks the chain" for id, digest in chain.items() if came.get(id, digest) != digest]
        problems += _said(execution, lost, RECEIPTS)
        told = execution.outputs["audit"]["data"] if "audit" in execution.outputs else {}
        found = {key: told.get(key) for key in ("records", "head", "messages")}
        if found != {"records": len(chain), "head": last["hash"], "messages": len(messages)}:
            problems.append((f"{execution.name}: the node has the chain {found}", execution.journal_file))
        rows, where = _log(execution, len(messages), problems)
        dropped = [messages[number - 1][0] for _, _, what, number, *_ in rows or [] if what == "drop"]
        problems += _said(execution, [f"audit record {id} was dropped" for id in dropped if id in chain], where)
    return problems


def telemetry_accounted_for(evidence, scenario):
    """Each report that never came was dropped from a full queue, one by one in the log, the oldest first; and one that did come, though it
    was dropped, had been tried before."""
    messages = _expected(evidence, scenario)
    problems = []
    for execution in evidence.of(scenario):
        rows, where = _log(execution, len(messages), problems)
        if rows is None:
            continue
        came = {receipt.get("id") for receipt in _receipts(evidence, execution)}
        dropped = {messages[number - 1][0] for _, _, what, number, *_ in rows if what == "drop"}
        tried = {messages[number - 1][0] for _, _, what, number, *_ in rows if what == "try"}
        reports = [id for id, kind, _ in messages if kind == "telemetry"]
        wrong = [f"{id} never came, and was not dropped" for id in reports if id not in came | dropped]
        wrong += [f"{id} was dropped without having been tried, and came" for id in reports if id in (came & dropped) - tried]
        problems += _said(execution, wrong, where)
        problems += _said(execution, _replayed(rows, messages)["dropped"], where)
    return problems


def everything_came_once(evidence, scenario):
    """Over a link that nobody disturbs every message comes, and exactly once; nothing is dropped."""
    messages = _expected(evidence, scenario)
    problems = []
    for execution in evidence.of(scenario):
        came = _counted(receipt.get("id") for receipt in _receipts(evidence, execution))
        wrong = [f"{id} came {came.get(id, 0)} times" for id, _, _ in messages if came.get(id, 0) != 1]
        problems += _said(execution, wrong, RECEIPTS)
    return problems


def queue_bounded(evidence, scenario):
    """The queue was never longer than its bound in records or bytes: its log says so, and adds up; at the end it is empty."""
    messages = _expected(evidence, scenario)
    problems = []
    for execution in evidence.of(scenario):
        rows, where = _log(execution, len(messages), problems)
        if rows is not None:
            problems += _said(execution, _replayed(rows, messages)["bounded"], where)
    return problems


# ---- the schedule of the jammer -------------------------------------------------------------------------------


def nothing_came_through_the_jam(evidence, scenario):
    """While the link was jammed so that nothing passes, nothing came, by clocks that were compared (give or take what was in flight)."""
    problems = []
    for execution in evidence.of(scenario):
        if _links(evidence, scenario) and not evidence.faults(execution.name):
            problems.append((f"{execution.name}: nothing says when its link was disturbed", "results/journal/device-guard.journal"))
        for word, began_ns, ended_ns, slack_ns, _ in _jammed(evidence, scenario, execution):
            inside = [r for r in _receipts(evidence, execution) if began_ns + slack_ns < r["boottime_ns"] < ended_ns - slack_ns]
            if inside:
                said = f"{len(inside)} messages came while the link was jammed ({word}), {inside[0].get('id')} the first of them"
                problems.append((f"{execution.name}: {said}", RECEIPTS))
    return problems


def delivery_resumes(evidence, scenario):
    """When a jam ends that let nothing through, the next message comes within RESUME_LIMIT_S, if any is still to come."""
    problems = []
    cuts = [record.boottime_ns for record in evidence.coordinator if record.kind in ("cutting", "cut")]
    for execution in evidence.of(scenario):
        jams = _jammed(evidence, scenario, execution)
        for _, _, ended_ns, slack_ns, reverted in jams:
            limit_ns = ended_ns + int(RESUME_LIMIT_S * 1e9) + slack_ns
            disturbed = [at for at in (*cuts, *(jam[1] for jam in jams)) if ended_ns - slack_ns <= at <= limit_ns]
            later = [r["boottime_ns"] for r in _receipts(evidence, execution) if r["boottime_ns"] >= ended_ns - slack_ns]
            if reverted and not disturbed and later and min(later) > limit_ns:
                took_s = (min(later) - ended_ns) / 1e9
                problems.append((f"{execution.name}: {took_s:.1f} s until a message came again, limit {RESUME_LIMIT_S:g} s", RECEIPTS))
    return problems


def _jammed(evidence, scenario, execution):
    """Each time in which nothing could pass, by the coordinator's clock: (word, from, to, slack, whether it was taken back).

    Only where every jammer of the scenario is of a kind that lets nothing through. A boot that nobody said hello to is left out.
    """
    if any(fault.get("jammer") not in ("constant", "random", "deceptive") for fault in _links(evidence, scenario)):
        return []
    clocks, found, began = _clocks(evidence), [], {}
    powers = [record.boottime_ns for record in evidence.coordinator if record.kind in ("cutting", "execution_ended")]
    for said in [*evidence.faults(execution.name), None]:
        for program, start in list(began.items()):
            over = said is None or (said["program"] == program and not said["on"])
            if over or said["boot_id"] != start["boot_id"]:  # its end was never noted: it lasted to the next cut at most
                offset_ns, bound_ns = clocks[start["boot_id"]]
                from_ns = start["boottime_ns"] + offset_ns
                noted = said is not None and said["boot_id"] == start["boot_id"]
                to_ns = said["boottime_ns"] + offset_ns if noted else min((at for at in powers if at > from_ns), default=from_ns)
                found.append((start["word"], from_ns, to_ns, bound_ns + int(IN_FLIGHT_S * 1e9), noted))
                del began[program]
        if said is not None and said["on"] and "jamming" in said["fault"] and said["boot_id"] in clocks:
            began.setdefault(said["program"], said)
    return found


def _links(evidence, scenario):
    """The link faults of a scenario's profiles."""
    named = evidence.plan["scenarios"][scenario].get("profile", [])
    profiles = [evidence.plan.get("profiles", {}).get(name, {}) for name in ([named] if isinstance(named, str) else named)]
    return [fault for profile in profiles for fault in profile.get("faults", ()) if fault["fault"] not in ("steady", "power_cut", "tamper")]


def _clocks(evidence):
    """Boot id → what to add to the device's clock for the coordinator's, and how far that may be off; the best hello of each boot."""
    clocks = {}
    for record in evidence.coordinator:
        said = record.payload
        if record.kind in ("hello", "recovered", "reattached", "returned") and "answered_boottime_ns" in said:
            asked, answered = said["asked_boottime_ns"], said["answered_boottime_ns"]
            found = ((asked + answered) // 2 - said["boottime_ns"], (answered - asked) // 2)
            clocks[said["boot_id"]] = min(clocks.get(said["boot_id"], found), found, key=lambda clock: clock[1])
    return clocks


# ---- the log of the queue -------------------------------------------------------------------------------------


def _log(execution, messages, problems):
    """Rows of the account's log, and where they stand; None, with a problem noted, for one that is none."""
    finished = [record for record in execution.of_kind("stage_finished") if record.payload.get("stage") == "account"]
    where = execution.where(finished[-1]) if finished else execution.journal_file
    told = execution.outputs["account"]["data"] if "account" in execution.outputs else {}
    rows = told.get("log")
    if not isinstance(rows, list):
        problems.append((f"{execution.name}: it gave no account of its queue", where))
        return None, where
    for row in rows:
        if not isinstance(row, list) or len(row) != 6 or row[2] not in _WHAT or any(type(row[at]) is not int for at in (0, 1, 3, 4, 5)):
            problems.append((f"{execution.name}: a line of its account is {str(row)[:80]}", where))
            return None, where
        if not 1 <= row[3] <= messages:
            problems.append((f"{execution.name}: its account speaks of message {row[3]} of {messages}", where))
            return None, where
    return rows, where


def _replayed(rows, messages):
    """The log gone through once more: what is wrong with it, as lists of words under `bounded`, `first`, `gone` and `dropped`."""
    wrong = {"bounded": [], "first": [], "gone": [], "dropped": []}
    queued, fed, done, size = {}, 0, set(), 0
    longest = max((len(data) for _, _, data in messages), default=0)
    for place, (_, _, what, number, records, held) in enumerate(rows, 1):
        id, kind, data = messages[number - 1]
        if what in ("put", "drop") and number > fed:
            if number != fed + 1:
                wrong["dropped"].append(f"line {place}: {id} was fed, and {number - fed - 1} before it were not")
            fed = number
            if what == "put":
                queued[number] = kind
                size += len(data)
            elif len(queued) < BOUND_RECORDS and size + len(data) <= BOUND_BYTES:
                wrong["dropped"].append(f"line {place}: {id} was dropped, and there was room for it")
        elif what == "put":
            wrong["gone"].append(f"line {place}: {id} was queued a second time")
        elif what == "drop":
            if number != min((other for other in queued if queued[other] == "telemetry"), default=None):
                wrong["dropped"].append(f"line {place}: {id} was dropped, and was not the oldest report in the queue")
            elif len(queued) < BOUND_RECORDS and size + longest <= BOUND_BYTES:
                wrong["dropped"].append(f"line {place}: {id} was dropped from a queue of {len(queued)} records")
        elif what == "try":
            first = min(queued, key=lambda other: (queued[other] != "audit", other), default=None)
            if number in done:
                wrong["gone"].append(f"line {place}: {id} was tried after it was acknowledged")
            elif number != first:
                said = f"while {messages[first - 1][0]} was first" if first else "and was not queued"
                wrong["first"].append(f"line {place}: {id} was tried {said}")
        elif what in ("ack", "late"):
            done.add(number)
            if (what == "ack") != (number in queued):
                said = "removed, and was not queued" if what == "ack" else "still queued, and was not removed"
                wrong["gone"].append(f"line {place}: {id} was acknowledged and {said}")
        if what in ("ack", "drop") and queued.pop(number, None):
            size -= len(data)
        if (records, held) != (len(queued), size):
            wrong["bounded"].append(f"line {place} says {records} records of {held} bytes; it adds up to {len(queued)} of {size}")
            break
        if len(queued) > BOUND_RECORDS or size > BOUND_BYTES:
            wrong["bounded"].append(f"line {place}: {len(queued)} records of {size} bytes, bound {BOUND_RECORDS} of {BOUND_BYTES}")
            break
    if fed != len(messages):
        wrong["dropped"].append(f"only {fed} of {len(messages)} messages were fed")
    if queued and not wrong["bounded"]:
        wrong["bounded"].append(f"{len(queued)} messages were still queued at the end")
    return wrong


def _receipts(evidence, execution):
    return [receipt for receipt in evidence.receipts(execution.name) if receipt.get("service") == "mqtt"]


def _counted(words):
    counts = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


def _said(execution, wrong, where):
    """Many of a kind as one problem: how many, and the first of them."""
    more = f" (and {len(wrong) - 1} more like it)" if wrong[1:] else ""
    return [(f"{execution.name}: {wrong[0]}{more}", where)] if wrong else []
