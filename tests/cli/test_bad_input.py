"""What people get wrong, in every file that they edit and every name that they type: one sentence, exit 2, nothing made.

Each table says what is put in and what the sentence must contain; the tests below ask the same of every row.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main as module
from runner.lab.where import builtin_root

Runner = Callable[..., Any]
ENTRY = "pipelines/edge_002/entry.yaml"
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))

# every file of a lab: one that is sound, and the words that read it
FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "inventory.yaml": ("devices: {m: {type: mine}}\n", ("device", "show", "m")),
    "devices/mine.yaml": (
        "title: t\narch: native\ntransport: local\npower: process\nloss: process_crash\n",
        ("device", "power", "m"),
    ),
    "profiles/mine.yaml": ("title: t\nfaults:\n  - fault: steady\n", ("profile", "show", "mine")),
    ENTRY: ((builtin_root() / ENTRY).read_text(), ("exec", "EDGE-002", "--dry-run")),
}

# what may be wrong with any of them: what becomes of the sound text, and what is said of it
ANY_FILE: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "empty": (lambda good: "", "the file is empty"),
    "only a comment": (lambda good: "# later\n", "the file is empty"),
    "a tab": (lambda good: good + "\tx: 1\n", "do: replace the tab with spaces"),
    "a key twice": (lambda good: f"{good}{good.splitlines()[-1]}\nx: 1\nx: 2\n", "'x' a second time (first in line "),
    "an unknown key": (lambda good: good + "titel: 1\n", "unknown key 'titel'"),
    "a bomb": (lambda good: BOMB, "do: write the value itself"),
    "an object": (
        lambda good: good + "x: !!python/object/apply:os.system [ls]\n",
        "a tag (tag:yaml.org,2002:python/object/apply:os.system)",
    ),
    "binary": (lambda good: b"\x7fELF\n\x01\xff", "2: cannot be read: byte 0xff at 6 is no UTF-8"),
    "a zero byte": (lambda good: good + "x: \0\n", "unacceptable character '\\x00'"),
    "UTF-16": (lambda good: good.encode("utf-16"), "cannot be read: byte 0xff at 0 is no UTF-8"),
    "10 MB": (lambda good: good + "#" * 10_000_000, "bytes\n  expected: UTF-8 text of at most 1000000 bytes"),
    "a list": (lambda good: "- 1\n", "the file is [1]\n  expected: a mapping of keys"),
    "a word": (lambda good: "hello\n", "the file is 'hello'\n  expected: a mapping of keys"),
    "two documents": (lambda good: f"{good}---\n{good}", "expected a single document in the stream"),
    "too deep": (lambda good: "[" * 9999, "nested deeper than 20 levels"),
    "an escape": (lambda good: '"\\e[31mred": 1\n', r"unknown key '\x1b[31mred'"),
    "a line in a key": (lambda good: '"a\\nb": 1\n', r"unknown key 'a\nb'"),
    "500 wrong keys": (lambda good: good + "".join(f"k{n}: 1\n" for n in range(500)), "more complaints about this file"),
}

# wrong values, each in its file: what stands there, what is put in its place, what is said
VALUES: list[tuple[str, str, str, str]] = [
    ("inventory.yaml", "{type: mine}", "{type: [mine]}", "devices.m.type is ['mine']\n  expected: text"),
    ("inventory.yaml", "{type: mine}", "{type: mien}", "no device type is called 'mien' (did you mean 'mine'?)"),
    ("inventory.yaml", "{type: mine}", "{type: ../mine}", "no device type is called '../mine' (did you mean 'mine'?)"),
    ("inventory.yaml", "{type: mine}", "{type: mine, port: 99999}", "devices.m.port is 99999\n  expected: less than or equal to 65535"),
    ("inventory.yaml", "{type: mine}", "{type: mine, port: ssh}", "devices.m.port is 'ssh'\n  expected: a whole number"),
    ("inventory.yaml", "{m: {type", "{../m: {type", "devices has the key '../m'"),
    ("inventory.yaml", "{m: {type", '{"\\e[2J": {type', r"devices has the key '\x1b[2J'"),
    ("inventory.yaml", "{m: {type: mine}}", "[m]", "devices is ['m']\n  expected: a mapping of keys"),
    ("devices/mine.yaml", "arch: native", "arch: Native", "arch is 'Native' (did you mean 'native'?)"),
    ("devices/mine.yaml", "power: process", "power: proces", "no power driver is called 'proces' (did you mean 'process'?)"),
    ("devices/mine.yaml", "title: t", "titel: t", "title is missing\n  expected: a value for 'title'\n  do: runner schema device"),
    ("profiles/mine.yaml", "fault: steady", "fault: stedy", "faults.0.fault is 'stedy' (did you mean 'steady'?)"),
    ("profiles/mine.yaml", "  - fault: steady", "  fault: steady", "expected: a list\n  do: runner schema profile"),
    (ENTRY, "default: 12", "default: -1", "cuts.default is -1"),
    (ENTRY, "restored_s: 5", "restored_s: soon", "limits.restored_s is 'soon'\n  expected: a number"),
    (ENTRY, "lanes: 2", "lanes: 2.5", "scenarios.stress.lanes is 2.5\n  expected: a whole number"),
    (ENTRY, "stageflow: 1.2.0", "stageflow: 1.2", "stageflow is 1.2\n  expected: text; a number in quotes is text"),
    (ENTRY, "risk: Severe", "risk: severe", "risk is 'severe' (did you mean 'Severe'?)"),
    (ENTRY, "profile: steady", "profile: stedy", "no profile is called 'stedy' (did you mean 'steady'?)"),
    (ENTRY, "pipeline: baseline", "pipeline: baselin", "no pipeline is called 'baselin' (did you mean 'baseline'?)"),
    (ENTRY, "pipeline: baseline", "pipeline: ../x", "scenarios.baseline.pipeline is '../x'"),
    (ENTRY, "check: finished", "check: finishd", "no check is called 'finishd' (did you mean 'finished'?)"),
    (ENTRY, "severity: critical", "severity: awful", "scenarios.baseline.checks.0.severity is 'awful'"),
    (ENTRY, "  baseline:\n", "  base/line:\n", "scenarios has the key 'base/line'"),
    (ENTRY, "id: EDGE-002", "id: EDGE-003", "id is 'EDGE-003'\n  expected: 'EDGE-002', as the folder says"),
    (
        ENTRY,
        "[ingest, screen, aggregate, train, forecast, ledger, seal]",
        "[]",
        "scenarios.baseline.stages is []\n  expected: at least 1, not 0",
    ),
]

# names as people type them: the words before, and whether a name that is near is offered
NAMES: list[tuple[str, ...]] = [
    ("exec",), ("exec", "EDGE-002", "--device"), ("exec", "EDGE-002", "--scenario"), ("exec", "EDGE-002", "--stageflow"),
    ("exec", "EDGE-002", "--fail-on"), ("exec", "EDGE-002", "--cuts"), ("exec", "EDGE-002", "--seed"),
    ("device", "show"), ("profile", "show"), ("entry", "show"), ("entry", "new"), ("entry", "check"), ("entry", "brief"),
    ("entry", "list", "--industry"), ("run", "show"), ("run", "verify"), ("run", "archive"), ("report",), ("finding", "show"),
    ("finding", "list", "--device"), ("finding", "list", "--entry"), ("finding", "list", "--severity"), ("schema",), (), ("entry",),
    ("finding",), ("device",), ("finding", "import", "--entry", "EDGE-002"),
]  # fmt: skip
ODD = {
    "path": "../../x",
    "escape": "\x1b[31mred\x07",
    "line": "a\nb",
    "long": "x" * 300,
    "very long": "x" * 100_000,
    "empty": "",
    "bidi": "\u202ex",
}

NEAR: list[tuple[tuple[str, ...], str]] = [
    (("exec", "EDGE-02"), "(did you mean 'EDGE-002'?)"),
    (("exec", "edge-02"), "(did you mean 'EDGE-002'?)"),
    (("exec", "CORE-001"), "do: runner entry new CORE-001"),
    (("exec", "core-001"), "do: runner entry new CORE-001"),
    (("exec", "EDGE-002", "--device", "LOCL"), "(did you mean 'local'?)"),
    (("exec", "EDGE-002", "--fail-on", "hihg"), "(did you mean 'high'?)"),
    (("exec", "EDGE-002", "--cuts", "1000000000"), "1 to 1000"),
    (("profile", "show", "Steadi"), "(did you mean 'steady'?)"),
    (("entry", "chek", "EDGE-002"), "(did you mean 'check'?)"),
    (("finding", "shwo"), "(did you mean 'show'?)"),
    (("schema", "inventroy"), "(did you mean 'inventory'?)"),
    (("finding", "list", "--entry", "EDGE-02"), "(did you mean 'EDGE-"),
    (("finding", "list", "--device", "locla"), "(did you mean 'local'?)"),
    (("entry",), "expected: one of brief, check, list"),
    (("--lab", "", "device", "list"), "the word behind '--lab' is empty"),
    (("--lab", "nowhere", "device", "list"), "nowhere is not a lab: there is nothing"),
    (("--lab", "inventory.yaml", "device", "list"), "inventory.yaml is not a lab: it is no folder"),
    (("--lab", "~nobody-of-this-name", "device", "list"), "expected: a folder"),
    (("--lab", ".", "init", "other"), "two folders are named"),
]  # fmt: skip


@pytest.fixture
def lab(make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_lab({})
    monkeypatch.chdir(root)
    return root


def given(lab: Path, name: str, text: str | bytes | None = None) -> tuple[str, ...]:
    """A lab in which `name` holds `text` (else what is sound); the words that read it."""
    words = FILES[name][1]
    needed = {"devices/mine.yaml": ["inventory.yaml"], "inventory.yaml": ["devices/mine.yaml"]}.get(name, [])
    if name == ENTRY:
        shutil.copytree(builtin_root() / "pipelines/edge_002", lab / "pipelines/edge_002", ignore=shutil.ignore_patterns("__pycache__"))
    for one in (*needed, name):
        (lab / one).parent.mkdir(parents=True, exist_ok=True)
        (lab / one).write_text(FILES[one][0])
    if text is not None:
        (lab / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return words


def refused(runner: Runner, words: tuple[str, ...], contains: str, *, file: str = "") -> None:
    """Said in text and in JSON alike, with exit 2 and nothing made; no traceback, nothing that moves a cursor, no endless line."""
    places = (Path.cwd(), Path(os.environ["RUNNER_STATE"]))
    before = {path for place in places for path in place.rglob("*")}
    said, as_json = runner(*words), runner("--json", *words)
    assert (said.exit_code, as_json.exit_code) == (2, 2), said.out + said.err
    assert contains in said.err, said.err
    assert f"{file}:" in said.err, said.err
    assert "Traceback" not in said.err + as_json.err
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)
    assert len(said.err) < 20_000
    assert all(one["found"] for one in as_json.json["error"]["all"])
    assert "\n" not in "".join(one["where"] + one["do"] for one in as_json.json["error"]["all"])
    assert {path for place in places for path in place.rglob("*")} == before


@pytest.mark.parametrize("name", FILES)
def test_a_sound_file_is_read(runner: Runner, lab: Path, name: str) -> None:
    """The negative control of every table below; with Windows' line ends and a byte order mark, too."""
    words = given(lab, name)
    assert runner(*words).exit_code == 0
    (lab / name).write_bytes(b"\xef\xbb\xbf" + FILES[name][0].replace("\n", "\r\n").encode())
    assert runner(*words).exit_code == 0


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("trouble", ANY_FILE)
def test_a_file_that_is_wrong_is_told_with_its_line(runner: Runner, lab: Path, name: str, trouble: str) -> None:
    """Whichever file it is."""
    make, contains = ANY_FILE[trouble]
    words = given(lab, name, make(FILES[name][0]))
    refused(runner, words, contains, file=name.rpartition("/")[2])


