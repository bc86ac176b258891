"""The device's end of a serial line for over_a_line.py, without the compression that the product always uses:  EPOCH on|off"""

from __future__ import annotations

import os
import sys
import termios
import time
import tty

from runner.ondevice.channels import Conversation
from runner.ondevice.line import Far, ready_words
from runner.ondevice.reliable import Reliable

epoch, compression = bytes.fromhex(sys.argv[1]), sys.argv[2] == "on"
line = os.open(os.ttyname(0), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
tty.setraw(line, termios.TCSANOW)
os.write(line, ready_words(epoch) + b"\r\n")
Far(line, Conversation(Reliable(epoch, False, time.monotonic_ns()), compression)).live()
