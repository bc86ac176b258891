"""A snapshot of a conversation of 2 MiB is to be kept. As a dict that is written as JSON it holds every word twice."""

import asyncio
import json
import tracemalloc
import uuid
from datetime import UTC, datetime

from stageflow.context import ContextSnapshot, Conversation, Message, RunIdentity

MESSAGES, BYTES = 32, 64 * 1024


async def reproduce():
    said = [Message(role="user", content="x" * BYTES, timestamp=datetime.now(UTC)) for _ in range(MESSAGES)]
    snapshot = ContextSnapshot(run_id=RunIdentity(pipeline_run_id=uuid.UUID(int=1)), conversation=Conversation(messages=said))
    tracemalloc.start()
    text = json.dumps(snapshot.to_dict(), default=str)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"content_bytes": MESSAGES * BYTES, "json_bytes": len(text), "peak_bytes": peak}


if __name__ == "__main__":
    print(asyncio.run(reproduce()))
