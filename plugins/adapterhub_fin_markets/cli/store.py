"""Define `ahf market store`."""

from __future__ import annotations

from typing import Any

import click

from adapterhub_fin.plugin import json_option
from adapterhub_fin_markets.cli.tables import print_stored, table_options, table_reading


@click.command("store")
@table_options
@click.option("--repair", multiple=True, metavar="KIND", help="Repair findings of a kind, and count the bars.")
@click.option("--allow", multiple=True, metavar="KIND", help="Accept findings of a kind as they are.")
@click.option("--currency", metavar="CODE", help="What the prices are in, such as USD.")
@click.option(
    "--split-adjusted/--not-split-adjusted",
    default=None,
    help="Say whether the levels reckon with the listed splits; by default they tell.",
)
@click.option("--adjust", "adjusting", is_flag=True, help="Adjust the levels for splits and dividends.")
@click.option("--adjusted-as-of", metavar="DAY", help="The day as of which the levels are adjusted.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="Parquet file to write.")
@json_option
def store(
    tables: tuple[str, ...],
    repair: tuple[str, ...],
    allow: tuple[str, ...],
    adjusting: bool,
    out: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Read tables of prices, check them, and write them to a parquet file with their digest.

    What the checks refuse must be repaired or allowed by its kind, as `ahf market check` names it. The file holds
    calendar, interval, currency and flags, and whatever reads prices reads it. With --adjust its returns are total
    returns; features and targets need levels that are adjusted for splits at least.

    \b
    Examples:
      ahf market store prices.csv --calendar XNYS --out prices.parquet
      ahf market store prices.csv --calendar XNYS --not-split-adjusted --adjust --out prices.parquet
      ahf market store prices --calendar 24/7 --repair not-positive --out coins.parquet
    """
    from adapterhub_fin_markets.prices.adjust import adjust
    from adapterhub_fin_markets.prices.stored import write_prices
    from adapterhub_fin_markets.prices.tables import read_prices

    prices = read_prices(list(tables), repair=repair, allow=allow, **table_reading(**given))
    if adjusting:
        prices = adjust(prices)
    print_stored(prices, out, write_prices(prices, out), as_json)
