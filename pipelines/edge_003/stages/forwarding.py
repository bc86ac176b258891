"""Store and forward: the queue is emptied in its order, one record at a time, each until somebody has said that they have it.

    next ─► PUT ─► 201, 200 (they had these very bytes: an answer of theirs was lost) ─► sent, on the disk
             │     409: somebody else's bytes are there under its name ─► the same record under a name with its own hash in it
             └──── no answer ─► pause, doubled each time up to a cap ─► the same again

Names are hashes of what was seen, so that asking twice does no harm. A record that is refused under both of its names is kept
and holds up no other.
"""

import hashlib
import time

from .far_end import Unreachable

GIVE_UP_S = 600.0  # without any answer at all


def drain(outbox, far_end, pace_s=0.0, tries=None, give_up_s=GIVE_UP_S, sleep=time.sleep, clock=time.monotonic):
    """Empties the queue, and tells how that went. Ends early after `give_up_s` without an answer, or `tries` questions without one."""
    told = {"sent": 0, "had_it": 0, "unanswered": 0, "odd_answers": 0}
    heard, in_vain = clock(), 0
    while (owed := outbox.next()) is not None:
        sequence, record, body, priority = owed
        try:
            name, status = put(far_end, sequence, record, body, priority)
        except Unreachable:
            told["unanswered"] += 1
            name, status = None, 0
        else:
            heard = clock()
        if status in (200, 201):
            outbox.sent(sequence, name)
            told["sent"] += 1
            told["had_it"] += status == 200
            in_vain = 0
            sleep(pace_s)
        elif status == 409:
            outbox.refused(sequence)
            in_vain = 0
        else:
            told["odd_answers"] += status != 0
            in_vain += 1
            if clock() - heard >= give_up_s or in_vain == tries:
                break
            sleep(far_end.patience.pause_s)
    return {**told, "renamed": outbox.renamed(), "refused": outbox.given_up, "left": outbox.depth}


def put(far_end, sequence, record, body, priority):
    """(the name that it was put under, the last answer's status)."""
    status = far_end.put(record, body, sequence, priority).status
    if status != 409:
        return record, status
    name = other_name(record, body)
    return name, far_end.put(name, body, sequence, priority).status


def other_name(record, body):
    """A name that nobody can have taken for other bytes than these."""
    return f"{record}-{hashlib.sha256(body).hexdigest()[:16]}"
