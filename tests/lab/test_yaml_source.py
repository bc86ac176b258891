"""YAML without surprises, and every complaint with its file and line, what stands there and what may stand there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.lab.yaml_source import MAX_BYTES, MAX_DEPTH, Source, nearest, one_of
from runner.model.device import DeviceType, Inventory
from runner.model.entry import Entry
from runner.model.profile import Profile

Make = Callable[[str | bytes], Source]
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Make:
    def make(text: str | bytes) -> Source:
        path = tmp_path / "f.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return Source(path, "f.yaml")

    return make


def told(source: Source) -> list[tuple[str, str, str]]:
    return [(complaint.where, complaint.found, complaint.expected) for complaint in source.complaints]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("yes", "yes"), ("True", "True"), ("1:30", "1:30"), ("2026-11-21", "2026-11-21"),
        ("0x1F", "0x1F"), ("1_000", "1_000"), ("0777", 777), ("089", 89), ("'1'", "1"), ('"true"', "true"), (".inf", ".inf"),
        ("true", True), ("false", False), ("null", None), ("~", None), ("", None), ("-7", -7), ("1e3", 1000.0), (".5", 0.5),
        ("9" * 5000, "9" * 5000), ("<<", "<<"),
    ],
)  # fmt: skip
def test_a_word_means_what_it_looks_like(source: Make, text: str, value: Any) -> None:
    """No YAML 1.1: `no` is a word, 1:30 is not 90, 0777 is not octal."""
    assert source(f"key: {text}").data == {"key": value}


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        (b"\x7fELF\x02\x01\x01\x00", 1, "cannot be read: unacceptable character"),
        (b"a: \xff\xfe", 1, "cannot be read: byte 0xff at 3 is no UTF-8"),
        ("a: " + "x" * MAX_BYTES, 1, f"cannot be read: a file of {MAX_BYTES + 3} bytes"),
        ("a: 1\n\tb: 2", 2, "not YAML: found character '\\t'"),
        ("a: [1, 2\nb: 3", 2, "not YAML: expected ',' or ']'"),
        ("a: 1\n---\nb: 2", 2, "not YAML: expected a single document in the stream, but found another document"),
        ("a: 1\na: 2\nb: 1\na: 3", 2, "'a' a second time (first in line 1)"),
        ("a:\n  b: 1\n  b: 2", 3, "'b' a second time (first in line 2)"),
        ("? [1, 2]\n: 3", 1, "a list or a mapping as a key"),
        ("a: &x [1]\nb: *x", 2, "not YAML: an alias (*name)"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", 2, "not YAML: a tag (tag:yaml.org,2002:python/object/apply:os.system)"),
        ("a: !!python/name:os.system", 1, "not YAML: a tag"),
        ('a: "\\U87952071"', 1, "not YAML: an escape"),
        ("a: !!int abc", 1, "not YAML: a tag"),
        ("a: !ours {}", 1, "not YAML: a tag (!ours)"),
        ("[" * 100_000, 1, f"not YAML: nested deeper than {MAX_DEPTH} levels"),
        ("a:\n" + "".join(" " * depth + "- \n" for depth in range(1, 40)), 22, "not YAML: nested deeper"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_not_plain_data_is_refused_with_its_line(source: Make, text: str | bytes, line: int, found: str) -> None:
    """Each kind of trouble is one complaint, never an exception and never a guess."""
    where, said, expected = told(source(text))[0]
    assert where == f"f.yaml:{line}"
    assert said.startswith(found)
    assert expected


def test_a_thousand_million_aliases_cost_nothing(source: Make) -> None:
    """The alias bomb stops at its first alias."""
    bomb = "a0: &a0 [x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    assert told(source(bomb))[0][:2] == ("f.yaml:2", "not YAML: an alias (*name) stands here")


def test_a_missing_file_is_a_complaint(tmp_path: Path) -> None:
    """So is a folder in its place."""
    assert told(Source(tmp_path / "none.yaml", "none.yaml"))[0][1] == "cannot be read: No such file or directory"
    assert told(Source(tmp_path, "here"))[0][1] == "cannot be read: no ordinary file"


INVENTORY = """\
devices:
  pi-04:
    type: raspberry-pi-4
    adress: 10.0.0.4
    port: no
  ../pi-05:
    type: raspberry-pi-4
  pi-06:
    address: 10.0.0.6
