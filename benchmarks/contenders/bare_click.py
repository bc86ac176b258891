"""A bare click program: one group, one command. The least that a command line made with click can cost."""

import click


@click.group()
def cli() -> None:
    """A group."""


@cli.command("list")
def list_() -> None:
    """A command."""
    click.echo("nothing")


cli()
