"""Define `ahf publish`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_json, print_table


@click.command("publish")
@click.argument("reference", type=REFERENCE)
@click.option(
    "--to", required=True, metavar="hf://ORG/NAME", help="The repository; the number is the next one free there."
)
@click.option("--private", is_flag=True, help="Create the repository as private; refuse an existing public one.")
@click.option("--no-create", is_flag=True, help="Refuse a repository that doesn't exist.")
@click.option("--dry-run", is_flag=True, help="List what would be sent without sending it.")
@json_option
def command(reference: str, to: str, private: bool, no_create: bool, dry_run: bool, as_json: bool) -> None:
    """Publish a version to a Hub, under the next free number there.

    Its files are verified first. If a publish is interrupted, run it again: only missing files are sent, and a version
    that is there already is not published twice. HF_ENDPOINT chooses the Hub; the token comes from `hf auth login` or
    HF_TOKEN.

    \b
    Examples:
      ahf publish acme/tone@1 --to hf://acme/tone --dry-run
      ahf publish acme/tone --to hf://acme/tone --private --json
    """
    from adapterhub_fin import publish

    done = publish(reference, to, private=private, create=not no_create, dry_run=dry_run)
    there = done.published
    if as_json:
        print_json(
            {
                "reference": done.version.reference,
                "digest": done.version.digest,
                "at": there.at,
                "is_new": there.is_new,
                "dry_run": dry_run,
                "recorded": done.recorded,
                "base": done.base.model_dump() if done.base else None,
                "sends": [list(file) for file in there.sends],
                **there.origin,
            }
        )
        return
    if done.base is not None:
        click.echo(
            f"{done.version.reference} needs its base {done.base.name}, {done.base.digest}: publish that too, as "
            f"hf://{done.base.name}",
            err=True,
        )
    if there.sends:
        print_table(("file", "bytes"), [(path, f"{size:,}") for path, size in there.sends])
        return
    if not there.is_new:
        click.echo(f"{done.version.reference} is already published", err=True)
    if not (done.recorded or dry_run):
        click.echo("its registry is read-only, so no event records the publication", err=True)
    click.echo(there.at)
