"""How a careful application keeps a file: written aside, fsynced, renamed, folder fsynced."""

import os


def keep(name: str, data: bytes) -> str:
    """Replaces file `name` in the working folder by `data`; durable when this returns."""
    with open(name + ".part", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(name + ".part", name)
    folder = os.open(".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return name


def load(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()
