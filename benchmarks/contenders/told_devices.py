"""The devices as every contender's program is told of them: `devices(FOLDER, COUNT)`. Standard library only."""

import json
import os
from typing import Any


def devices(folder: str, count: str) -> list[dict[str, Any]]:
    with open(os.path.join(folder, "devices.json")) as file:
        found: list[dict[str, Any]] = json.load(file)
    return found[: int(count)]
