"""How a careful application keeps bytes: written aside, fsynced, renamed, folder fsynced; and lines, each on the disk at once."""

import json
import os


def keep(name, data):
    """Replaces file `name` in the working folder by these bytes; durable when this returns."""
    with open(name + ".part", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(name + ".part", name)
    _sync_folder()
    return name


def add_line(name, value):
    """Adds a line to a file of JSON lines; durable when this returns."""
    new = not os.path.exists(name)
    with open(name, "a") as file:
        file.write(json.dumps(value) + "\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        _sync_folder()


def lines(name):
    """The whole lines of such a file; one that a power cut has left in halves is none."""
    try:
        with open(name) as file:
            text = file.read()
    except FileNotFoundError:
        return []
    found = []
    for line in text.split("\n")[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _sync_folder():
    folder = os.open(".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
