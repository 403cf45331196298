"""Define `ahf market check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.plugin import json_option, print_json
from adapterhub_fin_markets.cli.tables import table_options, table_reading

if TYPE_CHECKING:
    from adapterhub_fin_markets.prices.findings import Finding

SHOWN = 3  # findings of one kind and ticker, of which text shows the first


@click.command("check")
@table_options
@json_option
def check(tables: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Check prices for gaps, duplicates, wrong levels and missing splits and dividends.

    Exits with status 1 where something is refused: `read_prices` would not read the files as they stand. What is only
    flagged may be right. Nothing is changed.

    \b
    Examples:
      ahf market check prices.csv --calendar XNYS
      ahf market check prices --calendar 24/7 --date-format %d.%m.%Y --decimal ,
      ahf market check btc.parquet --json
    """
    from adapterhub_fin_markets.prices.tables import check_prices

    findings = check_prices(list(tables), **table_reading(**given))
    refused = sum(finding.refused for finding in findings)
    if as_json:
        print_json(
            {"refused": refused, "flagged": len(findings) - refused, "findings": [item.record() for item in findings]}
        )
    else:
        _print(findings, refused)
    if refused:
        raise click.exceptions.Exit(1)


def _print(findings: list[Finding], refused: int) -> None:
    groups: dict[tuple[str, str, bool], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.ticker, finding.kind, finding.refused), []).append(finding)
    for (_, kind, no), items in groups.items():
        for finding in items[:SHOWN]:
            click.echo(f"{'refused' if no else 'flagged'}  {kind}  {finding.sentence}")
        if len(items) > SHOWN:
            click.echo(
                f"{'refused' if no else 'flagged'}  {kind}  {items[0].ticker}: {len(items) - SHOWN:,} more like it"
            )
    click.echo(f"{refused:,} refused, {len(findings) - refused:,} flagged" if findings else "nothing found")
