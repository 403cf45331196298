"""ahf search"""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import as_of_options, asked, json_option, print_json
from adapterhub_fin.cli.version_table import print_versions, say_damaged


@click.command("search")
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows of one page.")
@click.option("--after", metavar="CURSOR", help="The page after the one that gave this cursor.")
@as_of_options
@json_option
def command(query: tuple[str, ...], limit: int, after: str | None, as_of: str | None, tier: str, as_json: bool) -> None:
    """Find versions by what is known of them.

    Fields are compared with = != < <= > >= IN and ~ (contains), joined by AND, OR, NOT and parentheses; bare words are
    looked for in names, descriptions, tags, methods, corpora and bases. docs/search.md has every field.

    \b
    Examples:
      ahf search "metrics.accuracy > 0.5 ORDER BY metrics.accuracy DESC"
      ahf search "method = lora AND method.rank >= 4 AND NOT tag = deprecated"
      ahf search tone headlines --limit 5 --json
      ahf search "alias = champion" --as-of 2021-06-30
    """
    from adapterhub_fin.registries import configured_registries

    registries = configured_registries()
    page = registries.search(" ".join(query), limit=limit, after=after, as_of=as_of, tier=tier)  # type: ignore[arg-type]
    say_damaged(page.damaged)
    if as_json:
        print_json({"rows": page.rows, "next": page.next, **asked(as_of, tier)})
        return
    if as_of:
        click.echo(f"as of {as_of}, tier {tier}", err=True)
    if not page.rows:
        click.echo("Nothing fits.", err=True)
        return
    print_versions(page, several=len(registries.members) > 1)
    if page.next:
        click.echo(f"There is more: --after {page.next}", err=True)
