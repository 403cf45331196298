"""ahf verify"""

from __future__ import annotations

from typing import Any

import click

from adapterhub_fin.cli.options import REFERENCE, json_option, print_json, print_table


@click.command("verify")
@click.argument("references", nargs=-1, type=REFERENCE)
@click.option("--all", "everything", is_flag=True, help="Every version of the registry.")
@json_option
def command(references: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Hash stored versions again and compare.

    A name alone means all of its versions. Exit status 1 when any version's bytes differ from its manifest.

    \b
    Examples:
      ahf verify acme/tone@1
      ahf verify --all --json
    """
    from adapterhub_fin.errors import AdapterHubError
    from adapterhub_fin_registry import Registry

    if bool(references) == everything:
        raise click.UsageError("Give references, or --all.")
    registry = Registry()
    names = registry.names() if everything else references
    rows: list[dict[str, Any]] = []
    for name in names:
        wanted = [name] if "@" in name else [version.reference for version in registry.versions(name)] or [name]
        for reference in wanted:
            try:
                version = registry.verify(reference)
                rows.append({"reference": version.reference, "digest": version.digest, "error": None})
            except AdapterHubError as error:
                rows.append({"reference": reference, "digest": None, "error": str(error)})
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("version", "state"), [(row["reference"], row["error"] or f"whole, {row['digest']}") for row in rows]
        )
    if any(row["error"] for row in rows):
        raise click.exceptions.Exit(1)
