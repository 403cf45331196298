"""ahf gc"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import click

from adapterhub_fin.cli.options import json_option, print_json, print_table


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="List what would be removed, and remove nothing.")
@click.option(
    "--grace",
    metavar="HOURS",
    type=click.FloatRange(0),
    default=24,
    show_default=True,
    help="Keep what anything was written to in the last HOURS: somebody may still be building there.",
)
@json_option
def command(dry_run: bool, grace: float, as_json: bool) -> None:
    """Remove what dead work and broken-off deletions left behind.

    No version, alias or event is ever touched. What belongs to another user is listed and stays.

    \b
    Examples:
      ahf gc --dry-run
      ahf gc
    """
    from adapterhub_fin.registries import configured_registries

    found = configured_registries().writable().gc(dry_run=dry_run, grace=timedelta(hours=grace))
    if as_json:
        print_json([asdict(left) for left in found])
    elif found:
        done = {True: "removed", False: "would be removed" if dry_run else "kept: another user's"}
        print_table(("path", "what", "bytes", ""), [(f.path, f.kind, f.size, done[f.removed]) for f in found])
    else:
        click.echo("nothing was left behind", err=True)
