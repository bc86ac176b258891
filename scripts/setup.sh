# Sourced by scripts/demo and scripts/test: says what is missing, installs it where that is allowed.
# After `venv`, `$PYTHON` is a Python with this project in it.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
REPOSITORY=$PWD
unset PYTHONDONTWRITEBYTECODE # thousands of processes are started by tests and measurements: compiled once, each needs half of its time

say() { if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[1m%s\033[0m\n' "$*" >&2; else printf '%s\n' "$*" >&2; fi; }

# as_root COMMAND …: with root or a sudo that asks nothing; else status 1
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

# packages NAME …: installs Debian packages that are missing; status 1 where that cannot be done
packages() {
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || return 1
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null | grep -q '^ii' || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    say "installing ${missing[*]}"
    as_root apt-get update -q >/dev/null &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
}

python_works() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# venv EXTRA: a virtual environment in .venv with this project, editable, and its EXTRA ("" or "[dev]")
venv() {
    local base="" candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && python_works "$candidate"; then base=$candidate && break; fi
    done
    if [ -z "$base" ]; then
        packages python3 python3-venv || true
        base=python3
        if ! python_works python3; then
            packages python3.11 python3.11-venv || true
            base=python3.11
        fi
        python_works "$base" || { say "needs Python 3.11 or newer with its venv module"; exit 2; }
    fi
    [ -x .venv/bin/python ] || { say "making a virtual environment in .venv"; "$base" -m venv .venv; }
    PYTHON=$REPOSITORY/.venv/bin/python
    (cd / && "$PYTHON" -c 'import runner') 2>/dev/null || say "installing what it needs from the package index: a minute or two the first time"
    "$PYTHON" -m pip install -q --disable-pip-version-check -e ".$1"
}

EMULATION_PACKAGES="qemu-system-arm qemu-system-x86 nbdkit mmdebstrap fakeroot e2fsprogs kmod debian-archive-keyring"
