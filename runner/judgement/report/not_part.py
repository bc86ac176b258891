"""Folders of the format that nothing here fills: each says so, until somebody puts something there."""

from __future__ import annotations

from runner.judgement.conclude import Conclusion
from runner.lab.folder import STATEMENT, RunFolder

FILLED = "Put here by people, not by the run; nothing here was measured by it.\n"
MOCKS = "not part of this run: the mock data that its pipelines read lies with them, in pipelines/mocks/\n"


def files(conclusion: Conclusion) -> dict[str, str]:
    folder = conclusion.folder
    said = {
        "research": STATEMENT,
        "mocks": MOCKS if (folder.pipelines / "mocks").is_dir() else STATEMENT,
        "results/screenshots": STATEMENT,
        "dx_evaluation": STATEMENT,
    }
    return {f"{name}/README.md": FILLED if filled(folder, name) else statement for name, statement in said.items() if _ours(folder, name)}


def filled(folder: RunFolder, name: str) -> list[str]:
    """What somebody put into one of these folders, relative to the run's; a README of ours is nothing."""
    found = sorted(str(path.relative_to(folder.root)) for path in (folder.root / name).rglob("*") if path.is_file())
    return [path for path in found if path != f"{name}/README.md" or not _ours(folder, name)]


def _ours(folder: RunFolder, name: str) -> bool:
    """Whether the README there is ours to write: one that we wrote, or none in a folder that holds nothing else."""
    readme = folder.root / name / "README.md"
    if readme.is_file():
        return readme.read_bytes()[:1000] in {text.encode() for text in (STATEMENT, FILLED, MOCKS)}
    return not any((folder.root / name).rglob("*"))