@pytest.mark.parametrize(("name", "before", "after", "contains"), VALUES)
def test_a_value_that_is_wrong_is_told_with_what_may_stand_there(
    runner: Runner, lab: Path, name: str, before: str, after: str, contains: str
) -> None:
    """What was found, what is expected, and the nearest name where a name was meant."""
    text = FILES[name][0]
    assert before in text
    refused(runner, given(lab, name, text.replace(before, after, 1)), contains)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("kind", "contains"), [("folder", "no ordinary file"), ("pipe", "no ordinary file"), ("link", "a link to nothing")]
)
def test_what_is_no_file_is_told_and_nothing_else_is_read_in_its_place(
    runner: Runner, lab: Path, name: str, kind: str, contains: str
) -> None:
    """A built-in of the same name, or another lab further up, would be a silent lie; a pipe would wait for ever."""
    words = given(lab, name)
    (lab / name).unlink()
    {"folder": os.mkdir, "pipe": os.mkfifo, "link": lambda path: os.symlink("nowhere", path)}[kind](lab / name)
    refused(runner, words, f"cannot be read: {contains}", file=name.rpartition("/")[2])


@pytest.mark.parametrize("before", NAMES, ids=lambda words: " ".join(words) or "runner")
@pytest.mark.parametrize("odd", ["escape", *(pytest.param(odd, marks=pytest.mark.real) for odd in ODD if odd != "escape")])
def test_an_odd_name_is_told_and_makes_nothing(runner: Runner, lab: Path, before: tuple[str, ...], odd: str) -> None:
    """Whatever it is a name of."""
    refused(runner, (*before, ODD[odd]), "")


