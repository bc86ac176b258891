"""What a finished stage leaves behind, and the one hash over all of it.

The device and whoever judges it use these same functions, so that both mean the same by "state".
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any

from .journal import Record

ENDS = ("finished", "failed", "refused", "abandoned")  # the kinds of record that end a journal
FILES_KEY = "files"  # an output's list of files that the stage wrote, relative to its working folder
_KEPT = ("status", "data", "files", "error", "version")


_SHAPES: dict[str, dict[str, type]] = {
    "began": {"stages": list, "holds": list},
    "stage_started": {"stage": str},
    "stage_finished": {"stage": str, "status": str, "data": dict, "files": dict, "duration_ns": int},
    "restored": {
        "through_sequence": int,
        "chain": str,
        "records_found": int,
        "state_sha256": str,
        "replay": list,
        "rejected": dict,
        "supervisor_started_ns": int,
    },
    "resumed": {"restored_flushed_ns": int},
    "finished": {"state_sha256": str},
    "sample": {"metrics": dict},
    "confined": {},
}


def well_formed(record: Record) -> bool:
    """Whether a record holds what its kind must hold. A device is not trusted to write only such records."""
    return has_shape(record.payload, _SHAPES.get(record.kind, {}))


def has_shape(said: dict[str, Any], shape: dict[str, type]) -> bool:
    """Whether each key of `shape` is there with a value of just that type, and every whole number one that a clock could show."""
    for key, wanted in shape.items():
        value = said.get(key)
        if type(value) is not wanted or (isinstance(value, int) and not 0 <= value < 2**63):
            return False
    return True


def finished_stages(records: Iterable[Record]) -> dict[str, dict[str, Any]]:
    """Each stage's last journaled end: status, data, files, error, version."""
    ends = (record.payload for record in records if record.kind == "stage_finished")
    return {end["stage"]: {key: end.get(key) for key in _KEPT} for end in ends}


def state_hash(results: dict[str, dict[str, Any]]) -> str:
    """SHA-256 over every stage's status, data and files: equal states, equal hash, whatever the attempts."""
    state = {name: {key: result[key] for key in ("status", "data", "files")} for name, result in results.items()}
    return hashlib.sha256(json.dumps(state, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def hash_files(folder: str, paths: Iterable[str]) -> dict[str, str]:
    """SHA-256 of each file named in an output. Raises OSError when one is not there."""
    found = {}
    for path in paths:
        with open(os.path.join(folder, path), "rb") as file:
            found[path] = hashlib.sha256(file.read()).hexdigest()
    return found


def damage(folder: str, result: dict[str, Any]) -> str:
    """Why the files below `folder` are not those of `result["files"]` (path → SHA-256), or "" when they are."""
    for path, sha256 in result["files"].items():
        try:
            found = hash_files(folder, [path])[path]
        except OSError as error:
            return f"{path}: {error.strerror}"
        if found != sha256:
            return f"{path}: hash {found[:12]}, journaled {sha256[:12]}"
    return ""
