"""Define `ahf gc`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import click

from adapterhub_fin.plugin.console import json_option, print_json, print_table


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="List what would be removed without removing it.")
@click.option(
    "--grace",
    metavar="HOURS",
    type=click.FloatRange(0),
    default=24,
    show_default=True,
    help="Keep what was written to in the last HOURS: it may still be in use.",
)
@json_option
def command(dry_run: bool, grace: float, as_json: bool) -> None:
    """Remove what interrupted writes and deletions left behind.

    No version, alias or event is ever touched. Files of another user are listed and stay.

    \b
    Examples:
      ahf gc --dry-run
      ahf gc
    """
    from adapterhub_fin.registries import configured_registries

    leftovers = configured_registries().writable().gc(dry_run=dry_run, grace=timedelta(hours=grace))
    if as_json:
        print_json([asdict(leftover) for leftover in leftovers])
    elif leftovers:
        outcomes = {True: "removed", False: "would be removed" if dry_run else "kept: another user's"}
        print_table(("path", "what", "bytes", ""), [(x.path, x.kind, x.size, outcomes[x.removed]) for x in leftovers])
    else:
        click.echo("nothing was left behind", err=True)
