"""The walls of the house, read from ARCHITECTURE.md and held against every import in `runner/`."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "runner"
GROUND = {"errors", "clock", "disk_log"}
ONDEVICE = sorted((PACKAGE / "ondevice").glob("*.py"))
Table = dict[str, set[str]]


def read_table(architecture: str) -> Table:
    """Room → the rooms that it may import, as the marked table says."""
    marked = architecture.partition("<!-- imports -->")[2].partition("<!-- /imports -->")[0]
    rows = [line.strip().strip("|").split("|") for line in marked.splitlines() if line.startswith("| `")]
    return {room.strip().strip("`"): set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows}


def modules(package: Path) -> Iterator[tuple[str, ast.Module]]:
    """Every file below `package` as its dotted path inside it (`lab.where`, `lab.__init__`) and its syntax tree."""
    for path in sorted(package.rglob("*.py")):
        if "builtin" not in path.parts:
            yield ".".join(path.relative_to(package).with_suffix("").parts), ast.parse(path.read_text(), str(path))


def imported(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted path) of all that a file imports: anywhere in it, relative, under TYPE_CHECKING, or named in a table."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = ["runner", *module.split(".")][: -node.level] if node.level else []
            base = [*parents, *(node.module or "").split(".")] if node.module else parents
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"runner\.[a-z_.]+(:\w+)?", str(node.value)):
            yield node.lineno, str(node.value).partition(":")[0]


def climbing(package: Path, table: Table) -> list[str]:
    """Each import between rooms that the table does not allow."""
    found = []
    for module, tree in modules(package):
        room = "cli" if module == "__main__" else module.partition(".")[0]
        allowed = {room, *table.get(room, set()), *(GROUND if room != "ondevice" else ())}
        for line, path in imported(module, tree):
            top, _, rest = path.partition(".")
            target = rest.partition(".")[0]
            if top == "runner" and target in table and target not in allowed:
                found.append(f"{module}:{line} imports {target}")
    return found


def rooms(package: Path) -> set[str]:
    return {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__", "__main__"}


TABLE = read_table((REPOSITORY / "ARCHITECTURE.md").read_text())


def test_no_import_climbs() -> None:
    """Every import in runner/ is one that the table in ARCHITECTURE.md allows."""
    assert climbing(PACKAGE, TABLE) == []


def test_the_table_knows_every_room_and_no_other() -> None:
    """A new room in runner/ needs a row; a room that is gone loses it."""
    assert set(TABLE) == rooms(PACKAGE)
    assert set().union(*TABLE.values()) <= set(TABLE)


@pytest.mark.parametrize(
    "source",
    [
        "import runner.cli.main",
        "from runner.cli import main",
        "from runner import cli",
        "from ..cli.main import main",
        "from .. import cli",
        "def later():\n    from runner.cli.main import main",
        "if TYPE_CHECKING:\n    from runner.cli.main import main",
        "LAZY = {'x': 'runner.cli.main:main'}",
    ],
)
def test_a_climbing_import_is_caught_wherever_it_hides(tmp_path: Path, source: str) -> None:
    """The negative control: model/ importing cli/ is found in each form that an import can take."""
    for name, text in (("model/bad.py", source), ("model/__init__.py", ""), ("cli/main.py", "from runner.model import bad")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (caught,) = climbing(tmp_path, {"model": set(), "cli": {"model"}})
    assert caught.endswith("imports cli")
    assert climbing(tmp_path, {"model": {"cli"}, "cli": {"model"}}) == []


# ---- what runs on the device ------------------------------------------------------------------------------------------


def test_the_supervisor_imports_only_the_standard_library_and_itself() -> None:
    """Nothing of ours and nothing installed; only the host imports Stageflow, and only inside a function."""
    for path in ONDEVICE:
        tree = ast.parse(path.read_text())
        late = {inner for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{path.name}:{node.lineno} leaves its folder"
                names = [node.module or ""] if node.level == 0 else []
            for top in (name.partition(".")[0] for name in names):
                ours = top == "ondevice" and path.name == "__main__.py"  # the zip's own top-level package
                stageflow = top == "stageflow" and path.name == "host.py" and node in late
                assert top in sys.stdlib_module_names or ours or stageflow, f"{path.name}:{node.lineno} imports {top}"


@pytest.mark.parametrize("path", ONDEVICE, ids=lambda path: path.name)
def test_the_supervisor_is_python_3_9(path: Path) -> None:
    """Every file parses as Python 3.9, and no annotation is evaluated, so `X | Y` may stand only there."""
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    annotated = [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation]
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert not annotated or [alias.name for node in future for alias in node.names] == ["annotations"]
    assert list(unions_at_run_time(tree)) == []


def unions_at_run_time(tree: ast.Module) -> Iterator[int]:
    """Lines with `X | Y` between types outside of annotations."""
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, None)
    types = {"int", "str", "bytes", "float", "bool", "dict", "list", "tuple", "set"}
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            sides = {ast.unparse(node.left), ast.unparse(node.right)}
            if sides & {"None", *types}:
                yield node.lineno


def test_python_3_10_in_the_supervisor_is_caught() -> None:
    """The negative control: a match statement does not parse, and an evaluated union is found."""
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case _: pass", feature_version=(3, 9))
    assert list(unions_at_run_time(ast.parse("Answer = int | None\ndef f(a: int | None) -> str | None: ..."))) == [1]


def test_a_real_python_3_9_imports_the_supervisor() -> None:
    """Where a Python 3.9 is at hand, it imports every file that is shipped."""
    python = next(Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"), None) or shutil.which("python3.9")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("no Python 3.9 here")
    names = [path.stem for path in ONDEVICE if not path.stem.startswith("__")]
    code = "import " + ", ".join(f"ondevice.{name}" for name in names)
    done = subprocess.run([python, "-B", "-c", code], cwd=PACKAGE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- what nobody does -------------------------------------------------------------------------------------------------


MAY_PRINT = ("cli.", "ondevice.", "target.emulation.keeper")
SPEAKS = {"print", "exit", "quit", "sys.exit"}
NEVER = {"eval", "exec", "compile", "os.system", "os.popen", "asyncio.create_subprocess_shell", "yaml.load", "__import__"}
NEVER_IMPORTED = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Every call by the name that it is called by."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def speaking(module: str, tree: ast.Module) -> list[str]:
    """Prints and exits outside of the rooms that face a person or are a program of their own."""
    return [f"{module}:{call.lineno} {name}" for name, call in calls(tree) if name in SPEAKS and not module.startswith(MAY_PRINT)]


def dangerous(module: str, tree: ast.Module) -> list[str]:
    """Code from data, a shell between us and a command, pickles."""
    found = [f"{module}:{line} {path}" for line, path in imported(module, tree) if path.partition(".")[0] in NEVER_IMPORTED]
    for name, call in calls(tree):
        shell = any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in call.keywords)
        if name in NEVER or shell:
            found.append(f"{module}:{call.lineno} {name}")
    return found


@pytest.mark.parametrize("detector", [speaking, dangerous])
def test_nobody_does_it(detector: Callable[..., list[str]]) -> None:
    """Only faces and programs of their own print or exit; nobody evaluates data, unpickles, or calls a shell."""
    assert [found for module, tree in modules(PACKAGE) for found in detector(module, tree)] == []


@pytest.mark.parametrize(
    ("detector", "source"),
    [
        (speaking, "print(1)"),
        (speaking, "import sys\nsys.exit(1)"),
        (dangerous, "import pickle"),
        (dangerous, "from pickle import loads"),
        (dangerous, "eval('1')"),
        (dangerous, "exec('1')"),
        (dangerous, "subprocess.run('ls', shell=True)"),
        (dangerous, "asyncio.create_subprocess_shell('ls')"),
    ],
)
def test_each_of_these_would_be_caught(detector: Callable[..., list[str]], source: str) -> None:
    """The negative control of the two detectors."""
    assert len(detector("story.bad", ast.parse(source))) == 1


TRANSPORTS = {"asyncssh", "paramiko", "fabric", "serial"}
LOADED = """
import sys
try:
    {}
finally:
    print("\\n@", *sorted({!r} & set(sys.modules)))
"""


@pytest.mark.parametrize("words", [["--help"], ["device", "list"], ["entry", "list"], ["exec", "EDGE-002", "--dry-run"]], ids=" ".join)
def test_looking_imports_no_transport(run_python: Callable[..., Any], words: list[str]) -> None:
    """Commands that touch no device stay quick: no SSH, no serial line is imported for them."""
    done = run_python(LOADED.format(f"from runner.cli.main import main; main({words!r})", TRANSPORTS))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["@"]


def test_an_imported_transport_is_caught(run_python: Callable[..., Any]) -> None:
    """The negative control: a command that imported asyncssh would be seen."""
    assert run_python(LOADED.format("import asyncssh", TRANSPORTS)).stdout.split() == ["@", "asyncssh"]
