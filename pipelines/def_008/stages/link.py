"""One MQTT connection for as long as it lasts, and no repetition behind anybody's back.

A Link is opened, publishes with QoS 1, and waits for each acknowledgement; with the first trouble it is thrown away, and whoever
uses it opens another one. A message is so transmitted exactly once for each `send`, and what a dead connection still had to
transmit goes with it: nothing can come late, after its repetition was acknowledged.
"""

import contextlib
import socket
import struct
import time

OPEN_LIMIT_S = 5.0
ACK_LIMIT_S = 8.0
KEEPALIVE_S = 30
_TURN_S = 0.2


class LinkDown(Exception):
    """This connection is of no more use."""


class Link:
    """Raises LinkDown from everything, also where an answer does not come in time; the connection is gone then."""

    def __init__(self, address, name, ack_limit_s=ACK_LIMIT_S):
        from paho.mqtt.client import CallbackAPIVersion, Client  # late: a slow board has Stageflow to import first

        self._ack_limit_s = ack_limit_s
        host, _, port = address.rpartition(":")
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=True, reconnect_on_failure=False)
        self._client.connect_timeout = OPEN_LIMIT_S
        try:
            self._client.connect(host, int(port), keepalive=KEEPALIVE_S)
        except OSError as error:
            raise LinkDown(f"no connection: {error}") from error
        self._until(self._client.is_connected, OPEN_LIMIT_S, "no answer to CONNECT")

    def send(self, topic, payload):
        """Publishes once; the other side has it when this returns. After LinkDown nobody knows."""
        told = self._client.publish(topic, payload, qos=1)
        self._until(told.is_published, self._ack_limit_s, "no PUBACK")

    def idle(self, for_s):
        """Keeps the connection alive while there is nothing to send."""
        end = time.monotonic() + for_s
        while (left := end - time.monotonic()) > 0:
            self._turn(left)

    def close(self):
        """Ends a connection that has nothing under way."""
        self._client.disconnect()
        self.abort()

    def abort(self):
        """Ends the connection at once: what its socket still had to send is thrown away."""
        with contextlib.suppress(OSError, AttributeError):
            connection = self._client.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    def _until(self, done, limit_s, otherwise):
        end = time.monotonic() + limit_s
        while not self._asked(done):
            left = end - time.monotonic()
            if left <= 0:
                self.abort()
                raise LinkDown(f"{otherwise} within {limit_s:g} s")
            self._turn(left)

    def _asked(self, done):
        try:
            return done()
        except (RuntimeError, ValueError) as error:  # what could not even be sent
            self.abort()
            raise LinkDown(str(error)) from error

    def _turn(self, at_most_s):
        try:
            code = self._client.loop(min(at_most_s, _TURN_S))
        except (OSError, ValueError) as error:
            self.abort()
            raise LinkDown(str(error)) from error
        if code:
            self.abort()
            raise LinkDown(f"the connection ended: {code!s}")
