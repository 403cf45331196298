"""Features against numbers made by hand, by TA-Lib and by another library (Skender's, in C#)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import talib

from adapterhub_fin_markets.features import market
from adapterhub_fin_markets.features.talib_guard import by_run
from adapterhub_fin_markets.testing import random_bars

NAN = np.nan
WILDER = (
    "44.34 44.09 44.15 43.61 44.33 44.83 45.10 45.42 45.84 46.08 45.89 46.03 45.61 46.28 46.28 46.00 46.03 46.41 46.22 "
    "45.64 46.21"
)


def column(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


def test_rsi_is_wilder_s() -> None:
    closes = column(*map(float, WILDER.split()))
    expected = [
        70.464135021097,
        66.249618553555,
        66.480941834713,
        69.346853162909,
        66.294712658926,
        57.915020670086,
        62.880718309962,
    ]
    assert np.isnan(market.rsi_14(closes)[:14]).all()
    assert market.rsi_14(closes)[14:, 0] == pytest.approx(expected, abs=1e-10)


def test_rsi_by_hand() -> None:
    values = market.rsi_14(column(1, 2, 3, 2, 1), window=3)[:, 0]
    assert values == pytest.approx([NAN, NAN, NAN, 200 / 3, 400 / 9], nan_ok=True)
    assert market.rsi_14(column(*range(1, 40)))[14:, 0] == pytest.approx(np.full(25, 100.0))
    assert market.rsi_14(column(*range(40, 1, -1)))[14:, 0] == pytest.approx(np.zeros(25))


def test_rsi_starts_anew_after_a_hole() -> None:
    closes = column(*range(1, 41))
    closes[20] = NAN
    bare, values = talib.RSI(closes[:, 0], 14), market.rsi_14(closes)[:, 0]
    assert bare[19] == 100 and (bare[20:] == 0).all(), "TA-Lib's own answer, for which the guard is there"
    assert values[14:20] == pytest.approx(np.full(6, 100.0))
    assert np.isnan(values[20:35]).all()
    assert values[35:] == pytest.approx(np.full(5, 100.0))


def test_macd_by_hand() -> None:
    closes = column(1, 2, 4, 7, 11, 16)
    line, signal, histogram = (
        by_run(lambda run, part=part: talib.MACD(run, 2, 3, 2)[part], 3, closes)[3:, 0] for part in range(3)
    )
    assert line == pytest.approx([1, 1.388889, 1.824074], abs=1e-6)
    assert signal == pytest.approx([0.833333, 1.203704, 1.617284], abs=1e-6)
    assert histogram == pytest.approx([0.166667, 0.185185, 0.206790], abs=1e-6)


def test_bollinger_divides_by_the_population() -> None:
    closes = column(2, 4, 4, 4, 5, 5, 7, 9)
    assert market.bb_position(closes, 8)[-1, 0] == pytest.approx(1.0)
    closes[-1] = 8.0
    middle, half = 4.875, 2 * np.std(closes)
    assert market.bb_position(closes, 8)[-1, 0] == pytest.approx((8 - middle + half) / (2 * half))
    assert np.isnan(market.bb_position(closes, 8)[:-1]).all()


def test_true_range_and_distance_from_the_mean_price_by_hand() -> None:
    high, low = column(10, 11, 12, 11.5, 13), column(9, 9.5, 10.5, 10, 11.5)
    close = column(9.5, 10.8, 11, 10.2, 12.8)
    values = market.atr_ratio(high, low, close, window=3)[:, 0] * close[:, 0]
    assert values == pytest.approx([NAN, NAN, NAN, 1.5, 1.933333], abs=1e-6, nan_ok=True)
    prices = column(10, 11, 12)
    assert market.vwap_distance(prices, prices, prices, column(100, 300, 100), 3)[-1, 0] == pytest.approx(1 / 12)


def test_returns_by_hand() -> None:
    closes = column(100, 101, 99, 99, 110, 121)
    assert market.return_1(closes)[:, 0] == pytest.approx([NAN, 0.01, -2 / 101, 0, 1 / 9, 0.1], nan_ok=True)
    assert market.return_5(closes)[-1, 0] == pytest.approx(0.21)
    opens = column(100, 102, 100, 99, 99, 110)
    assert market.gap_1(opens, closes)[1:, 0] == pytest.approx([0.02, -1 / 101, 0, 0, 0])
    assert market.drawdown_60(closes, 3)[2:, 0] == pytest.approx([99 / 101 - 1, 99 / 101 - 1, 0, 0])
    assert market.range_1(column(12), column(9), column(10))[0, 0] == pytest.approx(0.3)


def test_windows_of_volume_and_volatility_are_numpy_s() -> None:
    bars = random_bars()
    close, volume = bars["close"][:, 0], bars["volume"][:, 0]
    returns, traded = close[1:] / close[:-1] - 1, close * volume
    for row in (60, 100, 239):
        assert market.volatility_20(bars["close"])[row, 0] == pytest.approx(np.std(returns[row - 20 : row], ddof=1))
        assert market.volatility_60(bars["close"])[row, 0] == pytest.approx(np.std(returns[row - 60 : row], ddof=1))
        last = slice(row - 19, row + 1)
        assert market.volume_ratio(bars["volume"])[row, 0] == pytest.approx(volume[row] / volume[last].mean())
        score = (traded[row] - traded[last].mean()) / traded[last].std(ddof=1)
        assert market.dollar_volume_z20(bars["close"], bars["volume"])[row, 0] == pytest.approx(score)
        typical = (bars["high"] + bars["low"] + bars["close"])[last, 0] / 3
        vwap = np.average(typical, weights=volume[last])
        assert market.vwap_distance(*bars_of(bars))[row, 0] == pytest.approx(1 - vwap / close[row])


def bars_of(bars: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [bars[name] for name in ("high", "low", "close", "volume")]


def test_equals_talib_on_clean_runs() -> None:
    bars = random_bars(seed=5)
    for ticker in range(4):
        high, low, close, _ = (array[:, ticker].copy() for array in bars_of(bars))
        upper, _, lower = talib.BBANDS(close, 20, 2, 2)
        expected = {
            "rsi_14": (market.rsi_14(bars["close"]), talib.RSI(close, 14)),
            "macd": (market.macd(bars["close"]), talib.MACD(close)[0] / close),
            "bb_position": (market.bb_position(bars["close"]), (close - lower) / (upper - lower)),
            "atr_ratio": (market.atr_ratio(*bars_of(bars)[:3]), talib.ATR(high, low, close, 14) / close),
        }
        for name, (values, bare) in expected.items():
            assert values[:, ticker] == pytest.approx(bare, abs=1e-10, nan_ok=True), name
            assert np.isfinite(values[40:, ticker]).all(), name


def test_a_band_after_a_collapse_is_still_right() -> None:
    close = random_bars(seed=6)["close"]
    close[100:] *= 1e-6
    mean, spread = close[200:220, 0].mean(), close[200:220, 0].std()
    expected = (close[219, 0] - mean + 2 * spread) / (4 * spread)
    assert market.bb_position(close)[219, 0] == pytest.approx(expected, rel=1e-7)
    close[150:] = close[150]
    assert np.isnan(market.bb_position(close)[169:]).all() and np.isfinite(market.bb_position(close)[19:169]).all()


def test_equals_another_library_on_502_bars(shared: Path) -> None:
    with (shared / "data" / "indicators" / "skender_quotes.csv").open() as file:
        rows = list(csv.DictReader(file))
    lower_names = [{name.lower(): value for name, value in row.items()} for row in rows]
    assert len(rows) == 502
    high, low, close = (column(*(float(row[name]) for row in lower_names)) for name in ("high", "low", "close"))
    rsi = market.rsi_14(close)[:, 0]
    assert rsi[[14, 249, 501]] == pytest.approx([62.0541, 70.9368, 42.0773], abs=5e-5)
    line = market.macd(close)[:, 0] * close[:, 0]
    assert line[[249, 501]] == pytest.approx([2.2353, -6.2198], abs=1e-4)
    assert line[49] == pytest.approx(1.7232, abs=5e-5), "TA-Lib seeds its fast mean otherwise: 1.7203 there"
    upper, under = 273.7004, 230.0196
    assert market.bb_position(close)[501, 0] == pytest.approx((close[501, 0] - under) / (upper - under), abs=1e-5)
    ranges = market.atr_ratio(high, low, close)[:, 0] * close[:, 0]
    assert ranges[[14, 24, 501]] == pytest.approx([1.3364, 1.3034, 6.1497], abs=5e-5)
