"""One transfer, or one command many times, over the line simulator at 115,200 baud:  WAY PAYLOAD SIZE FLIPS FOLDER

Prints the seconds of the transfer, or the milliseconds of the median command. Ways: `runner` and `runner-deflate` (the product's
packets without and with its compression), `zmodem` (lrzsz), `bare` (the bytes alone: what the line carries), and for `trips`
`runner` and `shell` (a login shell that is typed to). Payloads: `random`, `text` (the supervisor's own sources), `trips`.
What arrived is compared with what was sent: a wrong byte is no sample, and ends the contender's part.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import statistics
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Awaitable, Callable
from pathlib import Path

from runner.ondevice.channels import Conversation
from runner.ondevice.line import ready_words
from runner.ondevice.reliable import Reliable
from runner.target.bundle import supervisor_zip
from runner.target.line_simulator import LineSimulator, Noise
from runner.target.serial.talk import Talk
from runner.target.transports.serial import SerialTransport

BAUD = 115_200
TRIPS = 40
LIMIT_S = 200.0
EPOCH = b"benchmark"


def opened(line: LineSimulator) -> int:
    """The port as a user of it opens it: raw, at its rate."""
    fd = os.open(line.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(fd, termios.TCSANOW)
    settings = termios.tcgetattr(fd)
    settings[4] = settings[5] = termios.B115200
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    return fd


def heard(fd: int, words: bytes, limit_s: float = LIMIT_S) -> float:
    """Reads until the far end says `words`; when that was."""
    said, deadline = b"", time.monotonic() + limit_s
    while words not in said:
        if time.monotonic() > deadline:
            raise SystemExit(f"the far end did not say {words!r} within {limit_s:g} s")
        try:
            said += os.read(fd, 65536)
        except BlockingIOError:
            time.sleep(0.001)
    return time.perf_counter()


def written(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            time.sleep(0.001)


def with_runner(compression: bool, noise: Noise, story: Callable[[SerialTransport], Awaitable[float]]) -> float:
    """The clock of a `story` may begin before the first packet: the device's end is there, and nothing was said."""
    far = [sys.executable, str(Path(__file__).parent / "line_end.py"), EPOCH.hex(), "on" if compression else "off"]
    with LineSimulator(far, noise, baud=BAUD, environment=dict(os.environ)) as line:
        fd = opened(line)
        heard(fd, ready_words(EPOCH)[-16:] + b"\r\n")

        async def reach() -> Talk:
            return Talk(fd, Conversation(Reliable(EPOCH, True, time.monotonic_ns()), compression), lambda words: None)

        async def life() -> float:
            transport = SerialTransport(reach)
            try:
                return await asyncio.wait_for(story(transport), LIMIT_S)
            finally:
                await transport.close()

        return asyncio.run(life())


def carried_by_runner(compression: bool, noise: Noise, data: bytes, folder: Path) -> float:
    async def story(transport: SerialTransport) -> float:
        began = time.perf_counter()
        await transport.open()
        done = await transport.run(["sh", "-c", 'cat > "$0"', str(folder / "arrived")], input=data, timeout_s=LIMIT_S)
        took_s = time.perf_counter() - began
        assert done.exit_status == 0, done.stderr
        return took_s

    return with_runner(compression, noise, story)


def trips_of_runner(noise: Noise) -> float:
    async def story(transport: SerialTransport) -> float:
        await transport.open()
        await asyncio.sleep(3)  # what the line carries has been learned
        took_ms = []
        for _ in range(TRIPS):
            began = time.perf_counter()
            await transport.run(["true"])
            took_ms.append((time.perf_counter() - began) * 1e3)
        return statistics.median(took_ms)

    return with_runner(True, noise, story)


def trips_of_shell(noise: Noise) -> float:
    with LineSimulator(["sh", "-i"], noise, baud=BAUD, environment={**os.environ, "PS1": "# "}) as line:
        fd, took_ms = opened(line), []
        written(fd, b"\r")
        heard(fd, b"# ")
        for number in range(TRIPS):
            began = time.perf_counter()
            written(fd, b"true; echo r$((%d+1))r\r" % number)
            took_ms.append((heard(fd, b"r%dr" % (number + 1)) - began) * 1e3)
        return statistics.median(took_ms)


def carried_by_zmodem(noise: Noise, data: bytes, folder: Path) -> float:
    (folder / "sent").mkdir()
    (folder / "sent" / "arrived").write_bytes(data)
    far = ["sh", "-c", f"stty raw -echo; cd {folder}; rz -b -y -q; touch ended; sleep 600"]
    with LineSimulator(far, noise, baud=BAUD, environment=dict(os.environ)) as line:
        fd = opened(line)
        heard(fd, b"B0100")  # it is there, and says that it is ready
        os.set_blocking(fd, True)
        began = time.perf_counter()
        sz = [shutil.which("sz") or "sz", "-b", "-q", str(folder / "sent" / "arrived")]
        sender = subprocess.run(sz, stdin=fd, stdout=fd, stderr=subprocess.PIPE, timeout=LIMIT_S, check=False)
        took_s = time.perf_counter() - began
        if sender.returncode:
            raise SystemExit(f"sz: {sender.stderr.decode(errors='replace').strip()[-200:] or sender.returncode}")
        deadline = time.monotonic() + 10
        while not (folder / "ended").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    return took_s


def carried_bare(noise: Noise, data: bytes, folder: Path) -> float:
    far = ["sh", "-c", f"stty raw -echo; echo be''gun; head -c {len(data)} > {folder / 'arrived'}; echo en''ded; sleep 600"]
    with LineSimulator(far, noise, baud=BAUD, environment=dict(os.environ)) as line:
        fd = opened(line)
        heard(fd, b"begun\n")
        began = time.perf_counter()
        written(fd, data)
        return heard(fd, b"ended") - began


def main(way: str, payload: str, size: int, flips: float, folder: Path) -> float:
    """The sample."""
    noise = Noise(seed=random.SystemRandom().randrange(1 << 30), flips=flips)
    if payload == "trips":
        return trips_of_shell(noise) if way == "shell" else trips_of_runner(noise)
    data = os.urandom(size) if payload == "random" else supervisor_zip()[:size]
    if way == "zmodem":
        took_s = carried_by_zmodem(noise, data, folder)
    elif way == "bare":
        took_s = carried_bare(noise, data, folder)
    else:
        took_s = carried_by_runner(way == "runner-deflate", noise, data, folder)
    if (folder / "arrived").read_bytes() != data:
        raise SystemExit("what arrived is not what was sent")
    return took_s


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5])))
