"""Repair what was found, where that is asked; every repair is counted and marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from adapterhub_fin_markets.prices.adjust import dividend_factors
from adapterhub_fin_markets.prices.findings import Finding
from adapterhub_fin_markets.prices.panel import COLUMNS, Prices
from adapterhub_fin_markets.prices.shares import share_closes, share_factors

_EMPTIES = frozenset(["not-positive", "high-below-low", "interpolated"])
_DIVIDENDS = frozenset(["missing-dividend", "wrong-dividend", "double-dividend"])


def mark(prices: Prices, findings: Sequence[Finding]) -> Prices:
    """Return the prices with what was found, and with a flag, (times, tickers) bool, for each kind of it."""
    flags = {name: array.copy() for name, array in prices.flags.items()}
    for finding in findings:
        if finding.cells is not None:
            first, end, column = finding.cells
            flags.setdefault(finding.kind, np.zeros(prices.close.shape, bool))[first:end, column] = True
    return replace(prices, flags=flags, findings=(*prices.findings, *findings))


def repair_prices(prices: Prices, findings: Sequence[Finding], repair: Collection[str]) -> Prices:
    """Return prices with the findings of those kinds repaired: emptied, rescaled or recomputed, and counted."""
    mending = [finding for finding in findings if finding.refused and finding.kind in repair]
    if not mending:
        return prices
    optional = ("adj_close", "dividends", "splits", "turnover")
    names = [*COLUMNS, *(name for name in optional if getattr(prices, name) is not None)]
    arrays = {name: getattr(prices, name).copy() for name in names}
    for finding in mending:
        if finding.cells is not None:
            _mend(arrays, finding)
    columns = sorted({finding.cells[2] for finding in mending if finding.cells and finding.kind in _DIVIDENDS})
    if columns and "adj_close" in arrays:
        _recompute(arrays, columns, prices)
    counts = Counter(prices.repairs)
    for finding in mending:
        counts[finding.kind] += finding.bars
    return replace(prices, **arrays, repairs=dict(sorted(counts.items())))


def _mend(arrays: dict[str, np.ndarray], finding: Finding) -> None:
    assert finding.cells is not None
    first, end, column = finding.cells
    cells = (slice(first, end), column)
    if finding.kind in _EMPTIES:
        for name in (*COLUMNS, "adj_close", "turnover"):
            if name in arrays:
                arrays[name][cells] = np.nan
    elif finding.kind in ("hundredfold", "missing-split"):
        for name in ("open", "high", "low", "close", "adj_close"):
            if name in arrays:
                arrays[name][cells] /= float(finding.value or 1)
        if finding.kind == "missing-split":
            arrays["volume"][cells] *= float(finding.value or 1)
    elif finding.kind == "wrong-dividend" and "splits" in arrays:
        split = float(np.nan_to_num(arrays["splits"][first, column]) or 1)
        arrays["dividends"][cells] /= split
    elif finding.kind == "double-dividend" and finding.value == arrays["dividends"][first, column]:
        arrays["dividends"][cells] = 0.0


def _recompute(arrays: dict[str, np.ndarray], columns: Sequence[int], prices: Prices) -> None:
    """Compute the adjusted closes of some tickers from their dividends, as of the last bar that has one."""
    changed: dict[str, Any] = dict(arrays)
    part = replace(prices, **changed)
    shares = share_factors(part)
    factor = dividend_factors(part.dividends, share_closes(part, shares)) * shares
    for column in columns:
        ratio = arrays["adj_close"][:, column] / arrays["close"][:, column]
        last = np.flatnonzero(~np.isnan(ratio))[-1]
        arrays["adj_close"][:, column] = (
            arrays["close"][:, column] * factor[:, column] / factor[last, column] * ratio[last]
        )
