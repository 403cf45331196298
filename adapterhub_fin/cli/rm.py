"""Define `ahf rm`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_json


@click.command("rm")
@click.argument("reference", type=REFERENCE)
@click.option("--reason", default="", help="The reason, for the tombstone.")
@click.option("--allow-orphans", is_flag=True, help="Delete a base too that versions here were trained on.")
@json_option
def command(reference: str, reason: str, allow_orphans: bool, as_json: bool) -> None:
    """Delete one exact version permanently; its number is never reused.

    Give the version by number or digest. A version that an alias names is refused: first move or remove the alias with
    `ahf alias`. So is a base that versions in your registries were trained on, unless `--allow-orphans` is given. To
    withdraw a version and keep its files, use `ahf yank`.

    \b
    Examples:
      ahf rm acme/tone@1 --reason "the license of its corpus ended"
    """
    from adapterhub_fin.registries import configured_registries

    version = configured_registries().delete(reference, reason=reason, allow_orphans=allow_orphans)
    if as_json:
        print_json({"reference": version.reference, "digest": version.digest, "deleted": True})
    else:
        click.echo(f"{version.reference} is deleted")
