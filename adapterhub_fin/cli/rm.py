"""Define `ahf rm`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_json


@click.command("rm")
@click.argument("reference", type=REFERENCE)
@click.option("--reason", default="", help="The reason, for the tombstone.")
@json_option
def command(reference: str, reason: str, as_json: bool) -> None:
    """Delete one exact version permanently; its number is never reused.

    Give the version by number or digest. A version that an alias names is refused: first move or remove the alias with
    `ahf alias`. To withdraw a version and keep its files, use `ahf yank`.

    \b
    Examples:
      ahf rm acme/tone@1 --reason "the license of its corpus ended"
    """
    from adapterhub_fin.registries import configured_registries

    version = configured_registries().answering(reference).delete(reference, reason=reason)
    if as_json:
        print_json({"reference": version.reference, "digest": version.digest, "deleted": True})
    else:
        click.echo(f"{version.reference} is deleted")
