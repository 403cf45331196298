"""Describe a feature of prices: what it reads, and how far back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adapterhub_fin.plugin import Description


@dataclass(frozen=True, kw_only=True)
class Feature(Description):
    """Describe a feature: the target is `function(**columns) -> (times, tickers)`, float64, NaN where it is undefined.

    The function is given the named columns of a panel, (times, tickers) each, and computes row t from rows up to t.
    """

    kind: ClassVar[str] = "feature"
    columns: tuple[str, ...]  # of a panel: open, high, low, close, volume
    lookback: int  # bars before the present one that it needs; earlier rows are NaN
