"""ahf rm"""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE, json_option, print_json


@click.command("rm")
@click.argument("reference", type=REFERENCE)
@click.option("--reason", default="", help="Why, for the tombstone.")
@json_option
def command(reference: str, reason: str, as_json: bool) -> None:
    """Delete one exact version for good; its number is never used again.

    The version is named by number or by digest, and a version that an alias names is refused: move the alias to
    another version first (ahf alias), or remove it. To withdraw a version and keep it, use ahf yank.

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
