"""`python3 supervisor.zip …` and `python3 -m runner.ondevice …` begin here. The zip holds this folder as the package `ondevice`."""

import sys

if sys.argv[1:2] == ["attach"] and len(sys.argv) == 3:
    from ondevice.bridge import attach  # type: ignore[import-not-found]

    sys.exit(attach(sys.argv[2]))

if sys.argv[1:2] == ["guard"] and len(sys.argv) == 5:  # as small as it can be: there are two of them
    from ondevice import guard  # type: ignore[import-not-found]

    sys.exit(guard.main(*sys.argv[2:]))

if sys.argv[1:2] == ["shape"]:
    from ondevice import shaper

    sys.exit(shaper.main(sys.argv[2:]))

if sys.argv[1:2] == ["line"]:
    from ondevice import line

    sys.exit(line.main(sys.argv[2:]))

from ondevice.supervisor import main  # type: ignore[import-not-found]

sys.exit(main(sys.argv[1:]))
