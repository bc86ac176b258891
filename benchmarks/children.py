"""Programs that are measured from outside: started cold, waited for, and their wall clock taken."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LIMIT_S = 300.0


def timed(argv: Sequence[str], env: Mapping[str, str], log: Path) -> float:
    """Seconds from start to end of one program. Raises RuntimeError with its last words when it fails or takes longer than LIMIT_S."""
    with open(log, "w+b") as said:
        began = time.perf_counter()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=dict(env))
        limit = threading.Timer(LIMIT_S, process.kill)  # and no wait with a limit, which looks only every 50 ms
        limit.start()
        try:
            status = process.wait()
        finally:
            limit.cancel()
            if process.poll() is None:
                process.kill()
                process.wait()
        took_s = time.perf_counter() - began
        if took_s >= LIMIT_S:
            raise RuntimeError(f"no end within {LIMIT_S:g} s")
        if status:
            said.seek(max(0, said.seek(0, os.SEEK_END) - 2000))
            raise RuntimeError(said.read().decode("utf-8", "replace").strip() or f"exit status {status}")
    return took_s


def told(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """The number that a program prints last: it measures itself. Raises RuntimeError with its last words when it fails."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=dict(env), timeout=LIMIT_S, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"exit status {done.returncode}")
    return float(done.stdout.split()[-1])
