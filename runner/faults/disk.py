"""disk: the folder that stages get as SCARCE_FOLDER is a file system of its own, and something is wrong with it.

    full         not a block is left             read_only    it takes nothing (EROFS)
    no_inodes    not a file can be made          io_errors    the medium fails (EIO); a file system that meets that gives up (EROFS)

The supervisor makes it in an image of its own before the pipeline begins (`runner/ondevice/small_disk.py`), so it is there outside of the
fault's windows, too; what the guard does is to spoil it and to mend it. The device's own disks are never touched.
"""

from __future__ import annotations

import json

from runner.errors import AskError
from runner.faults import kernel
from runner.faults.kernel import NOTHING_BEFORE, Before
from runner.model.device import DataLink
from runner.model.profile import Disk
from runner.model.program import Act, Program, Sign

WORDS = {"full": "disk full", "no_inodes": "no inodes left", "read_only": "disk read-only", "io_errors": "disk fails"}
_OFF = (kernel.words("@supervisor disk mend kept"),)  # its next window finds it there, whoever runs meanwhile
_UNDO = (kernel.words("@supervisor disk mend"),)
_SIGNS = (Sign(argv=("@supervisor", "disk", "shown"), contains="spoilt: "),)


def program(
    settings: Disk, link: DataLink, name: str, seed: int, capabilities: frozenset[str], before: Before = NOTHING_BEFORE
) -> Program:
    """The windows of `settings` as steps. Raises AskError for a device that can make no such disk."""
    needs = ("loop", "device-mapper") if settings.what == "io_errors" else ("loop",)
    for need in needs:
        if need not in capabilities:
            kind, more = ("that fails ", " and dm-flakey") if need != "loop" else ("", "")
            raise AskError(
                f"the device has no {need}: a disk of its own {kind}cannot be made there",
                expected=f"a kernel with loop devices{more}, mkfs.ext4, and a supervisor as root",
                do="take another device (runner device list)",
            )
    on = (Act(argv=("@supervisor", "disk", "spoil"), input=json.dumps({"what": settings.what, "fails": settings.fails}, sort_keys=True)),)
    return Program(
        name=name,
        fault="disk",
        interface="",
        resources=("scarce disk",),
        needs=needs,
        steps=kernel.bounded(kernel.toggled(settings, on, _OFF, WORDS[settings.what])),
        undo=_UNDO,
        signs=_SIGNS,
        lasts_s=kernel.lasts_s(settings),
        stage=settings.stage,
        edge=settings.edge,
    )


def figures(settings: Disk) -> str:
    return f"{WORDS[settings.what]}, of {settings.size_mib} MiB"
