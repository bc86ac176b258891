"""Fuzzes one target with atheris, for minutes or for hours, and says what came of it: `scripts/fuzz TARGET`.

    tests/fuzz/corpus/TARGET  ─►  atheris, from where the last campaign stood  ─►  build/fuzz/TARGET/finds    inputs that reach new code
                                                                              └─►  build/fuzz/TARGET/crash-…  one that broke the target

`build/` is not tracked. With --keep both go into the corpus, where a test replays them for ever; delete what teaches nothing. Exits 0
when nothing was found, 1 when there is a crasher, 2 when there is no such target or no atheris for this machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.targets import TARGETS

REPOSITORY = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).with_name("corpus")
LARGEST_INPUT_BYTES = 8192
SLOWEST_INPUT_S = 60  # one input that takes longer is a find, too


def main(words: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(words)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install -e '.[dev]' brings it on Linux, x86-64, Python 3.11 to 3.14", file=sys.stderr)
        return 2
    corpus = CORPUS / asked.target
    place: Path = (asked.finds or REPOSITORY / "build" / "fuzz" / asked.target).absolute()
    finds, crashes = (corpus, corpus) if asked.keep else (place / "finds", place)
    for folder in (corpus, finds, place):
        folder.mkdir(parents=True, exist_ok=True)
    (place / "words").write_text(_dictionary(corpus))
    before = _files(finds), _crashers(crashes)

    print(f"{asked.target}: {len(_files(corpus))} inputs in {corpus}, {len(before[0])} in {finds}; ^C ends it", flush=True)
    command = [sys.executable, "-m", "tests.fuzz.under_atheris", asked.target, f"-artifact_prefix={crashes}/", f"-dict={place / 'words'}"]
    command += [f"-max_len={LARGEST_INPUT_BYTES}", f"-timeout={SLOWEST_INPUT_S}", "-print_final_stats=1", f"-seed={asked.seed}"]
    command += [f"-runs={asked.runs}"] if asked.runs else []
    command += [f"-max_total_time={round(asked.minutes * 60)}"] if asked.minutes else []
    status = _run([*command, *dict.fromkeys([str(finds), str(corpus)])])

    new, crashers = _files(finds) - before[0], _crashers(crashes) - before[1]
    print(f"{asked.target}: {len(new - crashers)} new inputs in {finds}")
    for crasher in sorted(crashers):
        print(f"{asked.target}: broken by {crasher}; in {corpus} it is replayed by: pytest tests/fuzz/test_corpus.py -k {asked.target}")
    return 1 if crashers or status else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, help="end after so many; without, and without --runs, only ^C or a crasher ends it")
    parser.add_argument("--runs", type=int, help="end after so many inputs")
    parser.add_argument("--seed", type=int, default=0, help="the same seed and corpus try the same inputs; 0: another seed each time")
    parser.add_argument("--finds", type=Path, metavar="FOLDER", help="instead of build/fuzz/TARGET; from the repository on")
    parser.add_argument("--keep", action="store_true", help="write what is found into tests/fuzz/corpus/TARGET")
    return parser


def _run(command: list[str]) -> int:
    """The exit status; ^C is an ordinary end."""
    child = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.wait()
        return 0


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.is_file()}


def _crashers(folder: Path) -> set[Path]:
    """Inputs that raised something, took too long or too much memory, as libFuzzer names them."""
    return {path for kind in ("crash", "timeout", "oom") for path in folder.glob(f"{kind}-*")}


def _dictionary(corpus: Path) -> str:
    """The words of the corpus, for libFuzzer to put together anew."""
    words = {word for path in _files(corpus) for word in re.findall(rb"[A-Za-z_]{3,40}", path.read_bytes())}
    return "".join(f'"{word.decode()}"\n' for word in sorted(words))


if __name__ == "__main__":
    sys.exit(main())
