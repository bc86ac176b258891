"""A conclusion as files. Each module here makes one kind of file by a pure function: conclusion → {path: text}.

All of them can be made again from the folder at any time; made twice from one conclusion they are equal byte for byte,
and only the generation time differs between two conclusions of one folder. Nothing here reads a clock or a device.
"""

from __future__ import annotations

from pathlib import Path

from runner.errors import AskError
from runner.judgement.conclude import Conclusion
from runner.judgement.report import (
    events,
    final_report,
    findings_json,
    heat,
    html,
    junit,
    links,
    logs,
    metrics,
    not_part,
    readme,
    scarcity,
    self_tests,
    traces,
)
from runner.lab.folder import RunFolder, read_json, write_json, write_text

# in this order they are written; each has `files(conclusion)`
PARTS = (findings_json, metrics, links, scarcity, heat, logs, traces, events, junit, self_tests, not_part, html, final_report, readme)


def derived(conclusion: Conclusion) -> dict[str, str]:
    """Every derived file of the run: its path inside the folder, and its whole text."""
    return {path: text for part in PARTS for path, text in part.files(conclusion).items()}


def write(folder: RunFolder, conclusion: Conclusion) -> None:
    """Writes every derived file, each whole or not at all. Raises LabError when the disk does not take them, and AskError
    when a folder in it is a link: nothing is ever written to elsewhere."""
    texts = derived(conclusion)
    for name in sorted({str(parent) for path in texts for parent in Path(path).parents}):
        if (folder.root / name).resolve() != folder.root.resolve() / name:
            where = str(folder.root / name)
            raise AskError(f"{name} is a link", expected="a folder of the run's own", where=where, do="nothing was written")
    for path, text in texts.items():
        write_text(folder.root / path, text)


def write_in_progress(folder: RunFolder) -> None:
    """The required files, saying that the run is under way; a killed run leaves these."""
    config = read_json(folder.run_config)
    write_json(folder.findings, findings_json.document(config, config["started_at"], "in_progress", [], "the run is under way"))
    write_json(folder.environment, {})
    write_text(folder.final_report, f"# {config['roadmap_entry_id']}: in progress\n\nMade again by `runner report`.\n")
    write_text(folder.readme, f"# {config['roadmap_entry_id']}: in progress\n")
