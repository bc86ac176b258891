"""What can be known of an entry's folder by reading it, nothing imported and nothing run.

The plan itself (`story/plan.py`) says whether profiles, pipelines and checks of these names exist. Here: the roadmap's
words are the roadmap's, each Python file is Python and leaves `runner` alone, and each pipeline builds the stages that
entry.yaml names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from runner.lab.load import Reader
from runner.lab.yaml_source import Source, nearest, one_of
from runner.model.entry import Entry
from runner.model.roadmap import RoadmapEntry

THE_ROADMAPS = ("title", "priority", "risk")  # industry and deployment mode may be said more exactly


def check_folder(reader: Reader, entry: Entry, source: Source, row: RoadmapEntry | None) -> None:
    """Every complaint about the entry's folder, noted in `reader`. `row` is None for an entry of the lab's own."""
    for key in THE_ROADMAPS if row else ():
        said, wanted = getattr(entry, key), getattr(row, key)
        if said != wanted:
            reader.complain(f"{key} is {said!r}", f"{wanted!r}, as the roadmap says", source.where((key,)))
    trees = dict(_parsed(reader, reader.entry_folder(entry.id)))
    for name, scenario in entry.scenarios.items():
        if scenario.pipeline not in trees:
            continue  # not there, or not Python: both are complained of elsewhere
        where = source.where(("scenarios", name, "pipeline"))
        if "build" not in _top_names(trees[scenario.pipeline]):
            reader.complain(f"pipeline {scenario.pipeline!r} has no `build`", "a function build() that gives a new Pipeline", where)
        built = _stages_built(trees, scenario.pipeline)
        for place, stage in enumerate(scenario.stages):
            if built and stage not in built:
                found = f"pipeline {scenario.pipeline!r} builds no stage {stage!r}{nearest(stage, built)}"
                reader.complain(found, one_of(built), source.where(("scenarios", name, "stages", place)))
        for stage in sorted((built or set()) - set(scenario.stages)):
            found = f"stage {stage!r} of pipeline {scenario.pipeline!r} is not in `stages`"
            reader.complain(found, "every stage that the pipeline builds", source.where(("scenarios", name, "stages")))


def _parsed(reader: Reader, folder: Path) -> Iterator[tuple[str, ast.Module]]:
    """Each Python file below `folder`, as its path without the suffix and its syntax tree."""
    for path in sorted(folder.rglob("*.py")):
        shown = reader.lab.shown(path)
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        except SyntaxError as error:
            if path != folder / "checks.py":  # that one is read by the plan too
                reader.complain(f"not Python: {error.msg}", "a file that Python can read", f"{shown}:{error.lineno or 1}")
            continue
        except (OSError, ValueError, RecursionError) as error:
            reader.complain(f"cannot be read: {error}", "UTF-8 text", shown)
            continue
        for line in _lines_importing_us(tree):
            reader.complain("imports `runner`, which no device has", "relative imports and stageflow", f"{shown}:{line}")
        yield str(path.relative_to(folder).with_suffix("")), tree


def _lines_importing_us(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        if any(name.partition(".")[0] == "runner" for name in names):
            yield node.lineno


def _top_names(tree: ast.Module) -> set[str]:
    """Names that a module defines or imports at its top level."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _stages_built(trees: dict[str, ast.Module], pipeline: str) -> set[str] | None:
    """The names that a pipeline gives to `with_stage`, or that the one does whose `build` it takes over; None: not literal."""
    seen: set[str] = set()
    while pipeline in trees and pipeline not in seen:
        seen.add(pipeline)
        nodes = list(ast.walk(trees[pipeline]))
        calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "with_stage"]
        if calls:
            names = [call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None for call in calls]
            return {str(name) for name in names} if all(isinstance(name, str) for name in names) else None
        taken = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.level == 1 and any(alias.name == "build" for alias in n.names)]
        pipeline = (taken[0].module or "") if taken else ""
    return None
