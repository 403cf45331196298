"""List by when each input of a backtest was known, at the latest, and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adapterhub_fin.plugin import format_instant
from adapterhub_fin_markets.backtest.admission import Sources
from adapterhub_fin_markets.backtest.result import KnownBy
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.signals.table import Signals


def known_by(signals: Signals, sources: Sources, prices: Prices) -> Iterator[KnownBy]:
    """Yield a row for decisions, texts, each version that answered, what was fitted, and prices."""
    yield KnownBy("decisions", f"{signals.at[0]}Z to {signals.at[-1]}Z", "each uses what was known strictly before it")
    used = np.unique(sources.available_at[np.unique(sources.texts.codes)])
    corpus = signals.facts.get("corpus") or {}
    if len(used := used[~np.isnat(used)]):
        source = f"corpus {corpus.get('name', '')}, {str(corpus.get('digest', ''))[:19]}"
        yield KnownBy("texts, the latest", f"{used[-1]}Z", source)
    for code in np.unique(sources.adapters.codes).tolist():
        digest, version = sources.adapters.names[code], sources.versions[code]
        if version is None:
            yield KnownBy(f"adapter {digest[:19]}", "unknown", "no registry has it")
        else:
            end = format_instant(version.knows_until(sources.include_base))
            base = "" if sources.include_base else ", its base ignored"
            yank = "" if (since := version.yank) is None else f"; yanked at {format_instant(since.at)}"
            yield KnownBy(f"adapter {version.reference}", end, f"the registry, by {digest[:19]}{base}{yank}")
    for what, until in dict(sources.fitted).items():
        yield KnownBy(what, f"{until}Z", "rows that it was fitted to")
    if len(prices):
        yield KnownBy("prices, the last close", f"{np.max(prices.closes_at)}Z", prices.source or "the tables")
    if prices.adjusted_as_of:
        yield KnownBy("prices, their adjustment", str(prices.adjusted_as_of), "returns alone may use it")
