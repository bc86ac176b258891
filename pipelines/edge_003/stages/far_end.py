"""The far end over HTTP, from a device whose link comes and goes: every wait is bounded, and every answer is one of ours to judge.

    FarEnd.ask ─► Answer(status, body)     somebody answered, whatever they said
               └► Unreachable              nobody did in time; the connection is reset, so that the kernel sends nothing more of it

One connection is kept while it works. Time-outs grow with what the link has shown (`Patience`), because on a line of 300 bit/s a
time-out that is too short sends everything twice and never gets done.
"""

import contextlib
import http.client
import os
import socket
import struct
import threading
import time
from collections import namedtuple
from urllib.parse import quote, urlsplit

MAX_ANSWER_BYTES = 65536

Answer = namedtuple("Answer", "status body")


class Unreachable(Exception):
    """Nobody answered in time. Whether the far end has heard the question, nobody here can know."""


class Patience:
    """How long to wait for an answer, and how long before asking again. Decides from what it is told, looks at no clock.

    an answer   usual: 4 × the mean time that answers took, never under `least_s`
    failures    each in a row doubles it: up to twice the usual where answers have come, up to `most_s` where none has yet
    a pause     0.5 s, doubled by each failure in a row, 5 s at most
    """

    def __init__(self, least_s=6.0, most_s=60.0):
        self.least_s, self.most_s, self.mean_s, self.failures = least_s, most_s, None, 0

    @property
    def wait_s(self):
        if self.mean_s is None:
            return min(self.most_s, self.least_s * 2**self.failures)
        return min(self.most_s, max(self.least_s, 4 * self.mean_s) * 2 ** min(self.failures, 1))

    @property
    def pause_s(self):
        return min(5.0, 0.5 * 2 ** min(self.failures, 10))

    def answered(self, took_s):
        self.mean_s = took_s if self.mean_s is None else 0.75 * self.mean_s + 0.25 * took_s
        self.failures = 0

    def failed(self):
        self.failures += 1
        if self.mean_s is not None and self.failures % 4 == 0:
            self.mean_s *= 2  # the link may have become another one


class FarEnd:
    """The one at FAR_END_HTTP, whose last path component is this execution."""

    def __init__(self, base=None, patience=None):
        parts = urlsplit(base or os.environ["FAR_END_HTTP"])
        self._host, self._port, self._path = parts.hostname, parts.port or 80, parts.path.rstrip("/")
        self.patience = patience or Patience()
        self._connection = None

    def lookup(self, table, key):
        return self.ask("GET", f"/lookup/{table}/{quote(key, safe='')}")

    def put(self, record, body, sequence=None, priority=None):
        headers = {"X-Sequence": sequence, "X-Priority": priority}
        return self.ask("PUT", f"/records/{record}", body, {name: str(value) for name, value in headers.items() if value is not None})

    def ask(self, method, path, body=b"", headers=()):
        """One question and its answer, in `patience.wait_s` altogether. Raises Unreachable; the next question begins anew."""
        kept = self._connection is not None
        began = time.monotonic()
        try:
            answer = self._ask(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.reset()
            if kept and not isinstance(error, TimeoutError) and time.monotonic() - began < 1.0:
                return self.ask(method, path, body, headers)  # the far end had closed what we kept: that says nothing about the link
            self.patience.failed()
            raise Unreachable(f"{type(error).__name__}: {error}") from None
        self.patience.answered(time.monotonic() - began)
        return answer

    def _ask(self, method, path, body, headers):
        wait_s = self.patience.wait_s
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=wait_s)
        else:
            self._connection.sock.settimeout(wait_s)
        over = threading.Event()
        watch = threading.Timer(wait_s, self._give_up, (over,))  # a time-out of the socket's is one of each read: this is of all
        watch.daemon = True
        watch.start()
        try:
            self._connection.putrequest(method, self._path + path, skip_accept_encoding=True)
            for name, value in dict(headers).items():
                self._connection.putheader(name, value)
            if body or method in ("PUT", "POST"):
                self._connection.putheader("Content-Length", str(len(body)))
            self._connection.endheaders(body or None)
            response = self._connection.getresponse()
            said = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException):
            if over.is_set():
                raise TimeoutError(f"no answer within {wait_s:g} s") from None
            raise
        finally:
            watch.cancel()
        if len(said) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException("an answer that has no end")
        if response.will_close:
            self.reset()
        return Answer(response.status, said)

    def _give_up(self, over):
        over.set()
        sock = self._connection and self._connection.sock
        if sock:
            with contextlib.suppress(OSError):  # it was not even connected: its own time-out ends it
                sock.shutdown(socket.SHUT_RDWR)

    def reset(self):
        """Forgets the connection, and all that lies in the kernel to be sent over it again and again."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
