"""How large the next piece is, and how long to wait for its answer: decided from what the link has shown, no I/O.

    piece    what the link carries in PIECE_S seconds: small enough to lose one, large enough that headers do not matter
    wait     four times what the piece should take, and ten seconds; doubled for each failure in a row

A piece of LEAST_BYTES has about 450 bytes of headers, both ways and all layers: beneath that the headers would be half of everything.
On a link that nobody has measured yet, it is all a guess: the smallest piece, and a wait that a line of 300 bit/s can keep.
"""

PIECE_S = 4.0
LEAST_BYTES, MOST_BYTES = 1024, 16384
FIRST_WAIT_S, LONGEST_WAIT_S, LONGEST_PAUSE_S = 60.0, 240.0, 8.0


class Pacer:
    """What is known of the link. `goodput` is in bytes of payload a second; None: nothing yet."""

    def __init__(self, goodput=None):
        self.goodput, self.failures = goodput, 0

    @property
    def piece_bytes(self):
        return piece_bytes(self.goodput, self.failures)

    def wait_s(self, size):
        usual = FIRST_WAIT_S if self.goodput is None else 10.0 + 4 * (size + 450) / self.goodput
        return min(LONGEST_WAIT_S, usual * 2**self.failures)

    @property
    def pause_s(self):
        return min(LONGEST_PAUSE_S, 0.5 * 2 ** min(self.failures, 10))

    def acknowledged(self, size, took_s):
        """A piece of this size went through, headers and waiting included."""
        found = size / max(took_s, 0.001)
        self.goodput = found if self.goodput is None else 0.5 * self.goodput + 0.5 * found
        self.failures = 0

    def answered(self):
        self.failures = 0

    def failed(self):
        self.failures += 1


def piece_bytes(goodput, failures=0):
    wanted = LEAST_BYTES if goodput is None else int(goodput * PIECE_S)
    return max(LEAST_BYTES, min(MOST_BYTES, wanted) >> min(failures, 4))
