"""Define `ahf yank`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_json


@click.command("yank")
@click.argument("reference", type=REFERENCE)
@click.option("--reason", help="The reason; `ahf show` prints it.")
@click.option("--undo", is_flag=True, help="Undo a yank.")
@json_option
def command(reference: str, reason: str | None, undo: bool, as_json: bool) -> None:
    """Withdraw a version; its number, aliases and digest still resolve.

    `latest` and --as-of no longer choose it, and searches leave it out.

    \b
    Examples:
      ahf yank acme/tone@1 --reason "trained on the wrong rows"
      ahf yank acme/tone@1 --undo
    """
    from adapterhub_fin.registries import configured_registries

    if not (reason or undo):
        raise click.UsageError("Give the reason with --reason, or undo a yank with --undo.")
    registry = configured_registries().answering(reference)
    version = registry.resolve(reference)
    registry.add_event(version, "unyank" if undo else "yank", {"reason": reason} if reason else {})
    if as_json:
        print_json({"reference": version.reference, "digest": version.digest, "yanked": not undo})
    else:
        click.echo(f"{version.reference} {'can be chosen again' if undo else 'is yanked'}")
