"""What runs ON the device: standard library only, Python 3.9 or newer, nothing else of ours.

    coordinator ══ frames over any byte stream ══ supervisor ── frames over a socket pair ── host
                                                      │                                       │
                                                   journal (its memory, fsynced)      the Stageflow pipeline

The folder is shipped as one zip named by its hash (see `runner.target.bundle`).
"""
