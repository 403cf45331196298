"""Define `ahf market fetch`."""

from __future__ import annotations

import click

from adapterhub_fin.plugin import json_option
from adapterhub_fin_markets.cli.tables import print_stored


@click.command("fetch")
@click.argument("source")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option(
    "--interval", default="1d", show_default=True, metavar="LENGTH", help="Length of a bar, such as 1d or 1h."
)
@click.option("--start", required=True, metavar="DATE", help="First day, UTC.")
@click.option("--end", metavar="DATE", help="Day after the last, UTC; by default, what is complete by now.")
@click.option("--set", "settings", multiple=True, metavar="OPTION=VALUE", help="Set an option of the source.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="Parquet file to write; replaced whole.")
@json_option
def fetch(
    source: str,
    symbols: tuple[str, ...],
    interval: str,
    start: str,
    end: str | None,
    settings: tuple[str, ...],
    out: str,
    as_json: bool,
) -> None:
    """Fetch bars from a source and write them to a parquet file, with their digest.

    Bars that are not complete yet are left out. `ahf plugins` lists the sources.

    \b
    Examples:
      ahf market fetch bybit BTCUSDT --interval 1d --start 2022-11-01 --out btc.parquet
      ahf market fetch yahoo SPY QQQ --start 2010-01-01 --out etf.parquet
    """
    from adapterhub_fin_markets.prices.fetching import fetch_prices
    from adapterhub_fin_markets.prices.stored import write_prices

    options = dict(_setting(text) for text in settings)
    prices = fetch_prices(source, symbols, interval=interval, start=start, end=end, options=options)
    print_stored(prices, out, write_prices(prices, out), as_json)


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.UsageError(f"--set {text} must read OPTION=VALUE, such as category=spot.")
    return name, value
