"""Define `ahf market`."""

from __future__ import annotations

import click

from adapterhub_fin_markets.cli.check import check
from adapterhub_fin_markets.cli.corpus import corpus
from adapterhub_fin_markets.cli.features import features
from adapterhub_fin_markets.cli.fetch import fetch
from adapterhub_fin_markets.cli.store import store


@click.group("market")
def command() -> None:
    """Check, store and fetch prices, compute features, and describe dated texts.

    \b
    Examples:
      ahf market check prices.csv --calendar XNYS
      ahf market corpus headlines --set rows=300
      ahf market features prices.csv --calendar XNYS --out features.parquet
      ahf market store prices --calendar XNYS --out prices.parquet
      ahf market fetch bybit BTCUSDT --interval 1d --start 2022-11-01 --out btc.parquet
    """


command.add_command(check)
command.add_command(corpus)
command.add_command(features)
command.add_command(fetch)
command.add_command(store)
