"""ahf search"""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import (
    as_of_options,
    dated_by,
    json_option,
    on_option,
    placed,
    point_in_time,
    print_json,
    print_table,
    printable,
)
from adapterhub_fin.cli.version_table import print_versions, say_damaged


@click.command("search")
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows of one page.")
@click.option("--after", metavar="CURSOR", help="The page after the one that gave this cursor.")
@on_option
@click.option("--foreign", is_flag=True, help="With --on: what others published with plain PEFT, by words of its name.")
@as_of_options
@json_option
def command(
    query: tuple[str, ...],
    limit: int,
    after: str | None,
    on: str | None,
    foreign: bool,
    as_of: str | None,
    include_base: bool,
    as_json: bool,
) -> None:
    """Find versions by what is known of them.

    Fields are compared with = != < <= > >= IN and ~ (contains), joined by AND, OR, NOT and parentheses; bare words are
    looked for in names, descriptions, tags, methods, corpora and bases. docs/reference/search.md has every field.

    \b
    Examples:
      ahf search "metrics.accuracy > 0.5 ORDER BY metrics.accuracy DESC"
      ahf search "method = lora AND method.rank >= 4 AND NOT tag = deprecated"
      ahf search tone headlines --limit 5 --json
      ahf search "alias = champion" --as-of 2021-06-30
      ahf search --on hf://acme "metrics.accuracy > 0.8"
      ahf search --on hf://acme --foreign tone
    """
    from adapterhub_fin.registries import configured_registries

    if foreign:
        _show_foreign(on, " ".join(query), limit, as_json)
        return
    registries = configured_registries()
    searched = registries if on is None else placed(on)
    page = searched.search(" ".join(query), limit=limit, after=after, as_of=as_of, include_base=include_base)
    say_damaged(page.damaged)
    if as_json:
        print_json({"rows": page.rows, "next": page.next, **dated_by(as_of, include_base)})
        return
    if as_of:
        click.echo(point_in_time(as_of, include_base), err=True)
    if not page.rows:
        click.echo("Nothing fits.", err=True)
        return
    print_versions(page, several=on is None and len(registries.members) > 1)
    if page.next:
        click.echo(f"There is more: --after {page.next}", err=True)


def _show_foreign(on: str | None, words: str, limit: int, as_json: bool) -> None:
    """What others published, each pinned to its commit."""
    if on is None:
        raise click.UsageError("--foreign needs --on, since only a store holds what has no manifest.")
    from adapterhub_fin.publishing import foreign

    found = foreign(on, words, limit)
    if as_json:
        print_json(
            [{"at": each.at, "base": each.base, "tags": list(each.tags), "changed": each.changed} for each in found]
        )
    elif found:
        print_table(
            ("at", "base", "changed"),
            [(printable(each.at), printable(each.base or ""), each.changed[:10]) for each in found],
        )
    else:
        click.echo("Nothing fits.", err=True)
