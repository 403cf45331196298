"""Define `ahf market check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adapterhub_fin.plugin import json_option, print_json

if TYPE_CHECKING:
    from adapterhub_fin_markets.prices.findings import Finding

SHOWN = 3  # findings of one kind and ticker, of which text shows the first


@click.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True), metavar="FILE...")
@click.option(
    "--calendar", metavar="CODE", help="Exchange of the bars: XNYS, 24/7, weekdays; files that were fetched hold it."
)
@click.option("--interval", metavar="LENGTH", help="Length of a bar, such as 1d (default), 1h or 15min.")
@click.option("--timezone", metavar="ZONE", help="Zone of times that are written without one.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="Read a column by another name.")
@json_option
def check(
    files: tuple[str, ...],
    calendar: str | None,
    interval: str | None,
    timezone: str | None,
    columns: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check prices for gaps, duplicates, wrong levels and missing splits and dividends.

    Exits with status 1 where something is refused: `read_prices` would not read the files as they stand. What is only
    flagged may be right. Nothing is changed.

    \b
    Examples:
      ahf market check prices.csv --calendar XNYS
      ahf market check btc.parquet --json
    """
    from adapterhub_fin_markets.prices.tables import check_prices

    renamed = dict(_pair(text) for text in columns)
    findings = check_prices(list(files), calendar=calendar, interval=interval, timezone=timezone, columns=renamed)
    refused = sum(finding.refused for finding in findings)
    if as_json:
        print_json(
            {"refused": refused, "flagged": len(findings) - refused, "findings": [item.record() for item in findings]}
        )
    else:
        _print(findings, refused)
    if refused:
        raise click.exceptions.Exit(1)


def _pair(text: str) -> tuple[str, str]:
    ours, separator, theirs = text.partition("=")
    if not separator:
        raise click.UsageError(f"--column {text} must read OURS=THEIRS, such as close=Last.")
    return ours, theirs


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
