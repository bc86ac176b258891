"""How a careful application keeps a file: written aside, fsynced, renamed, folder fsynced."""

import json
import os


def keep(name: str, value: object) -> str:
    """Replaces file `name` in the working folder by `value` as JSON; durable when this returns."""
    with open(name + ".part", "w") as file:
        json.dump(value, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.rename(name + ".part", name)
    folder = os.open(".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return name


def load(name: str):
    with open(name) as file:
        return json.load(file)
