"""Define `ahf search`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import as_of_options, dated_by, on_option, point_in_time, remote_index
from adapterhub_fin.cli.version_table import print_versions, say_damaged
from adapterhub_fin.plugin.console import json_option, print_json, print_table, printable


@click.command("search")
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows per page.")
@click.option("--after", metavar="CURSOR", help="Show the page after the one that printed this cursor.")
@on_option
@click.option(
    "--third-party", is_flag=True, help="With --on: find plain PEFT adapters without a manifest, by words of the name."
)
@as_of_options
@json_option
def command(
    query: tuple[str, ...],
    limit: int,
    after: str | None,
    on: str | None,
    third_party: bool,
    as_of: str | None,
    include_base: bool,
    as_json: bool,
) -> None:
    """Search versions by name, method, metrics, dates and other fields.

    Compare fields with = != < <= > >= IN and ~ (contains), and join comparisons with AND, OR, NOT and parentheses. Bare
    words match names, descriptions, tags, methods, corpora and bases. docs/reference/search.md lists every field.

    \b
    Examples:
      ahf search "metrics.accuracy > 0.5 ORDER BY metrics.accuracy DESC"
      ahf search "method = lora AND method.rank >= 4 AND NOT tag = deprecated"
      ahf search tone headlines --limit 5 --json
      ahf search "alias = champion" --as-of 2021-06-30
      ahf search --on hf://acme "metrics.accuracy > 0.8"
      ahf search --on hf://acme --third-party tone
    """
    from adapterhub_fin.registries import configured_registries

    if third_party:
        _show_third_party(on, " ".join(query), limit, as_json)
        return
    registries = configured_registries()
    source = registries if on is None else remote_index(on)
    page = source.search(" ".join(query), limit=limit, after=after, as_of=as_of, include_base=include_base)
    say_damaged(page.damaged)
    if as_json:
        print_json({"rows": page.rows, "next": page.next, **dated_by(as_of, include_base)})
        return
    if as_of:
        click.echo(point_in_time(as_of, include_base), err=True)
    if not page.rows:
        click.echo("Nothing matches.", err=True)
        return
    print_versions(page, several=on is None and len(registries.members) > 1)
    if page.next:
        click.echo(f"There is more: --after {page.next}", err=True)


def _show_third_party(on: str | None, words: str, limit: int, as_json: bool) -> None:
    """Print the adapters on a Hub that have no manifest, each at an exact commit."""
    if on is None:
        raise click.UsageError("--third-party needs --on: only a Hub has adapters without a manifest.")
    from adapterhub_fin.publishing import third_party

    adapters = third_party(on, words, limit)
    if as_json:
        print_json([{"at": a.at, "base": a.base, "tags": list(a.tags), "changed": a.changed} for a in adapters])
    elif adapters:
        print_table(
            ("at", "base", "changed"),
            [(printable(a.at), printable(a.base or ""), a.changed[:10]) for a in adapters],
        )
    else:
        click.echo("Nothing matches.", err=True)
