"""Stageflow without us: stageflow_by_hand.py ENVIRONMENT PIPELINES MODULE imports, builds, and prints milliseconds since START_NS.

What a first stage costs before anybody hurts anything: no supervisor, no journal, no device.
"""

import importlib
import os
import sys
import time

environment, pipelines, module = sys.argv[1:]
sys.path[:0] = [pipelines, environment]
importlib.import_module(module).build().build()
print((time.clock_gettime_ns(time.CLOCK_BOOTTIME) - int(os.environ["START_NS"])) / 1e6)
