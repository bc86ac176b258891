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

if sys.argv[1:2] == ["sensors"]:
    from ondevice import sensors

    sys.exit(sensors.main(sys.argv[2:]))

if sys.argv[1:2] == ["heater"]:
    from ondevice import own_heat

    sys.exit(own_heat.main(sys.argv[2:]))

if sys.argv[1:2] == ["confine"]:
    from ondevice import cgroup

    sys.exit(cgroup.main(sys.argv[2:]))

if sys.argv[1:2] == ["disk"]:
    from ondevice import small_disk

    sys.exit(small_disk.main(sys.argv[2:]))

if sys.argv[1:2] == ["clock"]:
    from ondevice import wrong_clock

    sys.exit(wrong_clock.main(sys.argv[2:]))

if sys.argv[1:2] == ["frequency"]:
    from ondevice import frequency

    sys.exit(frequency.main(sys.argv[2:]))

from ondevice.supervisor import main  # type: ignore[import-not-found]

sys.exit(main(sys.argv[1:]))