@pytest.mark.parametrize(("words", "contains"), NEAR, ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_what_was_meant_is_offered(runner: Runner, lab: Path, words: tuple[str, ...], contains: str) -> None:
    """The nearest name, in either case; or what there is; or how to make it."""
    refused(runner, words, contains)


def test_one_broken_entry_hides_no_other(runner: Runner, lab: Path) -> None:
    """The list is whole; the broken one keeps its place, and is named with its line."""
    for folder, text in (("fin_001", "title: 5\n"), ("mine_001", "[")):
        (lab / "pipelines" / folder).mkdir(parents=True)
        (lab / "pipelines" / folder / "entry.yaml").write_text(text)
    said = runner("--json", "entry", "list")
    assert (said.exit_code, len(said.json["entries"])) == (0, 309)
    assert {one["where"].rpartition("pipelines/")[2] for one in said.json["broken"]} >= {"fin_001/entry.yaml:1", "mine_001/entry.yaml:1"}
    built_in = sorted(path.parent.name.upper().replace("_", "-") for path in builtin_root().glob("pipelines/*/entry.yaml"))
    assert {row["id"] for row in runner("--json", "entry", "list", "--here").json["entries"]} == {*built_in, "FIN-001", "MINE-001"}
    text = runner("entry", "list", "--industry", "energy").out
    assert "broken: ./pipelines/fin_001/entry.yaml:1: title is 5" in text
    assert "EDGE-002" in text


def test_check_names_what_is_unknown_though_the_schema_is_broken(runner: Runner, lab: Path) -> None:
    """All complaints at once: a wrong type, an unknown check, an unknown profile and an unknown pipeline."""
    text = FILES[ENTRY][0]
    for before, after in (
        ("lanes: 2", "lanes: two"),
        ("check: finished", "check: finishd"),
        ("profile: steady", "profile: stedy"),
        ("pipeline: chaos", "pipeline: choas"),
    ):
        text = text.replace(before, after, 1)
    given(lab, ENTRY, text)
    found = {one["found"] for one in runner("--json", "entry", "check", "EDGE-002").json["error"]["all"]}
    assert found == {
        "scenarios.stress.lanes is 'two'",
        "no check is called 'finishd' (did you mean 'finished'?)",
        "no profile is called 'stedy' (did you mean 'steady'?)",
        "no pipeline is called 'choas' (did you mean 'chaos'?)",
    }


def test_init_uses_the_lab_that_is_named(runner: Runner, lab: Path, tmp_path: Path) -> None:
    """`--lab X init` is `init X`; what is there already is not written over, a broken link neither."""
    assert runner("--lab", str(tmp_path / "new"), "init").exit_code == 0
    assert (tmp_path / "new" / "inventory.yaml").is_file()
    assert "is a lab already" in runner("--lab", str(tmp_path / "new"), "init").err


@pytest.mark.parametrize("words", [("--help",), ("exec", "--help"), ("finding", "export", "csv", "-h")], ids=" ".join)
def test_help_is_one_object_too(runner: Runner, lab: Path, words: tuple[str, ...]) -> None:
    """Whenever --json is given, standard output is exactly one object."""
    said = runner("--json", *words)
    assert (said.exit_code, said.json["help"]) == (0, runner(*words).out)


@pytest.mark.parametrize("error", [RuntimeError("oh no"), KeyError("x"), RecursionError("deep")], ids=repr)
def test_our_bug_says_what_to_send_and_names_the_folder(
    runner: Runner, lab: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Exit 4, in JSON as in text; the run folder that was made meanwhile is named, one from before is not."""
    (lab / "runs/EDGE-002/run-2026-11-21-001").mkdir(parents=True)
    os.utime(lab / "runs/EDGE-002/run-2026-11-21-001", (1, 1))

    def fails(name: str) -> None:
        raise error

    monkeypatch.setattr(module, "import_module", fails)
    said = runner("--json", "run", "list")
    assert (said.exit_code, said.json["error"]["kind"]) == (4, "bug")
    assert "please report it with the traceback above, the command line" in said.json["error"]["do"]
    assert said.json["error"]["do"].endswith("no run folder was made")
    assert "Traceback" in said.err
    (lab / "runs/EDGE-002/run-2026-11-21-002").mkdir()
    os.utime(lab / "runs/EDGE-002/run-2026-11-21-002", (2**32, 2**32))
    assert f"send the folder {lab}/runs/EDGE-002/run-2026-11-21-002" in runner("run", "list").err


def test_a_folder_that_is_gone_is_told(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell still stands in it."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    said = runner("device", "list")
    assert (said.exit_code, "the current folder is gone" in said.err) == (2, True)


# rights: which file or folder may not be read or written, the words, what is said
RIGHTS: list[tuple[str, int, tuple[str, ...], str]] = [
    ("inventory.yaml", 0o000, ("device", "list"), "inventory.yaml:1: cannot be read: Permission denied"),
    ("devices/mine.yaml", 0o000, ("device", "show", "m"), "mine.yaml:1: cannot be read: Permission denied"),
    ("devices", 0o000, ("device", "show", "m"), "mine.yaml:1: cannot be read: Permission denied"),
    ("profiles", 0o000, ("profile", "list"), "profiles: cannot be read: Permission denied"),
    ("pipelines", 0o555, ("entry", "new", "FIN-001"), "cannot be made: Permission denied"),
    (".", 0o000, ("--lab", "{lab}", "device", "list"), "inventory.yaml:1: cannot be read: Permission denied"),
    (".", 0o555, ("init", "other"), "cannot be written: Permission denied"),
]  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize(("name", "mode", "words", "contains"), RIGHTS)
def test_a_right_that_is_missing_is_told(lab: Path, name: str, mode: int, words: tuple[str, ...], contains: str) -> None:
    """By somebody whom file modes bind: root, too, once it may not override them. Nothing is taken from the built-ins instead."""
    given(lab, "devices/mine.yaml")
    for folder in ("profiles", "pipelines"):
        (lab / folder).mkdir()
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    command = [*bound, sys.executable, "-c", "from runner.cli.main import main; main()", *(word.format(lab=lab) for word in words)]
    os.chmod(lab / name, mode)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=lab,
            env={**os.environ, "PYTHONPATH": str(builtin_root())},
        )
    finally:
        os.chmod(lab / name, 0o755)
    assert done.returncode == 2, done.stdout + done.stderr
    assert contains in done.stderr
    assert "Traceback" not in done.stderr
