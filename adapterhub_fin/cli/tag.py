"""Define `ahf tag`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_json


@click.command("tag")
@click.argument("reference", type=REFERENCE)
@click.argument("tag")
@click.option("--remove", is_flag=True, help="Remove the tag.")
@json_option
def command(reference: str, tag: str, remove: bool, as_json: bool) -> None:
    """Add a tag to a version, or remove one.

    \b
    Examples:
      ahf tag acme/tone@1 production
      ahf tag acme/tone@1 production --remove
    """
    from adapterhub_fin.registries import configured_registries

    registry = configured_registries().answering(reference)
    version = registry.resolve(reference)
    registry.add_event(version, "untag" if remove else "tag", {"tag": tag})
    if as_json:
        print_json({"reference": version.reference, "digest": version.digest, "tags": version.tags})
    else:
        click.echo(f"{version.reference} is tagged {', '.join(version.tags) or 'with nothing'}")
