"""YAML with its lines kept: values for pydantic, and for every path of keys the line where it stands.

Plain data only (no tags, no anchors, no YAML-1.1 surprises such as `no` = false or `1:30` = 90), bounded
in size and depth. Every complaint about a file comes from here, with file:line, what stands there, what
is allowed and the nearest name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from runner.errors import Complaint
from runner.model.base import Value

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
PathOfKeys = tuple[str | int, ...]
Model = TypeVar("Model", bound=Value)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        problem = ""
        if isinstance(event, yaml.AliasEvent):  # a handful of aliases can unfold into gigabytes
            problem = "an alias (*name) stands here"
        elif event.tag:
            problem = f"a tag ({event.tag}) stands here"
        elif self.depth > MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_SCALARS: dict[str, tuple[str, Any, Callable[[str], Any]]] = {  # what it looks like, how it may begin, what it is
    "bool": (r"^(?:true|false)$", "tf", lambda text: text == "true"),
    "null": (r"^(?:null|~|)$", ["n", "~", ""], lambda text: None),
    "int": (r"^[-+]?[0-9]{1,18}$", "-+0123456789", int),
    "float": (r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]{1,18})(?:[eE][-+]?[0-9]+)?$", "-+.0123456789", float),
}
for _name, (_pattern, _first, _) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), list(_first))


class Source:
    """One YAML file: its plain `data`, its `complaints`, and where each key stands."""

    def __init__(self, path: Path, shown: str) -> None:
        self.shown = shown
        self.complaints: list[Complaint] = []
        self.data: Any = None
        self._lines: dict[PathOfKeys, int] = {(): 1}
        try:
            if path.exists() and not path.is_file():
                raise ValueError("no ordinary file")
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"a file of {path.stat().st_size} bytes")
            raw = path.read_bytes()
            if len(raw) > MAX_BYTES:
                raise ValueError(f"a file of {len(raw)} bytes")
            node = yaml.compose(raw.decode("utf-8"), _Loader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            self._complain((), f"not YAML: {error.problem}", "plain YAML, indented with spaces", line)
        except (OSError, ValueError, yaml.YAMLError) as error:
            found = (error.strerror or "?") if isinstance(error, OSError) else str(error).partition("\n")[0]
            self._complain((), f"cannot be read: {found}", f"UTF-8 text of at most {MAX_BYTES} bytes")
        else:
            if node is None:
                self._complain((), "the file is empty", "a mapping of keys")
            else:
                self.data = self._plain(node, ())

    def where(self, keys: Iterable[str | int]) -> str:
        """file:line of the innermost key on the path that really stands in the file.

        What pydantic puts into a path and no file holds (a discriminator's value, a missing key) is passed over.
        """
        path: PathOfKeys = ()
        for key in keys:
            path = (*path, key) if (*path, key) in self._lines else path
        return f"{self.shown}:{self._lines[path]}"

    def validate(self, model: type[Model]) -> Model | None:
        """The file as a `model`, or None with every complaint noted."""
        if self.complaints:
            return None
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            problems = error.errors()
            for problem in problems:
                if problem["type"] == "too_short" and any(_inside(other["loc"], problem["loc"]) for other in problems):
                    continue  # only because the items themselves are wrong, and that is said already
                self._complain_about(problem, model)
            return None

    def _plain(self, node: yaml.Node, keys: PathOfKeys) -> Any:
        self._lines.setdefault(keys, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*keys, number)) for number, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        kind = node.tag.rpartition(":")[2]
        return _SCALARS[kind][2](node.value) if kind in _SCALARS else node.value

    def _mapping(self, node: yaml.MappingNode, keys: PathOfKeys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(keys, "a list or a mapping as a key", "a word", line)
                continue
            key = str(key_node.value)
            if key in found:
                first = self._lines[(*keys, key)]
                self._complain(keys, f"{key!r} a second time (first in line {first})", "each key once", line)
                continue
            self._lines[(*keys, key)] = line
            found[key] = self._plain(value_node, (*keys, key))
        return found

    def _complain_about(self, problem: Any, model: type[Value]) -> None:
        keys: PathOfKeys = tuple(key for key in problem["loc"])
        name = ".".join(str(key) for key in keys)
        kind, context = problem["type"], problem.get("ctx", {})
        if kind == "extra_forbidden":
            allowed = sorted(_fields_at(model, keys[:-1]))
            self._complain(keys, f"unknown key {keys[-1]!r}{nearest(str(keys[-1]), allowed)}", one_of(allowed))
        elif kind == "union_tag_invalid":
            key, allowed = context["discriminator"].strip("'"), re.findall(r"'([^']+)'", context["expected_tags"])
            self._complain((*keys, key), f"{name}.{key} is {context['tag']!r}{nearest(context['tag'], allowed)}", one_of(allowed))
        elif kind == "missing":
            self._complain(keys, f"{name} is missing", f"a value for {keys[-1]!r}")
        else:
            expected = context.get("expected") or problem["msg"].removeprefix("Input should be ")
            self._complain(keys, f"{name} is {_short(problem['input'])}", str(expected))

    def _complain(self, keys: PathOfKeys, found: str, expected: str, line: int | None = None) -> None:
        where = f"{self.shown}:{line}" if line else self.where(keys)
        self.complaints.append(Complaint(found, expected, where))


def nearest(name: str, names: Iterable[str]) -> str:
    """`" (did you mean …?)"` for the name closest to `name`, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def one_of(names: Iterable[str]) -> str:
    return "one of " + ", ".join(sorted(names))


def _inside(keys: PathOfKeys, outer: PathOfKeys) -> bool:
    return len(keys) > len(outer) and keys[: len(outer)] == outer


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _fields_at(model: type[Value], keys: PathOfKeys) -> set[str]:
    """The names allowed at a path, found by walking the model's schema."""
    schema = model.model_json_schema()
    here: Any = schema
    for key in keys:
        here = _resolve(schema, here)
        if isinstance(key, int):
            here = here.get("items", {})
        elif key in here.get("properties", {}):
            here = here["properties"][key]
        elif isinstance(here.get("additionalProperties"), dict):
            here = here["additionalProperties"]
        elif "patternProperties" in here:
            here = next(iter(here["patternProperties"].values()))
        else:  # a discriminator's value, which pydantic puts into the path
            mapping = here.get("discriminator", {}).get("mapping", {})
            here = {"$ref": mapping[key]} if key in mapping else here
    return set(_resolve(schema, here).get("properties", {}))


def _resolve(schema: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    for choice in here.get("anyOf", []):
        if "$ref" in choice:
            here = choice
    while "$ref" in here:
        here = schema["$defs"][here["$ref"].rpartition("/")[2]]
    return here
