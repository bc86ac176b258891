"""The store: segments of readings on a disk that may have no room for them. What is said to be kept is there, whole, and was read back.

    put ─► aside ─► flushed ─► renamed ─► read back ─► kept
             └─ no room, read-only, broken: nothing of it stays ─► tried again, a few times ─► shed, and told with the error's name

Alarms come first. What the store has no room for, alarms or not, is counted and named: nobody takes a full disk for a kept record.
"""

import contextlib
import errno
import hashlib
import os
import time

TRIES, PAUSE_S = 4, 1.0


class Store:
    def __init__(self, folder, tries=TRIES, pause_s=PAUSE_S, clock=time.sleep):
        self.folder, self.tries, self.pause_s, self._sleep = folder, tries, pause_s, clock
        self.errors = {}  # name → how often
        self.left = tries  # for all that is to come: a disk that stays full is not tried for ever

    def put(self, name, data):
        """SHA-256 of what was kept, or None: nothing of it is there then, and `errors` says why."""
        sha256 = hashlib.sha256(data).hexdigest()
        while True:
            try:
                if self._write(name, data) == sha256:
                    return sha256
                self._note("other bytes were read back")
            except OSError as error:
                self._note(errno.errorcode.get(error.errno, str(error.errno)))
            self._discard(name)
            self.left -= 1
            if self.left < 0:
                return None
            self._sleep(self.pause_s)

    def _write(self, name, data):
        os.makedirs(self.folder, exist_ok=True)  # a full disk has no room for a folder, either
        path = os.path.join(self.folder, name)
        with open(path + ".part", "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + ".part", path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def _discard(self, name):
        for each in (name + ".part", name):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.folder, each))

    def _note(self, error):
        self.errors[error] = self.errors.get(error, 0) + 1
