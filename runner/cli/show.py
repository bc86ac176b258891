"""`profile`: what faults there are, over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.output import Output, columns, file_text
from runner.cli.trial import profile_try
from runner.errors import AskError, Complaint

if TYPE_CHECKING:
    from runner.lab.load import Reader
    from runner.lab.where import Lab
    from runner.model.profile import Profile


@click.group()
def profile() -> None:
    """List and show profiles; try them on a device."""


@profile.command("list")
@click.pass_obj
def profile_list(output: Output) -> int:
    """Every profile: what it does, what a device's kernel must have for it, and what it severs."""
    rows, complaints = of_the_profiles(output.lab())
    if complaints:
        raise AskError.of(complaints)
    cells = [
        (r["name"], *(" ".join(r[key]) or "-" for key in ("faults", "needs", "severs")), "; ".join(r["does"]) or "-", r["title"])
        for r in rows
    ]
    text = columns(("name", "faults", "needs", "severs", "does", "title"), cells)
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


def of_the_profiles(lab: Lab) -> tuple[list[dict[str, Any]], list[Complaint]]:
    """What the lab's files say of each profile, and each complaint about them once."""
    from runner.lab.remembered import remembered

    rows, complaints = remembered(lab, "profiles", ("profiles/*.yaml",), _rows)
    return rows, list(dict.fromkeys(complaints))


def _rows(reader: Reader) -> list[dict[str, Any]]:
    names = [Path(path).stem for path in reader.lab.names("profiles", "*.yaml")]
    found = {name: reader.profile(name, "runner profile list") for name in names}
    return [_row(reader, name, profile) for name, profile in found.items() if profile]


def _row(reader: Reader, name: str, profile: Profile) -> dict[str, Any]:
    from runner.faults import compose, table

    try:
        needs = compose.needs(profile)
    except AskError as error:  # nobody brings the fault, or its figures are beyond any device
        needs = ()
        for each in error.complaints:
            reader.complain(each.found, each.expected, reader.lab.shown(reader.lab.root / "profiles" / f"{name}.yaml"), each.do)
    return {
        "name": name,
        "title": profile.title,
        "faults": [fault.fault for fault in profile.faults],
        "does": [table.figures(fault) for fault in profile.links],
        "needs": list(needs),
        "severs": list(profile.severs),
        "sources": list(profile.sources),
        "links": [fault.model_dump(mode="json", exclude_defaults=True) for fault in profile.links],
    }


profile.add_command(profile_try)
