"""The far end over HTTP, from a device whose link is narrow and comes and goes: every wait is bounded.

    FarEnd.ask ─► Answer(status, headers, body)    somebody answered, whatever they said
               └► Unreachable                      nobody did in time; the connection is reset, so that the kernel sends nothing more of it

One connection is kept while it works: on a line of 300 bit/s a handshake costs seconds, and each byte of a header counts.
"""

import contextlib
import http.client
import os
import socket
import struct
import threading
import time
from collections import namedtuple
from urllib.parse import urlsplit

MAX_ANSWER_BYTES = 65536
SO_MAX_PACING_RATE = 47  # Linux; the module does not name it before Python 3.14

Answer = namedtuple("Answer", "status headers body")


class Unreachable(Exception):
    """Nobody answered in time. Whether the far end has heard the question, nobody here can know."""


class FarEnd:
    """The one at FAR_END_HTTP, whose last path component is this execution."""

    def __init__(self, base=None):
        parts = urlsplit(base or os.environ["FAR_END_HTTP"])
        self._host, self._port, self._path = parts.hostname, parts.port or 80, parts.path.rstrip("/")
        self._connection = None

    def ask(self, method, path, wait_s, body=b"", headers=(), pace=None):
        """One question and its answer, in `wait_s` altogether. Raises Unreachable; the next question begins anew.

        `pace` in bytes a second: no faster than that, where the kernel can. A burst would stand in the queue of a narrow line for
        longer than TCP waits, and be sent again while it stands there.
        """
        kept, began = self._connection is not None, time.monotonic()
        try:
            return self._ask(method, path, wait_s, body, headers, pace)
        except (OSError, http.client.HTTPException) as error:
            self.reset()
            if kept and not isinstance(error, TimeoutError) and time.monotonic() - began < 1.0:
                return self.ask(method, path, wait_s, body, headers, pace)  # it had closed what we kept: that says nothing about the link
            raise Unreachable(f"{type(error).__name__}: {error}") from None

    def _ask(self, method, path, wait_s, body, headers, pace):
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=wait_s)
        else:
            self._connection.sock.settimeout(wait_s)
        over = threading.Event()
        watch = threading.Timer(wait_s, self._give_up, (over,))  # a time-out of the socket's is one of each read: this is of all
        watch.daemon = True
        watch.start()
        try:
            if self._connection.sock is None:
                self._connection.connect()
            if pace:
                with contextlib.suppress(OSError):
                    self._connection.sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(pace))
            self._connection.putrequest(method, self._path + path, skip_accept_encoding=True)
            for name, value in dict(headers).items():
                self._connection.putheader(name, value)
            if body or method in ("POST", "PATCH"):
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
        return Answer(response.status, response.headers, said)

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
