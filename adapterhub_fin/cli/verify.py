"""ahf verify"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.options import REFERENCE, json_option, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin_registry import Registry


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
    rows: list[dict[str, Any]] = []
    for reference in _each(registry, references, everything):
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


def _each(registry: Registry, references: Sequence[str], everything: bool) -> list[str]:
    """The versions meant, those among them that lists pass over because they are damaged."""
    from adapterhub_fin_registry import Reference, parse_reference

    if everything:
        names = [version.reference for name in registry.names() for version in registry.versions(name)]
        return sorted([*names, *registry.damaged()])
    wanted = []
    for text in references:
        reference = parse_reference(text)
        bare = isinstance(reference, Reference) and reference.is_bare
        found = [v.reference for v in registry.versions(text)] + sorted(registry.damaged(text)) if bare else []
        wanted += found or [text]
    return wanted
