"""Define `ahf market features`."""

from __future__ import annotations

from typing import Any

import click

from adapterhub_fin.plugin import json_option, print_facts, print_json
from adapterhub_fin_markets.cli.tables import table_options, table_reading


@click.command("features")
@table_options
@click.option("--names", metavar="NAMES", help="Features, separated by commas; by default all that are installed.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="Parquet file to write.")
@json_option
def features(tables: tuple[str, ...], names: str | None, out: str, as_json: bool, **given: Any) -> None:
    """Compute features of prices, each cell with the instant at which it was known.

    \b
    Examples:
      ahf market features prices.csv --calendar XNYS --out features.parquet
      ahf market features btc.parquet --names return_5,rsi_14 --out features.parquet
    """
    from adapterhub_fin_markets.features.stored import check_folder, write_features
    from adapterhub_fin_markets.features.table import compute_features
    from adapterhub_fin_markets.prices.tables import read_prices

    check_folder(out)
    chosen = None if names is None else [name.strip() for name in names.split(",") if name.strip()]
    prices = read_prices(list(tables), **table_reading(**given))
    table = compute_features(prices, chosen)
    write_features(table, out)
    facts = {
        "out": out,
        "times": len(table),
        "tickers": len(table.tickers),
        "features": list(table.names),
        "prices": table.prices_digest,
        "universe": prices.universe,
    }
    if as_json:
        print_json(facts)
    else:
        print_facts([*{**facts, "features": " ".join(table.names)}.items()])
