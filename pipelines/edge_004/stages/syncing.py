"""A file to the far end in pieces, gone on with where it stopped. Where that is, only the far end knows: it is asked each time.

begin ─► offset ─► piece with its checksum ─► 204: the new offset ─► piece … ─► complete
           ▲           │   409: not there ────┐
           │           │   460: damaged on its way; at the whole's end: all of it, from 0
           └── HEAD ◄──┴── no answer: reset, pause, the wait doubled and the piece halved
"""

import hashlib
import time

from .far_end import Unreachable

GIVE_UP_S = 900.0  # without any answer at all


class GaveUp(Exception):
    """Nobody answered for GIVE_UP_S, or what they said could not be gone on with."""


class Sync:
    """One file under one name. `told` is how it went; `after_each` is called when something was sent, answered or not."""

    def __init__(self, far_end, pacer, name, data, after_each=lambda: None, clock=time.monotonic, sleep=time.sleep, give_up_s=GIVE_UP_S):
        self._far_end, self._pacer, self._path, self._data = far_end, pacer, f"/uploads/{name}", data
        self._after_each, self._clock, self._sleep, self._give_up_s = after_each, clock, sleep, give_up_s
        self._heard = clock()
        self.told = {"pieces": 0, "unanswered": 0, "misplaced": 0, "damaged": 0, "set_back": 0, "resumed_at": []}

    def begin(self):
        """Says what will come, or hears how much of it is there. The offset."""
        whole = {"Upload-Length": str(len(self._data)), "Upload-Sha256": hashlib.sha256(self._data).hexdigest()}
        answer = self.until_answered("POST", whole)
        if answer.status not in (200, 201):
            raise GaveUp(f"the far end answers {answer.status} to an upload that begins")
        return self._offset(answer) if answer.status == 200 else 0

    def offset(self):
        return self._offset(self.until_answered("HEAD"))

    def send(self, offset, pieces=None, spoil=0):
        """Sends from `offset` to the end, or so many pieces; the offset then. `spoil`: each so many-th piece is damaged, once."""
        spoiled = set()
        while offset < len(self._data) and (pieces is None or self.told["pieces"] < pieces):
            piece = self._data[offset : offset + self._pacer.piece_bytes]
            headers = {"Upload-Offset": str(offset), "Upload-Checksum": f"sha256 {hashlib.sha256(piece).hexdigest()}"}
            if spoil and self.told["pieces"] % spoil == spoil - 1 and offset not in spoiled:
                spoiled.add(offset)
                piece = bytes([piece[0] ^ 1]) + piece[1:]
            began = self._clock()
            try:
                answer = self._far_end.ask("PATCH", self._path, self._pacer.wait_s(len(piece)), piece, headers, self._pacer.pace)
            except Unreachable:
                self._unanswered()
                offset = self.offset()
                self.told["resumed_at"].append(offset)
                continue
            finally:
                self._after_each()
            self._heard = self._clock()
            if answer.status == 204:
                self._pacer.acknowledged(len(piece), self._clock() - began)
                self.told["pieces"] += 1
                offset = self._offset(answer)
            elif answer.status in (409, 460):
                self.told["misplaced" if answer.status == 409 else "damaged"] += 1
                before, offset = offset, self.offset()
                self.told["set_back"] += offset < before
                if self.told["set_back"] > 2 or self.told["misplaced"] + self.told["damaged"] > 100:
                    raise GaveUp("the far end refuses piece after piece")
            else:
                self._unanswered()
                offset = self.offset()
        return offset

    def until_answered(self, method, headers=(), body=b""):
        """An answer of whatever kind; asked again, with pauses, until there is one. Raises GaveUp."""
        while True:
            try:
                answer = self._far_end.ask(method, self._path, self._pacer.wait_s(len(body)), body, headers)
            except Unreachable:
                self._unanswered()
                continue
            finally:
                self._after_each()
            if answer.status < 500:
                self._heard = self._clock()
                self._pacer.answered()
                return answer
            self._unanswered()

    def _unanswered(self):
        self.told["unanswered"] += 1
        self._pacer.failed()
        if self._clock() - self._heard >= self._give_up_s:
            raise GaveUp(f"no answer for {self._give_up_s:g} s")
        self._sleep(self._pacer.pause_s)

    def _offset(self, answer):
        try:
            offset = int(answer.headers["Upload-Offset"])
        except (TypeError, ValueError):
            raise GaveUp(f"an answer {answer.status} without an offset") from None
        if not 0 <= offset <= len(self._data):
            raise GaveUp(f"the far end is at {offset} of {len(self._data)}")
        return offset
