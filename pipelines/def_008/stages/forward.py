"""From messages to the other side: the queue is fed and drained at the same time, each by a stage of its own.

    messages.json ─► queue ─► outbox.db ─► send ─► MQTT, QoS 1      account: what became of each message
                     one every `pace_s`    one at a time

One message is under way at a time, so that audit records really come first. A try that nobody answers ends its connection; the next
one begins after a pause that doubles up to LONGEST_PAUSE_S, and sends what has the first place then. What was tried, acknowledged
and dropped is on the disk (see outbox.py), so a restart goes on in the middle.

These outputs tell what happened on the link, and so are not the same each time.
"""

import asyncio
import os
import time

from stageflow import StageOutput

from .files import load
from .link import ACK_LIMIT_S, Link, LinkDown
from .outbox import Outbox, boot_id
from .watch import MESSAGES

OUTBOX = "outbox.db"
GIVE_UP_S = 230  # less than a stage's time on a board: what is left then is told, and not killed
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 4.0
IDLE_S = 0.1


class Queue:
    """Feeds the messages into the queue, one every `pace_s`, as they would come; from where an earlier life of it stopped."""

    def __init__(self, pace_s):
        self.pace_s = pace_s

    async def execute(self, ctx):
        outbox = Outbox(OUTBOX)
        try:
            await feed(outbox, load(MESSAGES), self.pace_s)
            return StageOutput.ok({"files": [], "fed": outbox.fed})
        finally:
            outbox.close()


class Send:
    """Sends until the feed is over and the queue empty, or GIVE_UP_S; waits `ack_limit_s` for each acknowledgement."""

    def __init__(self, ack_limit_s=ACK_LIMIT_S):
        self.ack_limit_s = ack_limit_s

    async def execute(self, ctx):
        outbox = Outbox(OUTBOX)
        try:
            await asyncio.to_thread(drain, outbox, len(load(MESSAGES)), time.monotonic() + GIVE_UP_S, self.ack_limit_s)
            return StageOutput.ok({"files": [], "left": len(outbox.left())})
        finally:
            outbox.close()


class Account:
    """The whole log of the queue: what was queued, tried, acknowledged and dropped, when, and how deep the queue was."""

    async def execute(self, ctx):
        outbox = Outbox(OUTBOX)
        try:
            return StageOutput.ok({"files": [], **account(outbox)})
        finally:
            outbox.close()


class SendFromMemory:
    """The same without a disk, as a stage is written when nobody thinks of the power: fed, drained and accounted in one."""

    def __init__(self, pace_s):
        self.pace_s = pace_s

    async def execute(self, ctx):
        outbox = Outbox(":memory:")
        messages = load(MESSAGES)
        draining = asyncio.create_task(asyncio.to_thread(drain, outbox, len(messages), time.monotonic() + GIVE_UP_S))
        await feed(outbox, messages, self.pace_s)
        await draining
        return StageOutput.ok({"files": [], **account(outbox)})


class Report:
    """The account that came with the stage before."""

    async def execute(self, ctx):
        kept = ("log", "boots", "left", "tries", "unanswered", "dropped", "deepest")
        return StageOutput.ok({"files": [], **{key: ctx.inputs.get_from("send", key) for key in kept}})


async def feed(outbox, messages, pace_s):
    end = time.monotonic() + GIVE_UP_S
    for number, (id, kind, payload) in enumerate(messages[outbox.fed :], outbox.fed + 1):
        while not outbox.put(number, id, kind == "audit", payload.encode()):
            if time.monotonic() > end:
                raise TimeoutError(f"the queue is full of audit records, and had no room for {id} within {GIVE_UP_S} s")
            await asyncio.sleep(IDLE_S)
        await asyncio.sleep(pace_s)


def drain(outbox, total, until, ack_limit_s=ACK_LIMIT_S):
    """Sends what is first, until everything was fed and is gone, or the time is up."""
    address, topic = os.environ.get("FAR_END_MQTT", ""), os.environ.get("FAR_END_TOPIC", "")
    if not address or not topic:
        raise RuntimeError("FAR_END_MQTT and FAR_END_TOPIC do not say where the other side is")
    link, opened, failed = None, 0, 0
    name = f"{topic}-{boot_id()[:8]}-{os.getpid()}"
    while time.monotonic() < until:
        fed = outbox.fed >= total  # asked first: what is queued after it is taken below
        tried = None
        try:
            if not outbox.left():
                if fed:
                    break
                link.idle(IDLE_S) if link else time.sleep(IDLE_S)
                continue
            if link is None:
                opened += 1
                link = Link(address, f"{name}-{opened}", ack_limit_s)
            tried = outbox.take()  # chosen only now: an audit record may have come meanwhile
            if tried:
                number, audit, payload = tried
                link.send(f"{topic}/{'audit' if audit else 'telemetry'}", payload)
                outbox.acked(number)
                failed = 0
        except LinkDown as error:
            print(f"link: {error}", flush=True)
            link = None
            if tried:
                outbox.unanswered(tried[0])
            pause_s = min(FIRST_PAUSE_S * 2**failed, LONGEST_PAUSE_S)
            failed += 1
            time.sleep(max(0.0, min(pause_s, until - time.monotonic())))
    if link:
        link.close()


def account(outbox):
    """The log in as few words as it goes, and what it adds up to."""
    log = outbox.log()
    boots = list(dict.fromkeys(boot for _, boot, *_ in log))
    count = {what: sum(row[2] == what for row in log) for what in ("try", "lost")}
    return {
        "log": [[at_ms, boots.index(boot), *rest] for at_ms, boot, *rest in log],
        "boots": boots,
        "left": outbox.left(),
        "tries": count["try"],
        "unanswered": count["lost"],
        "dropped": [row[3] for row in log if row[2] == "drop"],
        "deepest": max((row[4] for row in log), default=0),
    }
