"""`python3 supervisor.zip …` and `python3 -m runner.ondevice …` begin here."""

import sys

from ondevice.supervisor import main  # type: ignore[import-not-found] # the zip holds this folder as the top-level package `ondevice`

sys.exit(main(sys.argv[1:]))
