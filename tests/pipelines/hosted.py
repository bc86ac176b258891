"""A pipeline in a host of its own, as on a device: Stageflow from its wheels, each stage reported, and no device around it.

    hosted("edge_003", "baseline", folder, {"FAR_END_HTTP": far_end.base})   →   {stage: {"status", "data", "files", …}}

`folder` is its working folder: run again in it, and what lies on the disk is there again. The wheels come from the cache, or an index.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.lab.where import builtin_root, cache_root
from runner.ondevice import facts
from runner.ondevice.channel import Channel
from runner.target.bundle import fetch_wheels

HOST = "import sys; from runner.ondevice.host import main; sys.exit(main(int(sys.argv[1])))"


def environment(stageflow: str, folder: Path) -> Path:
    """The wheels of one Stageflow, unpacked in `folder`, once."""
    there = folder / f"stageflow-{stageflow}"
    if not there.exists():
        for wheel in fetch_wheels(stageflow, facts.hello(str(folder), "", 0), cache_root(), lambda text: None):
            zipfile.ZipFile(wheel).extractall(there)
    return there


def hosted(
    entry: str, module: str, folder: Path, variables: dict[str, str], *, stageflow: str = "1.2.0", kill_at: str = "",
    limit_s: float = 120.0, entering: Callable[[list[str]], list[str]] = list,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Each stage's report. With `kill_at`, the host is killed when that stage has begun, and what had ended until then is given.

    `limit_s` is how long a stage may take; `entering` makes the host's command one that goes somewhere first, into a control group.
    """
    folder.mkdir(exist_ok=True)
    wheels = environment(stageflow, folder.parent)
    root = Path(__file__).resolve().parents[2]
    ours, theirs = socket.socketpair()
    ended: dict[str, dict[str, Any]] = {}
    with ours, tempfile.TemporaryFile() as witness:
        command = entering([sys.executable, "-c", HOST, str(theirs.fileno())])
        child_environment = {**os.environ, "PYTHONPATH": str(root), **variables}
        child = subprocess.Popen(command, pass_fds=(theirs.fileno(), witness.fileno()), env=child_environment, cwd=root)
        theirs.close()
        ours.settimeout(limit_s)
        channel = Channel(ours)
        try:
            paths = [str(builtin_root() / "pipelines"), str(wheels)]
            task = {"run": "EDGE.test/one-1", "paths": paths, "work": str(folder), "lane": "", "module": f"{entry}.{module}"}
            channel.tell({**task, "witness": witness.fileno(), "stage_timeout_s": 300.0, "settings": {}})
            while (said := channel.hear())["say"] not in ("done", "failed"):
                if said["say"] == "start" and said["stage"] == kill_at:
                    return ended
                if said["say"] == "end":
                    ended[said["stage"]] = {key: said.get(key) for key in ("status", "data", "files", "error")}
                channel.tell({"replays": 0, "attempt": {}} if said["say"] == "ready" else {"ack": True})
            if said["say"] == "done":
                channel.tell({"ack": True})
            assert said["say"] == "done", said
        finally:
            child.kill()
            child.wait()
    return ended
