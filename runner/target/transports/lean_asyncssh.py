"""asyncssh, imported without its search for liboqs: that starts ldconfig, gcc and ld at every start of ours, which takes a
tenth of a second, and finds what we never offer. Post-quantum key exchanges are not in `ssh.KEY_EXCHANGE`.
"""

from __future__ import annotations

import ctypes.util

_find_library = ctypes.util.find_library
ctypes.util.find_library = lambda name: None if name in ("oqs", "liboqs") else _find_library(name)
try:
    import asyncssh
finally:
    ctypes.util.find_library = _find_library

__all__ = ["asyncssh"]
