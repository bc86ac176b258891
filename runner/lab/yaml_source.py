"""YAML with its lines kept: values for pydantic, and for every path of keys the line where it stands.

Plain data only (no tags, no anchors, no YAML-1.1 surprises such as `no` = false or `1:30` = 90), bounded
in size and depth. Every complaint about a file comes from here, with file:line, what stands there, what
is allowed and the nearest name.
"""

from __future__ import annotations

import difflib
import errno
import functools
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from runner.errors import Complaint
from runner.model.base import Value

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_COMPLAINTS = 20  # of one file; more are counted
MAX_NAMES, NEAR_NAMES = 12, 5  # of a list that a complaint gives whole, and of what it gives of a longer one
NEAR = 0.6  # how much of two names must be the same, so that one can have been meant by the other
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


class Unreadable(Exception):
    """A file that is no text of a lab: why not, and in which line."""

    def __init__(self, found: str, line: int = 1) -> None:
        super().__init__(found)
        self.found, self.line = found, line


def read_text(path: Path) -> str:
    """An ordinary file of bounded size as UTF-8 text. Raises Unreadable for anything else, and never waits: a pipe is not opened."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable("no ordinary file")
        if about.st_size > MAX_BYTES:
            raise Unreadable(f"a file of {about.st_size} bytes")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        nowhere = os.path.islink(path) and error.errno == errno.ENOENT
        raise Unreadable("a link to nothing" if nowhere else error.strerror or "?") from error
    if len(raw) > MAX_BYTES:
        raise Unreadable(f"a file of more than {MAX_BYTES} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"byte 0x{raw[error.start]:02x} at {error.start} is no UTF-8", line) from error


class Source:
    """One YAML file: its plain `data`, its `complaints`, and where each key stands."""

    def __init__(self, path: Path, shown: str) -> None:
        self.shown = shown
        self.complaints: list[Complaint] = []
        self.data: Any = None
        self._lines: dict[PathOfKeys, int] = {(): 1}
        try:
            text = read_text(path)
            node = yaml.compose(text, _Loader)
        except Unreadable as error:
            self._complain((), f"cannot be read: {error.found}", TEXT, error.line)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            found = f"{error.context}, {error.problem}" if str(error.problem).startswith("but ") else error.problem
            self._complain((), f"not YAML: {found}", "plain YAML, indented with spaces", line, _mending(str(found)))
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            found = f"unacceptable character {chr(error.character)!r}" if isinstance(error.character, int) else "unacceptable character"
            self._complain((), f"cannot be read: {found}", TEXT, line, "take it out")
        except OverflowError:
            self._complain((), "not YAML: an escape (\\U…) beyond the last character there is", TEXT, do="take it out")
        except (ValueError, yaml.YAMLError) as error:
            self._complain((), f"not YAML: {str(error).partition(chr(10))[0]}", "plain YAML, indented with spaces")
        else:
            if node is None:
                self._complain((), "the file is empty", "a mapping of keys", do="runner help labs")
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
        """The file as a `model`, or None with every complaint noted: of a key that stands there twice the first is held to the model."""
        if self.complaints and self.data is None:
            return None
        try:
            value = model.model_validate(self.data)
        except ValidationError as error:
            problems = error.errors()
            for number, problem in enumerate(problems):
                if number == MAX_COMPLAINTS:
                    self._complain((), f"and {len(problems) - number} more complaints about this file", "", do="mend these first")
                    break
                if problem["type"] == "too_short" and any(_inside(other["loc"], problem["loc"]) for other in problems):
                    continue  # only because the items themselves are wrong, and that is said already
                self._complain_about(problem, model)
            return None
        return None if self.complaints else value

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
                self._complain(keys, f"{key!r} a second time (first in line {first})", "each key once", line, "take one of the two out")
                continue
            self._lines[(*keys, key)] = line
            found[key] = self._plain(value_node, (*keys, key))
        return found

    def _complain_about(self, problem: Any, model: type[Value]) -> None:
        keys: PathOfKeys = tuple(problem["loc"])
        name = ".".join(_word(key) for key in keys) or "the file"
        kind, context = problem["type"], problem.get("ctx", {})
        do = f"runner schema {_SCHEMAS[model.__name__]}" if model.__name__ in _SCHEMAS else ""
        if kind == "extra_forbidden":
            allowed = sorted(_fields_at(model, keys[:-1]))
            self._complain(keys, f"unknown key {_short(keys[-1])}{nearest(str(keys[-1]), allowed)}", one_of(allowed), do=do)
        elif kind == "union_tag_invalid":
            key, allowed = context["discriminator"].strip("'"), re.findall(r"'([^']+)'", context["expected_tags"])
            found = f"{name}.{key} is {_short(context['tag'])}{nearest(context['tag'], allowed)}"
            self._complain((*keys, key), found, one_of(allowed), do=do)
        elif kind == "secret":  # its value is nobody's business, not even a complaint's
            self._complain((*keys, context["key"]), f"{name}.{context['key']} holds, or may hold, a secret", problem["msg"])
        elif kind == "value_error":  # one of our own rules: it says all of it, and what stands there is more than a line
            self._complain(keys, f"{name} cannot be so", problem["msg"].removeprefix("Value error, "), do=do)
        elif kind == "missing":
            self._complain(keys, f"{name} is missing", f"a value for {keys[-1]!r}", do=do)
        elif kind == "literal_error":
            close = nearest(str(problem["input"]), re.findall(r"'([^']+)'", context["expected"]))
            self._complain(keys, f"{name} is {_short(problem['input'])}{close}", context["expected"], do=do)
        else:
            found = f"{name} is empty" if problem["input"] is None else f"{name} is {_short(problem['input'])}"
            if keys and keys[-1] == "[key]":
                found = f"{'.'.join(_word(key) for key in keys[:-2])} has the key {_short(problem['input'])}"
            self._complain(keys, found, _EXPECTED.get(kind, problem["msg"].removeprefix("Input should be ")).format(**context), do=do)

    def _complain(self, keys: PathOfKeys, found: str, expected: str, line: int | None = None, do: str = "") -> None:
        where = f"{self.shown}:{line}" if line else self.where(keys)
        self.complaints.append(Complaint(found, expected, where, do))


TEXT = f"UTF-8 text of at most {MAX_BYTES} bytes"
_SCHEMAS = {"Inventory": "inventory", "DeviceType": "device", "Profile": "profile", "Entry": "entry"}
_EXPECTED = {  # pydantic's kinds of trouble, in a lab's words
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "a mapping of keys"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "a number"),
    "string_type": "text; a number in quotes is text",
    "string_pattern_mismatch": "text like {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "too_short": "at least {min_length}, not {actual_length}",
    "too_long": "at most {max_length}, not {actual_length}",
}


def _mending(found: str) -> str:
    """What to do about a line that is not YAML, where that is known."""
    for word, do in (("'\\t'", "replace the tab with spaces"), ("alias", "write the value itself"), ("tag", "write the value without it")):
        if word in found:
            return do
    return "mend this line, or the one above it"


def nearest(name: str, names: Iterable[str]) -> str:
    """`" (did you mean …?)"` for the name closest to `name` in either case, or nothing where all are far away. One with only its unit
    left out is closest."""
    folded = {known.lower(): known for known in names}
    close = [known for known in sorted(folded) if known.startswith(f"{name[:100].lower()}_")]
    close = close or difflib.get_close_matches(name[:100].lower(), folded, n=1, cutoff=NEAR)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def one_of(names: Iterable[str], said: str = "", listed: str = "") -> str:
    """All `names`; of more than a dozen, where the command `listed` shows them all, only the few that are nearest to what was `said`."""
    every = sorted(names)
    if len(every) <= MAX_NAMES or not listed:
        return "one of " + (", ".join(every) or "none: there is none yet")
    like = {name: difflib.SequenceMatcher(None, said[:100].lower(), name.lower()).ratio() for name in every}
    near = sorted(every, key=lambda name: -like[name])[:NEAR_NAMES]
    return f"one of {', '.join(near)}, or of the {len(every) - NEAR_NAMES} others in `{listed}`"


def _inside(keys: PathOfKeys, outer: PathOfKeys) -> bool:
    return len(keys) > len(outer) and keys[: len(outer)] == outer


def _short(value: Any) -> str:
    text = repr(value[:60] if isinstance(value, str | list) else value)
    return text if len(text) <= 60 else text[:57] + "…"


def _word(key: Any) -> str:
    """A key as it may stand in a sentence."""
    text = str(key)
    return text if text.isprintable() and len(text) <= 60 else _short(text)


@functools.cache
def _schema(model: type[Value]) -> dict[str, Any]:
    return model.model_json_schema()


def _fields_at(model: type[Value], keys: PathOfKeys) -> set[str]:
    """The names allowed at a path, found by walking the model's schema."""
    schema = _schema(model)
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
