"""Define `ahf path`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE, as_of_options, dated_by, lock_option, say_answering
from adapterhub_fin.plugin.console import json_option, print_json


@click.command("path")
@click.argument("reference", type=REFERENCE)
@as_of_options
@lock_option
@json_option
def command(reference: str, as_of: str | None, include_base: bool, lock: str | None, as_json: bool) -> None:
    """Verify a version's files and print its folder.

    The folder is a plain adapter folder. Read from it only: versions are immutable.

    \b
    Examples:
      ahf path acme/tone
      ahf path acme/tone@1 --json
      ahf path acme/tone --lock adapters.lock
    """
    from adapterhub_fin.registries import configured_registries

    registry, version = configured_registries().locate(
        reference,
        as_of=as_of,
        include_base=include_base,
        lock=lock,
    )
    folder = registry.path(version)
    if as_json:
        print_json(
            {
                "reference": version.reference,
                "digest": version.digest,
                "path": str(folder),
                **dated_by(as_of, include_base),
            }
        )
    else:
        if as_of:
            say_answering(version.reference, as_of, include_base)
        click.echo(folder)
