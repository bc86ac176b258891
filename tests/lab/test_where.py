"""Which lab am I in: --lab, RUNNER_LAB, the nearest parent, the built-in one; in this order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import AskError
from runner.lab.where import Lab, builtin_root, cache_root, find_lab, state_root


@pytest.fixture
def labs(tmp_path: Path) -> dict[str, Path]:
    """Three labs, and a folder deep inside of the last."""
    found = {name: tmp_path / name for name in ("flag", "variable", "parent")}
    for root in found.values():
        root.mkdir()
        (root / "inventory.yaml").write_text("devices: {}\n")
    (tmp_path / "parent" / "a" / "b").mkdir(parents=True)
    return found


def test_the_first_of_four_places_wins(labs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each place counts only when no earlier one is named; results go into that lab's own runs."""
    monkeypatch.chdir(labs["parent"] / "a" / "b")
    monkeypatch.setenv("RUNNER_LAB", str(labs["variable"]))
    assert find_lab(str(labs["flag"])).root == labs["flag"]
    assert find_lab(None).root == labs["variable"]
    monkeypatch.delenv("RUNNER_LAB")
    assert find_lab(None) == Lab(labs["parent"], labs["parent"] / "runs", builtin=False)
    monkeypatch.chdir(tmp_path)
    assert find_lab(None) == Lab(builtin_root(), tmp_path / "runs", builtin=True)


def test_a_lab_says_where_it_is(labs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first line that a command prints: which lab, and where results go, as short as it can be said."""
    monkeypatch.chdir(tmp_path)
    assert str(find_lab(None)) == "lab: built-in · results in ./runs"
    assert str(find_lab("parent")) == f"lab: {labs['parent']} · results in ./parent/runs"
    monkeypatch.chdir("/")
    assert str(find_lab(str(labs["parent"]))) == f"lab: {labs['parent']} · results in ./{str(labs['parent'])[1:]}/runs"


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_named_folder_that_is_no_lab_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_flag: bool) -> None:
    """Never another lab instead of the one that was named; the answer says what to do."""
    if not by_flag:
        monkeypatch.setenv("RUNNER_LAB", str(tmp_path))
    with pytest.raises(AskError) as refused:
        find_lab(str(tmp_path) if by_flag else None)
    (complaint,) = refused.value.complaints
    assert complaint.where == ("--lab" if by_flag else "RUNNER_LAB")
    assert complaint.do == f"runner init {tmp_path}"


def test_a_labs_own_file_wins_and_that_can_be_told(labs: dict[str, Path]) -> None:
    """`overrides` is true only where both exist; a name of the lab's own is no override."""
    lab = find_lab(str(labs["flag"]))
    assert lab.file("profiles/steady.yaml") == builtin_root() / "profiles/steady.yaml"
    assert not lab.overrides("profiles/steady.yaml")
    (lab.root / "profiles").mkdir()
    for name in ("steady", "mine"):
        (lab.root / f"profiles/{name}.yaml").write_text("title: mine\n")
    assert lab.file("profiles/steady.yaml") == lab.root / "profiles/steady.yaml"
    assert lab.overrides("profiles/steady.yaml")
    assert not lab.overrides("profiles/mine.yaml")
    assert lab.file("profiles/none.yaml") is None


def test_names_are_ours_and_the_labs_together(labs: dict[str, Path]) -> None:
    """Sorted, each once, whichever of both folders holds them."""
    lab = find_lab(str(labs["flag"]))
    (lab.root / "profiles").mkdir()
    for name in ("steady", "a-mine"):
        (lab.root / f"profiles/{name}.yaml").write_text("")
    ours = {path.name for path in (builtin_root() / "profiles").glob("*.yaml")}
    assert "steady.yaml" in ours
    assert list(lab.names("profiles", "*.yaml")) == sorted({*ours, "a-mine.yaml"})
    assert "edge_002/entry.yaml" in lab.names("pipelines", "*/entry.yaml")


def test_the_built_in_lab_is_no_override_of_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In an empty folder nothing is announced."""
    monkeypatch.chdir(tmp_path)
    assert not find_lab(None).overrides("profiles/steady.yaml")


@pytest.mark.parametrize(
    ("find", "own", "xdg"), [(state_root, "RUNNER_STATE", "XDG_STATE_HOME"), (cache_root, "RUNNER_CACHE", "XDG_CACHE_HOME")]
)
def test_state_and_cache_lie_where_the_user_says(find: Callable[[], Path], own: str, xdg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own variable, else the desktop's, else below the home folder."""
    monkeypatch.setenv("HOME", "/home/lab")
    monkeypatch.setenv(own, "~/here")
    assert find() == Path("/home/lab/here")
    monkeypatch.delenv(own)
    monkeypatch.setenv(xdg, "/x")
    assert find() == Path("/x/stageflow-runner")
    monkeypatch.delenv(xdg)
    assert find().is_relative_to("/home/lab")


@pytest.mark.parametrize(("find", "variable"), [(state_root, "RUNNER_STATE"), (cache_root, "RUNNER_CACHE")])
def test_a_relative_folder_is_made_absolute(
    find: Callable[[], Path], variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts run in a working folder of their own: a path that means another place there would break every run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "st")
    assert find() == tmp_path / "st"
