"""`profile`: what faults there are, over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.output import Output, columns, file_text
from runner.errors import AskError

if TYPE_CHECKING:
    from runner.lab.load import Reader


@click.group()
def profile() -> None:
    """List and show profiles."""


@profile.command("list")
@click.pass_obj
def profile_list(output: Output) -> int:
    """Every profile, what it does and what it severs."""
    from runner.lab.remembered import remembered

    rows, complaints = remembered(output.lab(), "profiles", ("profiles/*.yaml",), _rows)
    if complaints:
        raise AskError.of(dict.fromkeys(complaints))
    text = columns(
        ("name", "faults", "severs", "title"), [(r["name"], ",".join(r["faults"]), ",".join(r["severs"]) or "-", r["title"]) for r in rows]
    )
    return output.result({"profiles": rows}, text)


@profile.command("show")
@click.argument("name")
@click.pass_obj
def profile_show(output: Output, name: str) -> int:
    """One profile, as its file says it."""
    from runner.lab.load import Reader

    reader = Reader(output.lab())
    found = reader.profile(name, "runner profile show")
    reader.finish()
    assert found
    return output.result({"profile": {"name": name, **found.model_dump(mode="json")}}, file_text(reader.lab, f"profiles/{name}.yaml"))


def _rows(reader: Reader) -> list[dict[str, Any]]:
    names = [Path(path).stem for path in reader.lab.names("profiles", "*.yaml")]
    found = {name: reader.profile(name, "runner profile list") for name in names}
    return [
        {"name": name, "title": p.title, "faults": [fault.fault for fault in p.faults], "severs": list(p.severs)}
        for name, p in found.items()
        if p
    ]
