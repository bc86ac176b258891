"""The camera's arithmetic: integers alone, so that every machine comes to the same bits.

    expose ─► frames, uint8        clean ─► the median of 5 × 5        flow ─► where each block of 8 × 8 went since the frame before
                                   settle ─► the belt without what moves on it (8.8 fixed point), and what does

No float, no random generator of a library, no sum whose order could matter: what overflows is meant to (uint64, modulo 2**64).
Arrays have a fixed byte order, and a digest is one of these bytes.
"""

import hashlib

import numpy

HEIGHT, WIDTH, FRAMES = 96, 128, 12  # FRAMES: of one round
BLOCK, REACH = 8, 6  # block matching: so many pixels in each direction
MOVES = sorted(
    ((dy, dx) for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1)),
    key=lambda move: (move[0] ** 2 + move[1] ** 2, move),
)  # of two that match as well, the shorter
SLOWNESS, DIFFERENT = 4, 24  # the belt follows with a sixteenth; a pixel that is so much brighter or darker is something else


def expose(objects, first_frame, seed, noise, dead):
    """FRAMES frames of the belt from `first_frame` on, as the sensor gives them: with noise, and pixels that are stuck."""
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH].astype(numpy.int64)
    belt = 60 + (y >> 2) + ((x * 5 + y * 3) & 15)
    frames = numpy.empty((FRAMES, HEIGHT, WIDTH), dtype=numpy.uint8)
    for number in range(FRAMES):
        frame = first_frame + number
        lit = belt.copy()
        for each in objects:
            if each["first"] <= frame <= each["last"]:
                top = each["y"] + ((frame - each["first"]) * each["dy"] >> 4)
                left = each["x"] + ((frame - each["first"]) * each["dx"] >> 4)
                inside = (y >= top) & (y < top + each["size"]) & (x >= left) & (x < left + each["size"])
                lit = numpy.where(inside, each["light"] + (((x - left) * 7 ^ (y - top) * 11) & 31), lit)
        words = _mixed(numpy.uint64(seed), (frame * HEIGHT * WIDTH + y * WIDTH + x).astype(numpy.uint64))
        lit = lit + (words % numpy.uint64(2 * noise + 1)).astype(numpy.int64) - noise
        stuck = (words >> numpy.uint64(40)) % numpy.uint64(1000) < numpy.uint64(dead)
        lit = numpy.where(stuck, ((words >> numpy.uint64(56)) & numpy.uint64(1)).astype(numpy.int64) * 255, lit)
        frames[number] = lit.clip(0, 255).astype(numpy.uint8)
    return frames


def _mixed(seed, numbers):
    """A word of 64 bits for each number: SplitMix64 (Steele, Lea and Flood, 2014), which is three multiplications and no state."""
    with numpy.errstate(over="ignore"):
        word = seed + (numbers + numpy.uint64(1)) * numpy.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        return word ^ (word >> numpy.uint64(31))


def clean(frame):
    """The median of each pixel's 5 × 5 surroundings; at the edges the outermost pixels stand for what is behind them."""
    wide = numpy.pad(frame, 2, mode="edge")
    around = numpy.stack([wide[dy : dy + HEIGHT, dx : dx + WIDTH] for dy in range(5) for dx in range(5)], axis=-1)
    return numpy.sort(around, axis=-1)[..., 12]


def flow(before, after, moves=MOVES):
    """Where each block of `after` was in `before`: (dy, dx) with the least sum of absolute differences, int8."""
    wide = numpy.pad(before, REACH, mode="edge").astype(numpy.int32)
    now = after.astype(numpy.int32)
    rows, columns = HEIGHT // BLOCK, WIDTH // BLOCK
    least = numpy.full((rows, columns), 1 << 30, dtype=numpy.int32)
    found = numpy.zeros((rows, columns, 2), dtype=numpy.int8)
    for dy, dx in moves:
        there = wide[REACH + dy : REACH + dy + HEIGHT, REACH + dx : REACH + dx + WIDTH]
        sums = numpy.abs(now - there).reshape(rows, BLOCK, columns, BLOCK).sum(axis=(1, 3), dtype=numpy.int32)
        better = sums < least
        least = numpy.where(better, sums, least)
        found[better] = (dy, dx)
    return found


def settle(belt, frame):
    """(the belt as it is known now, 8.8 fixed point in int32; where something else is on it)."""
    seen = frame.astype(numpy.int32) << 8
    different = numpy.abs(seen - belt) > DIFFERENT << 8
    return numpy.where(different, belt, belt + ((seen - belt) >> SLOWNESS)), different


def patches(different):
    """[(top, left, bottom, right, pixels)] of what hangs together by edges, of 12 pixels and more, from the top left on."""
    open_, found = different.copy(), []
    for top, left in numpy.argwhere(different).tolist():
        if not open_[top, left]:
            continue
        open_[top, left] = False
        heap, pixels = [(top, left)], []
        while heap:
            y, x = heap.pop()
            pixels.append((y, x))
            for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= ny < HEIGHT and 0 <= nx < WIDTH and open_[ny, nx]:
                    open_[ny, nx] = False
                    heap.append((ny, nx))
        if len(pixels) >= 12:
            ys, xs = [y for y, _ in pixels], [x for _, x in pixels]
            found.append([min(ys), min(xs), max(ys), max(xs), len(pixels)])
    return found


def to_bytes(array):
    """An array's values in one byte order, whatever the machine's."""
    return numpy.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()


def digest(array):
    return hashlib.sha256(to_bytes(array)).hexdigest()
