"""The camera's arithmetic once more, in another way: whole numbers of Python, pixel by pixel, no array and no library.

It is what `golden.json` is made by, so that nothing that the stages compute is held against itself. A hundred times slower.
"""

import hashlib
import struct
from itertools import pairwise

HEIGHT, WIDTH, FRAMES, BLOCK, REACH = 96, 128, 12, 8, 6
_64 = (1 << 64) - 1
_MOVES = [(dy, dx) for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1)]
MOVES = sorted(_MOVES, key=lambda move: (move[0] * move[0] + move[1] * move[1], move[0], move[1]))


def expose(things, first_frame, seed, noise, dead):
    """FRAMES frames, each a list of rows."""
    return [_frame(things, frame, seed, noise, dead) for frame in range(first_frame, first_frame + FRAMES)]


def _frame(things, frame, seed, noise, dead):
    there = [each for each in things if each["first"] <= frame <= each["last"]]
    rows = []
    for y in range(HEIGHT):
        row = []
        for x in range(WIDTH):
            light = 60 + y // 4 + (x * 5 + y * 3) % 16
            for each in there:
                age = frame - each["first"]
                top, left = each["y"] + (age * each["dy"]) // 16, each["x"] + (age * each["dx"]) // 16
                if top <= y < top + each["size"] and left <= x < left + each["size"]:
                    light = each["light"] + (((x - left) * 7) ^ ((y - top) * 11)) % 32
            word = mixed(seed, frame * HEIGHT * WIDTH + y * WIDTH + x)
            light += word % (2 * noise + 1) - noise
            if (word >> 40) % 1000 < dead:
                light = 255 * ((word >> 56) & 1)
            row.append(min(255, max(0, light)))
        rows.append(row)
    return rows


def mixed(seed, number):
    """SplitMix64 of a number."""
    word = (seed + (number + 1) * 0x9E3779B97F4A7C15) & _64
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _64
    return word ^ (word >> 31)


def clean(rows):
    """The median of 25: of each pixel's surroundings, the edge standing for what is behind it."""
    wide = [[row[0], row[0], *row, row[-1], row[-1]] for row in [rows[0], rows[0], *rows, rows[-1], rows[-1]]]
    return [[sorted(value for line in wide[y : y + 5] for value in line[x : x + 5])[12] for x in range(WIDTH)] for y in range(HEIGHT)]


def flow(before, after):
    """Row by row of blocks, the move of each."""
    pad = [[row[0]] * REACH + row + [row[-1]] * REACH for row in [before[0]] * REACH + before + [before[-1]] * REACH]
    found = []
    for top in range(0, HEIGHT, BLOCK):
        for left in range(0, WIDTH, BLOCK):
            block = [row[left : left + BLOCK] for row in after[top : top + BLOCK]]
            least, best = 1 << 30, None
            for dy, dx in MOVES:
                differences = 0
                for y, row in enumerate(block, top + REACH + dy):
                    there = pad[y][left + REACH + dx : left + REACH + dx + BLOCK]
                    differences += sum([a - b if a > b else b - a for a, b in zip(row, there, strict=True)])
                    if differences >= least:
                        break
                if differences < least:
                    least, best = differences, (dy, dx)
            found.append(best)
    return found


def settle(belt, rows):
    """(the belt in 256ths, where something else is on it)."""
    settled, different = [], []
    for line, row in zip(belt, rows, strict=True):
        gaps = [value * 256 - known for value, known in zip(row, line, strict=True)]
        other = [abs(gap) > 24 * 256 for gap in gaps]
        settled.append([known if o else known + (gap >> 4) for known, gap, o in zip(line, gaps, other, strict=True)])
        different.append(other)
    return settled, different


def patches(different):
    """The box and the size of each patch of 12 pixels and more, in the order of its first pixel."""
    left_over = {(y, x) for y, row in enumerate(different) for x, other in enumerate(row) if other}
    found = []
    for first in sorted(left_over):
        if first not in left_over:
            continue
        patch, edge = {first}, {first}
        while edge:
            near = {(y + dy, x + dx) for y, x in edge for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1))}
            edge = (near & left_over) - patch
            patch |= edge
        left_over -= patch
        if len(patch) >= 12:
            ys, xs = [y for y, _ in patch], [x for _, x in patch]
            found.append([min(ys), min(xs), max(ys), max(xs), len(patch)])
    return found


def rounds(things, count, seed, noise, dead):
    """{stage: its output without what the board says of its heat}."""
    outputs, whole, belt = {}, hashlib.sha256(), None
    for number in range(1, count + 1):
        seen = [clean(rows) for rows in expose(things, (number - 1) * FRAMES, seed, noise, dead)]
        frames = b"".join(bytes(row) for rows in seen for row in rows)
        moves = [flow(a, b) for a, b in pairwise(seen)]
        packed = b"".join(struct.pack("<2b", *move) for each in moves for move in each)
        belt = belt or [[value * 256 for value in row] for row in seen[0]]
        found = []
        for rows in seen:
            belt, different = settle(belt, rows)
            found.append(patches(different))
        lain = b"".join(struct.pack(f"<{WIDTH}i", *row) for row in belt)
        largest = max(max(found, key=len), default=[])
        outputs[f"look_{number}"] = _kept("frames", number, frames)
        outputs[f"flow_{number}"] = {**_kept("moves", number, packed), "moved": sum(move != (0, 0) for each in moves for move in each)}
        outputs[f"settle_{number}"] = {**_kept("belt", number, lain), "seen": [len(each) for each in found], "largest": largest}
        for data in (frames, packed, lain):
            whole.update(hashlib.sha256(data).digest())
    outputs["report"] = {"files": [], "sha256": whole.hexdigest(), "rounds": count}
    return outputs


def _kept(what, number, data):
    return {"files": [f"{what}_{number}.raw"], "sha256": hashlib.sha256(data).hexdigest()}
