"""Adjusted levels give total returns, whatever order splits and dividends come in, and are stored as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from adapterhub_fin_markets.prices.adjust import adjust
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.tables import read_prices


def table(closes: list[float], *, first: str = "2024-01-16", **columns: Any) -> pd.DataFrame:
    """Return bars of one ticker on the sessions from `first` on, each at one price."""
    days = pd.bdate_range(first, periods=len(closes)).strftime("%Y-%m-%d")
    close = np.array(closes, dtype=float)
    levels = dict.fromkeys(("Open", "High", "Low", "Close"), close)
    return pd.DataFrame({"Date": days, **levels, "Volume": 100.0, **columns})


def read(frame: pd.DataFrame, **options: Any) -> Prices:
    return read_prices(frame, calendar="XNYS", **options)


def test_a_dividend_before_a_split_counts_on_the_shares_of_its_own_day() -> None:
    closes = [400.0, 400, 400, 399, 399, 399, 99.75, 99.75]
    raw = read(table(closes, Dividends=[0, 0, 0, 1.0, 0, 0, 0, 0], Splits=[0, 0, 0, 0, 0, 0, 4, 0]))
    assert raw.split_adjusted is False
    adjusted = adjust(raw)
    np.testing.assert_allclose(adjusted.close[:, 0], 99.75)  # what was paid is all that was lost
    assert adjusted.dividends is not None and adjusted.dividends[3, 0] == 0.25


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_split_on_a_day_without_a_close_is_reckoned_with_at_the_next(at: int) -> None:
    """The dividend comes on the first bar after a split that has no bar of its own."""
    frame = table([400.0, 400, 400, 400, 99], Dividends=[0, 0, 0, 0, 1.0], Splits=np.eye(5)[at] * 4)
    frame.loc[at:3, ["Open", "High", "Low", "Close"]] = np.nan
    adjusted = adjust(read(frame, split_adjusted=False, allow=["missing-split"]))
    np.testing.assert_allclose(adjusted.close[~np.isnan(adjusted.close)], 99.0)
