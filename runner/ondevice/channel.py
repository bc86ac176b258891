"""Ask and wait, between a supervisor and its host: one JSON frame each way over a socket pair."""

from __future__ import annotations

import socket
from typing import Any

from . import frames


class Channel:
    """One end. Raises EOFError when the other end is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = frames.Decoder()
        self._waiting: list[frames.Frame] = []

    def tell(self, message: dict[str, Any]) -> None:
        try:
            self._sock.sendall(frames.encode_json(message))
        except ConnectionError as error:
            raise EOFError("the other end closed the channel") from error

    def hear(self) -> dict[str, Any]:
        while not self._waiting:
            try:
                data = self._sock.recv(65536)
            except ConnectionResetError:  # it had not read all that it was told
                data = b""
            if not data:
                raise EOFError("the other end closed the channel")
            self._waiting.extend(self._decoder.feed(data))
        return self._waiting.pop(0).json()

    def call(self, message: dict[str, Any]) -> dict[str, Any]:
        self.tell(message)
        return self.hear()
