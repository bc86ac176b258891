"""House rules for all code that is shipped: no code from data, no shell, no unsafe loader, no host key unasked, no guessed name.

Names are resolved through each file's imports, so that `from yaml import load as read` is `yaml.load`. `tests/test_floors.py`
has the same for pickles, `eval` and shells by their usual names.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = sorted(path for room in ("runner", "pipelines") for path in (ROOT / room).rglob("*.py") if "builtin" not in path.parts)

NEVER = re.compile(
    r"(builtins\.)?(eval|exec|compile|__import__)"
    r"|(pickle|cPickle|marshal|shelve|dill|cloudpickle|jsonpickle)(\..*)?"
    r"|os\.(system|popen|spawn\w+)|commands\..*|subprocess\.(getoutput|getstatusoutput)|asyncio\.(subprocess\.)?create_subprocess_shell"
    r"|yaml\.(load|load_all|unsafe_load\w*|full_load\w*|Loader|FullLoader|UnsafeLoader|CLoader|CFullLoader|CUnsafeLoader)"
    r"|tempfile\.mktemp|os\.(tempnam|tmpnam)"
    r"|paramiko\.(client\.)?(AutoAddPolicy|WarningPolicy)|ssl\._create_unverified_context"
)
ASKS_NO_KEY = re.compile(r"StrictHostKeyChecking\W+(no|off|accept-new)|UserKnownHostsFile\W+/dev/null", re.IGNORECASE)


def aliases(tree: ast.Module) -> dict[str, str]:
    """Local name → what it was imported as."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {
                each.asname or each.name.partition(".")[0]: each.name if each.asname else each.name.partition(".")[0] for each in node.names
            }
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return found


def bound(tree: ast.Module) -> set[str]:
    """Names that a file gives to values of its own: a parameter called `compile` is none of Python's."""
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return arguments | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def dotted(node: ast.expr) -> str:
    """`a.b.c` as it is written; "" for an attribute of anything but a name."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


def used(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every dotted name that a file imports, calls or speaks of, in full."""
    known, own = aliases(tree), bound(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            yield from ((node.lineno, f"{module}.{each.name}" if module else each.name) for each in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.lineno, known.get(node.func.id, node.func.id)
        elif isinstance(node, ast.Attribute) or (isinstance(node, ast.Name) and node.id not in own):
            first, dot, rest = dotted(node).partition(".")
            yield node.lineno, known.get(first, first) + dot + rest


def nothing(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def settings(tree: ast.Module) -> Iterator[tuple[int, str, ast.expr]]:
    """Each value that is given a name: as an argument, in a dict, by assignment to a key or to an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg:
            yield node.value.lineno, node.arg, node.value
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from ((key.lineno, str(key.value), value) for key, value in pairs if isinstance(key, ast.Constant))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                name = target.slice if isinstance(target, ast.Subscript) else None
                if isinstance(name, ast.Constant):
                    yield node.lineno, str(name.value), node.value


def breaches(source: str) -> list[str]:
    """Each breach of a rule in a file, with its line."""
    tree = ast.parse(source)
    arguments = {node.value for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    found = [(line, name) for line, name in used(tree) if NEVER.fullmatch(name)]
    for line, name, value in settings(tree):
        if name == "known_hosts" and nothing(value):
            found.append((line, "known_hosts=None"))
        if name == "shell" and (not nothing(value) if isinstance(value, ast.Constant) else value in arguments):
            found.append((line, "shell=…"))
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    found += [(node.lineno, "asks for no host key") for node in texts if ASKS_NO_KEY.search(node.value)]
    return [f"{line}: {name}" for line, name in sorted(set(found))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_breaks_a_rule(path: Path) -> None:
    """Neither the engine nor an entry that comes with it."""
    assert breaches(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads as read",
        "import marshal as m",
        "eval(text)",
        "run = exec",
        "compile(text, 'x', 'exec')",
        "def run(text, compile=True):\n    compile(text, 'x', 'exec')",
        "import builtins\nbuiltins.eval(text)",
        "import os\nos.system(text)",
        "from os import popen as read\nread(text)",
        "import subprocess as s\ns.getoutput(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=wanted)",
        "subprocess.run(text, **{'shell': True})",
        "asyncio.create_subprocess_shell(text)",
        "from asyncio import create_subprocess_shell as go\ngo(text)",
        "import yaml\nyaml.load(text, yaml.SafeLoader)",
        "from yaml import unsafe_load",
        "import yaml as y\nclass Loader(y.FullLoader): ...",
        "import tempfile\ntempfile.mktemp()",
        "from tempfile import mktemp",
        "asyncssh.connect(host, known_hosts=None)",
        "asyncssh.connect(host, known_hosts=b'')",
        "options['known_hosts'] = None",
        "options = {'known_hosts': None}",
        "from paramiko import AutoAddPolicy",
        "import paramiko\nclient.set_missing_host_key_policy(paramiko.client.AutoAddPolicy())",
        "argv = ['ssh', '-o', 'StrictHostKeyChecking=no', host]",
        "line = 'StrictHostKeyChecking accept-new'",
        "argv += ['-oUserKnownHostsFile=/dev/null']",
    ],
)
def test_each_breach_would_be_found(source: str) -> None:
    """The negative control, in each form that a breach can take."""
    assert breaches(source)


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile(text)",
        "def unpack(tree, compile): return make(tree, compile)",
        "import yaml\nclass Loader(yaml.SafeLoader): ...",
        "import yaml\nyaml.safe_load(text)",
        "subprocess.run(words, shell=False)",
        "answer = {'shell': shell}",
        "import tempfile\ntempfile.mkdtemp()",
        "asyncssh.connect(host, known_hosts=keys)",
        "argv = ['ssh', '-o', 'StrictHostKeyChecking=yes', '-o', f'UserKnownHostsFile={pins}']",
    ],
)
def test_what_is_no_breach_is_left_alone(source: str) -> None:
    """The rules are about what is meant, not about words."""
    assert breaches(source) == []
