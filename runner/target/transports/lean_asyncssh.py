"""asyncssh, imported in half the time and memory's upkeep that it takes by itself: every command over SSH begins with that.

Left out is what we never offer: liboqs, for post-quantum key exchanges that are not in `ssh.KEY_EXCHANGE` (the search for it
starts ldconfig, gcc and ld), and X.509 certificates, which OpenSSH and dropbear do not have either. What is imported stays to
the end, so no garbage collection need look at it: not while it is imported, and not once more as the process ends.
"""

from __future__ import annotations

import ctypes.util
import gc
import sys

_find_library = ctypes.util.find_library
_x509 = sys.modules.get("cryptography.x509")
_collecting = gc.isenabled()
gc.disable()
ctypes.util.find_library = lambda name: None if name in ("oqs", "liboqs") else _find_library(name)
if _x509 is None:
    sys.modules["cryptography.x509"] = None  # type: ignore[assignment] # as asyncssh expects it where it is not installed
try:
    import asyncssh
finally:
    ctypes.util.find_library = _find_library
    if _x509 is None:
        del sys.modules["cryptography.x509"]
    gc.freeze()
    if _collecting:
        gc.enable()

__all__ = ["asyncssh"]
