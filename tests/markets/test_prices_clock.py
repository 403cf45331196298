"""When a bar starts and closes is never put too early: by its length, its label, its session and its gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.tables import read_prices


def frame(times: Any, ticker: str = "AAA") -> pd.DataFrame:
    close = 10 + np.arange(len(times)) ** 1.1
    return pd.DataFrame({"time": times, "Ticker": ticker, "open": close, "close": close})


def read(times: Any, calendar: str, **options: Any) -> Prices:
    return read_prices(frame(times), calendar=calendar, **options)


def minutes(moments: np.ndarray) -> list[str]:
    return [str(moment)[:16] for moment in moments]


HOURS = pd.date_range("2024-01-02T00:00Z", periods=6, freq="1h")


@pytest.mark.parametrize(
    ("times", "calendar", "interval", "of"),
    [
        (["2024-01-02", "2024-02-01", "2024-03-01"], "XNYS", "1d", "a month"),
        (["2024-01-01", "2024-02-01", "2024-03-01"], "24/7", "1d", "a month"),
        (["2024-01-05", "2024-01-12", "2024-01-19", "2024-01-26"], "XNYS", "1d", "a week"),
        (HOURS, "24/7", "15min", "1h"),
        (pd.date_range("2024-01-02T00:00Z", periods=5, freq="1D"), "24/7", "1h", "a day"),
        ([f"2024-01-0{day}T{hour}:30Z" for day in (2, 3, 4) for hour in (14, 16, 18, 20)], "XNYS", "1h", "2h"),
        ([f"2024-01-0{day}T14:30Z" for day in (2, 3, 4)], "XNYS", "1h", "a day"),
    ],
)
def test_bars_longer_than_their_interval_are_refused(times: Any, calendar: str, interval: str, of: str) -> None:
    with pytest.raises(BadPrices, match=f"AAA has no two bars that are {interval} apart: these look like bars of {of}"):
        read(times, calendar, interval=interval)
    assert "coarser-bars" in read(times, calendar, interval=interval, allow=["coarser-bars"]).flags


@pytest.mark.parametrize(
    ("times", "calendar", "interval"),
    [
        (["2024-01-02", "2024-02-01", "2024-03-01", "2024-06-03", "2024-06-04"], "XNYS", "1d"),  # over a week end
        (["2024-01-05", "2024-01-08", "2024-03-01"], "XNYS", "1d"),
        (["2024-01-02", "2024-02-01"], "XNYS", "1d"),
        ([*HOURS[:2], "2024-01-03T07:00Z", "2024-01-05T01:00Z"], "24/7", "1h"),
        ([f"2024-01-0{day}T14:30Z" for day in (2, 3, 4)], "XNYS", "12h"),  # a bar a session
        ([f"2024-01-0{day}T15:00Z" for day in (2, 3, 4)], "XNYS", "12h"),  # off the open
    ],
)
def test_few_bars_with_holes_are_no_longer_ones(times: Any, calendar: str, interval: str) -> None:
    read([str(time) for time in times], calendar, interval=interval)


def test_each_ticker_s_bars_are_looked_at_by_themselves() -> None:
    both = pd.concat(
        [
            frame(["2024-01-02", "2024-01-03", "2024-02-01", "2024-03-01"]),
            frame(["2024-01-02", "2024-02-01", "2024-03-01"], "FUND"),
        ]
    )
    with pytest.raises(BadPrices, match=r"FUND has no two bars .* refused in all: coarser-bars \(1\)"):
        read_prices(both, calendar="XNYS")
