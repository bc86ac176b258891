"""`entry`: the entries of the roadmap."""

from __future__ import annotations

import click

from runner.cli.output import Output, columns, file_text
from runner.lab.load import Reader, entry_id_of


@click.group()
def entry() -> None:
    """List and show roadmap entries."""


@entry.command("list")
@click.pass_obj
def entry_list(output: Output) -> int:
    """Entries that have pipelines here."""
    lab = output.lab()
    reader = Reader(lab)
    entries = [reader.entry(entry_id_of(name), "runner entry list") for name in lab.names("pipelines", "*/entry.yaml")]
    reader.finish()
    rows = [
        {
            "id": found[0].id,
            "priority": found[0].priority,
            "risk": found[0].risk,
            "title": found[0].title,
            "scenarios": list(found[0].scenarios),
        }
        for found in entries
        if found
    ]
    text = columns(("id", "priority", "risk", "title"), [[row[key] for key in ("id", "priority", "risk", "title")] for row in rows])
    return output.result({"entries": rows}, text)


@entry.command("show")
@click.argument("name")
@click.pass_obj
def entry_show(output: Output, name: str) -> int:
    """One entry: scenarios, checks, limits."""
    reader = Reader(output.lab())
    found = reader.entry(name, "runner entry show")
    reader.finish()
    assert found
    return output.result(
        {"entry": found[0].model_dump(mode="json")}, file_text(reader.lab, f"pipelines/{name.lower().replace('-', '_')}/entry.yaml")
    )
