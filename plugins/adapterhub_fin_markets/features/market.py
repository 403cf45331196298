"""Compute the sixteen features of bars.

Each function takes columns (times, tickers) and returns (times, tickers), float64. A cell needs every bar of its
window: it is NaN where one is missing. None is in units of price, so scaling a ticker's history changes none: levels
that were adjusted for later dividends would otherwise tell of them.
"""

from __future__ import annotations

import numpy as np

from adapterhub_fin_markets.features.talib_guard import by_run
from adapterhub_fin_markets.features.windows import before, ratio, spread, window_max, window_moments, window_sum


def change(close: np.ndarray, bars: int) -> np.ndarray:
    """Return close / the close so many bars before - 1, (times, tickers)."""
    return ratio(close, before(close, bars)) - 1


def return_1(close: np.ndarray) -> np.ndarray:
    """Return the return over one bar, (times, tickers)."""
    return change(close, 1)


def return_5(close: np.ndarray) -> np.ndarray:
    """Return the return over 5 bars, (times, tickers)."""
    return _unbroken(change(close, 5), close, 5)


def return_20(close: np.ndarray) -> np.ndarray:
    """Return the return over 20 bars, (times, tickers)."""
    return _unbroken(change(close, 20), close, 20)


def return_60(close: np.ndarray) -> np.ndarray:
    """Return the return over 60 bars, (times, tickers)."""
    return _unbroken(change(close, 60), close, 60)


def volume_ratio(volume: np.ndarray, window: int = 20) -> np.ndarray:
    """Return volume / its mean over the window, the present bar included, (times, tickers).

    NaN where nothing was traded in it.
    """
    return ratio(volume, window_sum(volume, window) / window)


def volatility_20(close: np.ndarray) -> np.ndarray:
    """Return the standard deviation (ddof 1) of 20 returns over one bar, not annualised, (times, tickers)."""
    return spread(change(close, 1), 20, 1)


def volatility_60(close: np.ndarray) -> np.ndarray:
    """Return the standard deviation (ddof 1) of 60 returns over one bar, not annualised, (times, tickers)."""
    return spread(change(close, 1), 60, 1)


def rsi_14(close: np.ndarray, window: int = 14) -> np.ndarray:
    """Return Wilder's RSI, 0 to 100, (times, tickers); NaN as long as no close has differed from the one before it."""
    import talib

    def rsi(closes: np.ndarray) -> np.ndarray:
        values: np.ndarray = talib.RSI(closes, window)
        if not (values == 0).any():
            return values
        # TA-Lib answers 0.0 for closes that never moved, too, and before 0.8 where the mean move is below 1e-14.
        moves = np.diff(closes, prepend=closes[0])
        fell_alone = (np.maximum.accumulate(moves) <= 0) & (np.minimum.accumulate(moves) < 0)
        return np.where((values == 0) & ~fell_alone, np.nan, values)

    return by_run(rsi, window, _of_first(close))


def macd(close: np.ndarray) -> np.ndarray:
    """Return the difference of the exponential averages over 12 and 26 bars / close, (times, tickers)."""
    import talib

    return ratio(by_run(lambda closes: talib.MACD(closes, 12, 26, 9)[0], 33, close), close)


def bb_position(close: np.ndarray, window: int = 20, width: float = 2.0) -> np.ndarray:
    """Return (close - lower) / (upper - lower) of Bollinger's bands, (times, tickers).

    NaN where all closes of the window are equal.
    """
    import talib

    def position(closes: np.ndarray) -> np.ndarray:
        upper, _, lower = talib.BBANDS(closes, window, width, width)
        return ratio(closes - lower, upper - lower)

    values = by_run(position, window - 1, _of_first(close))
    values[window_max(close, window) == -window_max(-close, window)] = np.nan  # what a width holds then is rounding
    return values


def atr_ratio(high: np.ndarray, low: np.ndarray, close: np.ndarray, window: int = 14) -> np.ndarray:
    """Return Wilder's average true range / close, (times, tickers)."""
    import talib

    return ratio(by_run(lambda *bars: talib.ATR(bars[0], bars[1], bars[2], window), window, high, low, close), close)


def vwap_distance(
    high: np.ndarray, low: np.ndarray, close: np.ndarray, volume: np.ndarray, window: int = 20
) -> np.ndarray:
    """Return (close - VWAP) / close, of typical prices (high + low + close) / 3, (times, tickers).

    NaN where nothing was traded.
    """
    traded = window_sum((high + low + close) / 3 * volume, window)
    return ratio(close - ratio(traded, window_sum(volume, window)), close)


def gap_1(open: np.ndarray, close: np.ndarray) -> np.ndarray:  # noqa: A002 - a column's name
    """Return open / the close of the bar before - 1, (times, tickers)."""
    return _unbroken(ratio(open, before(close, 1)) - 1, close, 0)


def range_1(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Return (high - low) / close, (times, tickers)."""
    return ratio(high - low, close)


def drawdown_60(close: np.ndarray, window: int = 60) -> np.ndarray:
    """Return close / the highest close of the window - 1, (times, tickers)."""
    return ratio(close, window_max(close, window)) - 1


def dollar_volume_z20(close: np.ndarray, volume: np.ndarray, window: int = 20) -> np.ndarray:
    """Return how many standard deviations (ddof 1) close * volume is from its mean, (times, tickers).

    NaN where it never differs.
    """
    traded = close * volume
    mean, squares = window_moments(traded, window)
    return ratio(traded - mean, np.sqrt(squares / (window - 1)))


def _unbroken(values: np.ndarray, column: np.ndarray, bars: int) -> np.ndarray:
    """Return values, NaN where a bar among the present one and so many before it is missing."""
    values[np.isnan(window_max(column, bars + 1))] = np.nan
    return values


def _of_first(close: np.ndarray) -> np.ndarray:
    """Return closes over each ticker's first: TA-Lib before 0.8 takes moves below 1e-14 for none, in any currency."""
    present = np.isfinite(close)
    first = np.abs(close[present.argmax(0), np.arange(close.shape[1])]) if len(close) else np.ones(close.shape[1])
    return close / np.where(present.any(0) & (first > 0), first, 1.0)
