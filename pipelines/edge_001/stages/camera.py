"""The camera's stages. The arithmetic is in kernels.py; here it meets Stageflow and the disk.

    round 1   look ─► flow ─► settle ─┐
              frames  moves   belt    │          each round goes on with the belt that the one before has settled on,
    round 2   look ─► flow ─► settle ─┤          so a round that is left out, or seen with half an eye, changes all behind it
    …                                 ▼
                                    report

Each output is the digest of what was computed, the files that hold it, and what the board said of its heat before and behind.
"""

import hashlib
from itertools import pairwise

import numpy
from stageflow import StageOutput

from . import kernels, scene, sensor
from .files import keep, load
from .kernels import FRAMES, HEIGHT, WIDTH

_SHAPES = {
    "frames": ("uint8", (FRAMES, HEIGHT, WIDTH)),
    "moves": ("int8", (FRAMES - 1, HEIGHT // kernels.BLOCK, WIDTH // kernels.BLOCK, 2)),
    "belt": ("int32", (HEIGHT, WIDTH)),
}


class Stage:
    """One step of a round, between two looks at the sensor."""

    def __init__(self, number):
        self.number = number

    async def execute(self, ctx):
        before = sensor.reading()
        told = self.work()
        return StageOutput.ok({**told, "sensor": [before, sensor.reading()]})

    def work(self):
        """What the stage computes: its output."""
        raise NotImplementedError

    def kept(self, what, array):
        return {"files": [keep(f"{what}_{self.number}.raw", kernels.to_bytes(array))], "sha256": kernels.digest(array)}


class Look(Stage):
    """The frames of a round, and what is left of them without noise and stuck pixels."""

    def __init__(self, number, name, seed, noise, dead):
        super().__init__(number)
        self.name, self.seed, self.noise, self.dead = name, seed, noise, dead

    def work(self):
        objects = scene.read(self.name)
        seen = kernels.expose(objects, (self.number - 1) * FRAMES, self.seed, self.noise, self.dead)
        return self.kept("frames", numpy.stack([kernels.clean(frame) for frame in seen]))


class Flow(Stage):
    """Where everything moves from frame to frame."""

    def work(self):
        frames = loaded("frames", self.number)
        moves = numpy.stack([kernels.flow(before, after) for before, after in pairwise(frames)])
        return {**self.kept("moves", moves), "moved": int((moves != 0).any(axis=-1).sum())}


class Settle(Stage):
    """The belt without what moves on it, and what is on it in each frame."""

    def work(self):
        frames = loaded("frames", self.number)
        belt = loaded("belt", self.number - 1) if self.number > 1 else frames[0].astype(numpy.int32) << 8
        seen = []
        for frame in frames:
            belt, different = kernels.settle(belt, frame)
            seen.append(kernels.patches(different))
        return {**self.kept("belt", belt), "seen": [len(each) for each in seen], "largest": max(max(seen, key=len, default=[]), default=[])}


class Report(Stage):
    """All rounds in one word: the digest of every file, in their order."""

    def work(self):
        whole = hashlib.sha256()
        for number in range(1, self.number + 1):
            for what in _SHAPES:
                whole.update(hashlib.sha256(load(f"{what}_{number}.raw")).digest())
        return {"files": [], "sha256": whole.hexdigest(), "rounds": self.number}


def loaded(what, number):
    """An array that an earlier stage has kept."""
    kind, shape = _SHAPES[what]
    return numpy.frombuffer(load(f"{what}_{number}.raw"), dtype=numpy.dtype(kind).newbyteorder("<")).reshape(shape).astype(kind)
