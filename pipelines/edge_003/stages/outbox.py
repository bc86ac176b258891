"""The queue on the device's disk: what is in it survives a power cut, and what was taken out stays out.

    put ─► sequence 1, 2, 3 …   never the same id twice, so that a stage that runs again puts nothing in again
    next ─► the oldest that is still owed ─► sent(as what) | refused

Each call is one transaction, on the disk when it returns (synchronous=FULL). With each goes the depth that it left, and when:
so the depth over time survives, too.
"""

import os
import sqlite3

from .clock import boot_id, boottime_ns

_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS queue (sequence INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, body BLOB NOT NULL, priority INTEGER NOT NULL,
                                  sent_as TEXT, refused INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS depths (number INTEGER PRIMARY KEY, boot TEXT NOT NULL, boottime_ns INTEGER NOT NULL, depth INTEGER NOT NULL);
"""
_OWED = "sent_as IS NULL AND refused = 0"


class Outbox:
    def __init__(self, path="outbox.db"):
        new = not os.path.exists(path)
        self._db = sqlite3.connect(path, timeout=30)
        self._db.executescript(_SCHEMA)
        self._boot = boot_id()
        if new:
            folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def put(self, record, body, priority=0):
        """Whether it was new. One that is in there, sent or not, stays as it is."""
        with self._db:
            if self._db.execute("SELECT 1 FROM queue WHERE id = ?", (record,)).fetchone():
                return False
            self._db.execute(
                "INSERT INTO queue (sequence, id, body, priority) SELECT COALESCE(MAX(sequence), 0) + 1, ?, ?, ? FROM queue",
                (record, body, priority),
            )
            self._note_depth()
        return True

    def next(self):
        """(sequence, id, body, priority) of the oldest that is still owed, or None."""
        query = f"SELECT sequence, id, body, priority FROM queue WHERE {_OWED} ORDER BY sequence LIMIT 1"  # noqa: S608 - our own words
        return self._db.execute(query).fetchone()

    def sent(self, sequence, sent_as):
        with self._db:
            self._db.execute("UPDATE queue SET sent_as = ? WHERE sequence = ?", (sent_as, sequence))
            self._note_depth()

    def refused(self, sequence):
        """Under every name that it has, others' bytes are there already. It stays here for somebody to look at, and holds up nobody."""
        with self._db:
            self._db.execute("UPDATE queue SET refused = 1 WHERE sequence = ?", (sequence,))
            self._note_depth()

    def renamed(self):
        """[[id, what it was sent as]] where that is another name."""
        return [list(row) for row in self._db.execute("SELECT id, sent_as FROM queue WHERE sent_as <> id ORDER BY sequence")]

    @property
    def depth(self):
        return self._db.execute(f"SELECT COUNT(*) FROM queue WHERE {_OWED}").fetchone()[0]  # noqa: S608 - our own words

    @property
    def put_in(self):
        return self._db.execute("SELECT COUNT(*) FROM queue").fetchone()[0]

    @property
    def given_up(self):
        return self._db.execute("SELECT COUNT(*) FROM queue WHERE refused = 1").fetchone()[0]

    def depths(self, most=200):
        """[[boot id, boot-time clock in ns, depth]], the first, the deepest and the last among at most `most` and one."""
        rows = [list(row) for row in self._db.execute("SELECT boot, boottime_ns, depth FROM depths ORDER BY number")]
        step = max(1, -(-len(rows) // (most - 1)))
        deepest = max(range(len(rows)), key=lambda place: rows[place][2], default=0)
        return [row for place, row in enumerate(rows) if place % step == 0 or place in (deepest, len(rows) - 1)]

    def _note_depth(self):
        self._db.execute("INSERT INTO depths (boot, boottime_ns, depth) VALUES (?, ?, ?)", (self._boot, boottime_ns(), self.depth))

    def close(self):
        self._db.close()
