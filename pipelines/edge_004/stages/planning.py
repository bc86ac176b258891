"""How large the next piece is, and how long to wait for its answer: decided from what the link has shown, no I/O.

    piece    what the link carries in PIECE_S seconds: small enough to lose one, large enough that headers do not matter;
             never more than twice the one that went through before, because a queue swallows a first one at any rate
    wait     four times what the piece should take, and ten seconds; doubled for each failure in a row

A piece of LEAST_BYTES has about 450 bytes of headers, both ways and all layers: beneath that the headers would be half of everything.
On a link that nobody has measured yet, it is all a guess: the smallest piece, and a wait that a line of 300 bit/s can keep.
"""

PIECE_S = 4.0
LEAST_BYTES, MOST_BYTES = 1024, 16384
FIRST_WAIT_S, LONGEST_WAIT_S, LONGEST_PAUSE_S = 60.0, 240.0, 8.0


class Pacer:
    """What is known of the link. `goodput` is in bytes of payload a second; None: nothing yet."""

    def __init__(self, goodput=None, last=0):
        """`last` is the size of the piece that went through before."""
        self.goodput, self.last, self.failures = goodput, last, 0

    @property
    def piece_bytes(self):
        return piece_bytes(self.goodput, self.last, self.failures)

    def wait_s(self, size):
        usual = FIRST_WAIT_S if self.goodput is None else 10.0 + 4 * (size + 450) / self.goodput
        return min(LONGEST_WAIT_S, usual * 2**self.failures)

    @property
    def pause_s(self):
        return min(LONGEST_PAUSE_S, 0.5 * 2 ** min(self.failures, 10))

    @property
    def pace(self):
        """Bytes a second that may leave: half as much again as went through, so that a link that grows is noticed. None: not known."""
        return None if self.goodput is None else 1.5 * self.goodput

    def acknowledged(self, size, took_s):
        """A piece of this size went through, headers and waiting included."""
        found = size / max(took_s, 0.001)
        self.goodput = found if self.goodput is None else 0.5 * self.goodput + 0.5 * found
        self.last, self.failures = size, 0

    def answered(self):
        self.failures = 0

    def failed(self):
        self.failures += 1


def piece_bytes(goodput, last=0, failures=0):
    """The next piece: of what was measured, and what went through before."""
    wanted = 0 if goodput is None else min(2 * last, int(goodput * PIECE_S))
    return max(LEAST_BYTES, min(MOST_BYTES, wanted) >> min(failures, 4))
