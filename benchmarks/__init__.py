"""How fast the product is, beside the tools that people would otherwise use, in the same run and on the same machine.

    scripts/benchmark ─► peers      their own virtual environment; who cannot be had is named, never left out
                         servers    real sshd's on loopback, a throw-away key each
                         measurements.TABLE   one file each: cases, and in each case contenders that do the same work
                         rounds     every contender in turn, again and again, so that a busy moment hits all
                         page       median, spread and ratio: results.json, docs/performance.md and its chart

Only ratios of one run mean anything: an absolute time stands beside the machine that it was taken on, and nowhere else.
"""
