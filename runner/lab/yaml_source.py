"""YAML with its lines kept: values for pydantic, and for every path of keys the line where it stands.

Plain data only (no tags, no anchors, no YAML-1.1 surprises such as `no` = false or `1:30` = 90), bounded
in size and depth. Every complaint about a file comes from here, with file:line, what stands there, what
is allowed and the nearest name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import ValidationError

from runner.errors import Complaint
from runner.model.base import Value

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
PathOfKeys = tuple[str | int, ...]
Model = TypeVar("Model", bound=Value)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # a handful of aliases can unfold into gigabytes
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="an alias (*name) stands here", problem_mark=mark)
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|false)$", "tf"),
    ("tag:yaml.org,2002:null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


class Source:
    """One YAML file: its plain `data`, its `complaints`, and where each key stands."""

    def __init__(self, path: Path, shown: str) -> None:
        self.shown = shown
        self.complaints: list[Complaint] = []
        self.data: Any = None
        self._lines: dict[PathOfKeys, int] = {(): 1}
        try:
            raw = path.read_bytes()
            if len(raw) > MAX_BYTES:
                raise ValueError(f"a file of {len(raw)} bytes")
            node = yaml.compose(raw.decode("utf-8"), _Loader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            self._complain((), f"not YAML: {error.problem}", "plain YAML, indented with spaces", line)
        except (OSError, ValueError, yaml.YAMLError) as error:
            found = error.strerror if isinstance(error, OSError) else str(error)
            self._complain((), f"cannot be read: {found}", f"UTF-8 text of at most {MAX_BYTES} bytes")
        else:
            if node is None:
                self._complain((), "the file is empty", "a mapping of keys")
            else:
                self.data = self._plain(node, ())

    def where(self, keys: Iterable[str | int]) -> str:
        """file:line of the innermost key on the path that really stands in the file."""
        path = tuple(keys)
        while path not in self._lines:
            path = path[:-1]
        return f"{self.shown}:{self._lines[path]}"

    def validate(self, model: type[Model]) -> Model | None:
        """The file as a `model`, or None with every complaint noted."""
        if self.complaints:
            return None
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            for problem in error.errors():
                self._complain_about(problem, model)
            return None

    def _plain(self, node: yaml.Node, keys: PathOfKeys) -> Any:
        self._lines.setdefault(keys, node.start_mark.line + 1)
        if len(keys) > MAX_DEPTH:
            self._complain(keys, "nested too deeply", f"at most {MAX_DEPTH} levels")
        elif isinstance(node, yaml.ScalarNode):
            if node.tag.startswith("tag:yaml.org,2002:"):
                return _Loader.construct_object(_Loader(""), node)
            self._complain(keys, f"a tag: {node.tag}", "plain data", node.start_mark.line + 1)
        elif isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*keys, number)) for number, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key, line = str(key_node.value), key_node.start_mark.line + 1
                if key in found:
                    first = self._lines[(*keys, key)]
                    self._complain(keys, f"{key!r} a second time (first in line {first})", "each key once", line)
                    continue
                self._lines[(*keys, key)] = line
                found[key] = self._plain(value_node, (*keys, key))
            return found
        return None

    def _complain_about(self, problem: Any, model: type[Value]) -> None:
        keys: PathOfKeys = tuple(key for key in problem["loc"])
        name = ".".join(str(key) for key in keys)
        kind, context = problem["type"], problem.get("ctx", {})
        if kind == "extra_forbidden":
            allowed = sorted(_fields_at(model, keys[:-1]))
            self._complain(keys, f"unknown key {keys[-1]!r}{nearest(str(keys[-1]), allowed)}", one_of(allowed))
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