devises: {}
"""
KINDS = "one of bandwidth, external, jamming, offline, power_cut, steady, tamper"
PROFILE = """\
title: Power fails
faults:
  - fault: power_cut
    points: [created]
    pionts: 3
  - fault: power_cat
  - fault: power_cut
    points: [created, craeted]
  - fault: power_cut
severs: power
"""


def test_several_complaints_come_at_once_each_with_its_line(source: Make) -> None:
    """An inventory with five mistakes: unknown key, wrong type, a name that is a path, a missing key, an unknown key."""
    found = source(INVENTORY)
    assert found.validate(Inventory) is None
    assert sorted((where, said) for where, said, _ in told(found)) == [
        ("f.yaml:10", "unknown key 'devises' (did you mean 'devices'?)"),
        ("f.yaml:4", "unknown key 'adress' (did you mean 'address'?)"),
        ("f.yaml:5", "devices.pi-04.port is 'no'"),
        ("f.yaml:6", "devices has the key '../pi-05'"),
        ("f.yaml:8", "devices.pi-06.type is missing"),
    ]


def test_complaints_inside_a_fault_name_their_own_line(source: Make) -> None:
    """A fault's kind is no key of the file: line numbers and nearest names are right behind it all the same."""
    found = source(PROFILE)
    assert found.validate(Profile) is None
    assert told(found) == [
        ("f.yaml:5", "unknown key 'pionts' (did you mean 'points'?)", "one of fault, points"),
        ("f.yaml:6", "faults.1.fault is 'power_cat' (did you mean 'power_cut'?)", KINDS),
        (
            "f.yaml:8",
            "faults.2.power_cut.points.1 is 'craeted' (did you mean 'created'?)",
            "'created', 'before_flush', 'after_flush', 'after_ack', 'random' or 'during_resume'",
        ),
        ("f.yaml:9", "faults.3.power_cut.points is missing", "a value for 'points'"),
        ("f.yaml:10", "severs is 'power'", "a list"),
    ]


def test_where_falls_back_to_the_innermost_key_that_is_there(source: Make) -> None:
    """A path that goes deeper than the file points at the last line that exists."""
    found = source("limits:\n  restored_s: 5\n")
    assert found.where(("limits", "restored_s")) == "f.yaml:2"
    assert found.where(("limits", "running_again_s")) == "f.yaml:1"
    assert found.where(()) == "f.yaml:1"


@pytest.mark.parametrize("text", ["- a\n- b", "word", "7"])
def test_a_file_that_is_no_mapping_is_refused(source: Make, text: str) -> None:
    """A list or a word where keys belong is one complaint."""
    found = source(text)
    assert found.validate(Inventory) is None
    assert len(found.complaints) == 1


@pytest.mark.parametrize(
    ("pattern", "model"),
    [("inventory.yaml", Inventory), ("devices/*.yaml", DeviceType), ("profiles/*.yaml", Profile), ("pipelines/*/entry.yaml", Entry)],
)
def test_our_own_files_are_valid(pattern: str, model: Any) -> None:
    """Every built-in file reads without a complaint; there is at least one of each kind."""
    paths = list(REPOSITORY.glob(pattern))
    assert paths
    for path in paths:
        found = Source(path, path.name)
        assert found.validate(model) is not None, found.complaints


def test_the_nearest_name_is_offered_only_when_it_is_near() -> None:
    """A typing slip finds its name; something else finds nothing."""
    assert nearest("lcoal", ["local", "qemu-pi"]) == " (did you mean 'local'?)"
    assert nearest("xyz", ["local", "qemu-pi"]) == ""
    assert nearest("nosuch", ["schema", "doctor"]) == ""  # half of it is the same
    assert one_of(["b", "a"]) == "one of a, b"


def test_of_a_long_list_the_nearest_are_named_and_the_command_that_lists_all() -> None:
    """A dozen is not long; and a list that no command shows stands there whole, or it would stand nowhere."""
    names = [f"lte-{number:02}" for number in range(12)]
    assert one_of(names, "lte-7", "runner profile list") == "one of " + ", ".join(names)
    names += ["nb-iot", "gprs"]
    said = one_of(names, "NB-IOTA", "runner profile list")
    assert said.startswith("one of nb-iot, ")
    assert said.endswith(", or of the 9 others in `runner profile list`")
    assert said.count(",") == 5
    assert one_of(names, "nb") == "one of " + ", ".join(sorted(names))
    assert one_of(names, "", "runner profile list").startswith("one of gprs, lte-00, lte-01, ")
