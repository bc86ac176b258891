"""A queue on the disk that is never longer than its bound, and loses no audit record.

    put ─► [ a-00001  a-00002 … | t-radar-1  t-camera-1 … ] ─► take (tried) ─► acked ─► gone
             audit records first, then by age          full: the oldest telemetry is dropped, and counted

Each of the verbs is one transaction of SQLite with its row of the log in it, and is on the disk when it returns (a write-ahead log
with synchronous=FULL). So after a power cut queue, log and `fed` tell one story: what was fed is not fed again, what was acknowledged
is gone, and a try whose end nobody knows is there as a try without an end. The log is evidence and not part of the queue.
"""

import contextlib
import os
import sqlite3
import threading
import time

BOUND_RECORDS = 96
BOUND_BYTES = 32_000  # of payload
_TABLES = """
CREATE TABLE IF NOT EXISTS message (number INTEGER PRIMARY KEY, id TEXT UNIQUE, audit INTEGER, payload BLOB);
CREATE TABLE IF NOT EXISTS log (at_ms INTEGER, boot TEXT, what TEXT, number INTEGER, records INTEGER, bytes INTEGER);
CREATE TABLE IF NOT EXISTS feed (fed INTEGER);
"""


class Outbox:
    """The queue in the file `path`, or in memory (":memory:"), where it is as lost as everything else when the power fails.

    May be used from several threads. Numbers are the order in which messages are fed: 1, 2, 3 …
    """

    def __init__(self, path, bound_records=BOUND_RECORDS, bound_bytes=BOUND_BYTES):
        self._bounds = bound_records, bound_bytes
        self._lock = threading.Lock()
        self._boot = boot_id()
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        if path != ":memory:":
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_TABLES)
        if path != ":memory:":
            folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def close(self):
        self._db.close()

    @property
    def fed(self):
        """The number of the last message that was fed: queued, or dropped at once."""
        with self._lock:
            return self._fed()

    def left(self):
        """Numbers of the messages that are in the queue."""
        with self._lock:
            return [number for (number,) in self._db.execute("SELECT number FROM message ORDER BY number")]

    def put(self, number, id, audit, payload):
        """Queues a message, and drops the oldest telemetry (itself, too) where it must; False when there is no room for an audit
        record even so: nothing has changed then, and it may be tried again. What was fed already is not fed again."""
        with self._transaction():
            if number <= self._fed():
                return True
            while self._too_full_for(payload):
                oldest = self._one("SELECT number FROM message WHERE NOT audit ORDER BY number LIMIT 1")
                if oldest:
                    self._db.execute("DELETE FROM message WHERE number = ?", oldest)
                    self._note("drop", oldest[0])
                elif audit:
                    self._db.execute("ROLLBACK")
                    return False
                else:
                    self._note("drop", number)
                    break
            else:
                self._db.execute("INSERT INTO message VALUES (?, ?, ?, ?)", (number, id, int(audit), payload))
                self._note("put", number)
            self._db.execute("INSERT INTO feed VALUES (?)", (number,))
            return True

    def take(self):
        """The next message to send, noted as tried: (number, audit, payload); None when there is none. It stays queued."""
        with self._transaction():
            found = self._one("SELECT number, audit, payload FROM message ORDER BY audit DESC, number LIMIT 1")
            if found:
                self._note("try", found[0])
            return found

    def acked(self, number):
        """The other side has it: removed. It may have been dropped meanwhile; then it is noted that it arrived all the same."""
        with self._transaction():
            removed = self._db.execute("DELETE FROM message WHERE number = ?", (number,)).rowcount
            self._note("ack" if removed else "late", number)

    def unanswered(self, number):
        """Nobody knows whether the other side has it: it stays as it is, and is tried again."""
        with self._transaction():
            self._note("lost", number)

    def log(self):
        """Everything that happened, in order: at_ms, boot id, what, number, and the queue's records and bytes from then on."""
        with self._lock:
            return self._db.execute("SELECT at_ms, boot, what, number, records, bytes FROM log ORDER BY rowid").fetchall()

    def _one(self, query, *values):
        return self._db.execute(query, values).fetchone()

    def _fed(self):
        return self._one("SELECT max(fed) FROM feed")[0] or 0

    def _depth(self):
        return self._one("SELECT count(*), coalesce(sum(length(payload)), 0) FROM message")

    def _too_full_for(self, payload):
        records, size = self._depth()
        return records + 1 > self._bounds[0] or size + len(payload) > self._bounds[1]

    def _note(self, what, number):
        at_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        self._db.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", (at_ms, self._boot, what, number, *self._depth()))

    @contextlib.contextmanager
    def _transaction(self):
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            if self._db.in_transaction:
                self._db.execute("COMMIT")


def boot_id():
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip().replace("-", "")
    return ""
