"""`python3 supervisor.zip …` and `python3 -m runner.ondevice …` begin here. The zip holds this folder as the package `ondevice`."""

import sys

PARTS = {  # by its word: the module that takes the words behind it
    "shape": "shaper", "line": "line", "sensors": "sensors", "heater": "own_heat", "frequency": "frequency",
    "confine": "cgroup", "disk": "small_disk", "clock": "wrong_clock",
}  # fmt: skip

word, words = "".join(sys.argv[1:2]), sys.argv[2:]

if word == "attach" and len(words) == 1:
    from ondevice.bridge import attach  # type: ignore[import-not-found]

    sys.exit(attach(*words))

if word == "guard" and len(words) == 3:  # as small as it can be: there are two of them
    from ondevice import guard  # type: ignore[import-not-found]

    sys.exit(guard.main(*words))

from importlib import import_module  # noqa: E402

module, words = (PARTS[word], words) if word in PARTS else ("supervisor", sys.argv[1:])
sys.exit(import_module(f"ondevice.{module}").main(words))
