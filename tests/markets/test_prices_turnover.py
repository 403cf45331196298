"""Turnover: what was traded in currency is read, stored, adjusted and emptied with its bar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adapterhub_fin_markets.prices.adjust import adjust
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.stored import prices_digest, write_prices
from adapterhub_fin_markets.prices.tables import read_prices

NAN = np.nan


def table(turnover: str = "turnover") -> pd.DataFrame:
    closes = np.array([10.0, 10.5, 11.2, 10.9])
    return pd.DataFrame(
        {
            "date": ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"],
            "open": closes - 0.1,
            "high": closes + 0.5,
            "low": closes - 0.5,
            "close": closes,
            "volume": [100.0, 200.0, 300.0, 400.0],
            turnover: [1001.0, 2101.0, 3361.0, 4361.0],
        }
    )


def read(frame: pd.DataFrame, **given: object) -> Prices:
    return read_prices({"X": frame}, calendar="XNYS", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["turnover", "Turnover", "quote_volume", "Quote asset volume", "Amount"])
def test_turnover_is_read_by_its_names(name: str) -> None:
    prices = read(table(name))
    assert prices.turnover is not None and prices.turnover[:, 0].tolist() == [1001, 2101, 3361, 4361]
    assert read(table("other")).turnover is None
    assert read(table("Traded"), columns={"turnover": "Traded"}).turnover is not None


def test_a_stored_file_has_it_and_the_digest_covers_it(tmp_path: Path) -> None:
    prices = read(table())
    write_prices(prices, tmp_path / "x.parquet")
    back = read_prices(tmp_path / "x.parquet")
    assert back.turnover is not None and np.array_equal(back.turnover, prices.turnover)
    assert prices_digest(back) == prices_digest(prices)
    assert prices_digest(replace(prices, turnover=prices.turnover * 2)) != prices_digest(prices)
    assert prices_digest(replace(prices, turnover=None)) != prices_digest(prices)


def test_adjusting_leaves_turnover_over_volume_within_the_bar() -> None:
    splits = np.array([[1.0], [1.0], [2.0], [1.0]])
    dividends = np.array([[0.0], [0.5], [0.0], [0.0]])
    prices = read(table())
    raw = replace(prices, splits=splits, dividends=dividends, split_adjusted=False)
    levels = {name: getattr(raw, name) / np.cumprod(splits, 0) for name in ("open", "high", "low", "close")}
    raw = replace(raw, **levels, turnover=raw.volume * levels["close"])
    adjusted = adjust(raw)
    assert adjusted.turnover is not None
    assert np.allclose(adjusted.turnover / adjusted.volume, adjusted.close, rtol=1e-12)


def test_a_bar_that_is_emptied_loses_it() -> None:
    frame = table()
    frame.loc[1, "close"] = NAN
    prices = read(frame)
    assert prices.turnover is not None and np.isnan(prices.turnover[:, 0]).tolist() == [False, True, False, False]
    frame["dividends"] = [0.0, 0.2, 0.0, 0.0]  # which counts, though its bar does not
    paid = read(frame)
    assert paid.turnover is not None and np.isnan(paid.turnover[1, 0])
    assert paid.dividends is not None and paid.dividends[1, 0] == 0.2
    frame = table()
    frame.loc[2, ["high", "low"]] = [9.0, 12.0]
    repaired = read(frame, repair=["high-below-low"])
    assert repaired.turnover is not None and np.isnan(repaired.turnover[2, 0])
