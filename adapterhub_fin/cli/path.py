"""ahf path"""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE, as_of_options, asked, json_option, lock_option, print_json, say_tier


@click.command("path")
@click.argument("reference", type=REFERENCE)
@as_of_options
@lock_option
@json_option
def command(reference: str, as_of: str | None, tier: str, lock: str | None, as_json: bool) -> None:
    """Print the folder of a version, its files verified.

    The folder is a plain adapter folder, to read from and never to write to.

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
        tier=tier,  # type: ignore[arg-type]
        lock=lock,
    )
    folder = registry.path(version.reference)
    if as_json:
        print_json(
            {"reference": version.reference, "digest": version.digest, "path": str(folder), **asked(as_of, tier)}
        )
    else:
        if as_of:
            say_tier(version.reference, as_of, tier)
        click.echo(folder)
