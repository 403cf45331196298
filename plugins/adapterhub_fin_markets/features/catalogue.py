"""Describe the sixteen features: what each reads, and how far back."""

from __future__ import annotations

from typing import Final

from adapterhub_fin_markets.features.description import Feature

_BARS = ("high", "low", "close")


def _feature(name: str, lookback: int, columns: tuple[str, ...], summary: str) -> Feature:
    return Feature(
        name=name,
        summary=summary,
        target=f"adapterhub_fin_markets.features.market:{name}",
        lookback=lookback,
        columns=columns,
        requires=("adapterhub-fin[markets]",),
    )


FEATURES: Final = (
    _feature("return_1", 1, ("close",), "Return over one bar."),
    _feature("return_5", 5, ("close",), "Return over 5 bars."),
    _feature("return_20", 20, ("close",), "Return over 20 bars."),
    _feature("volume_ratio", 19, ("volume",), "Volume over its mean of 20 bars."),
    _feature("volatility_20", 20, ("close",), "Standard deviation of 20 returns over one bar, not annualised."),
    _feature("rsi_14", 14, ("close",), "Wilder's relative strength index over 14 bars, 0 to 100."),
    _feature("macd", 33, ("close",), "Difference of exponential means over 12 and 26 bars, over the close."),
    _feature("bb_position", 19, ("close",), "Place of the close between Bollinger's bands over 20 bars."),
    _feature("atr_ratio", 14, _BARS, "Wilder's average true range over 14 bars, over the close."),
    _feature("vwap_distance", 19, (*_BARS, "volume"), "Distance from the mean price of 20 bars, over the close."),
    _feature("return_60", 60, ("close",), "Return over 60 bars."),
    _feature("volatility_60", 60, ("close",), "Standard deviation of 60 returns over one bar, not annualised."),
    _feature("gap_1", 1, ("open", "close"), "Open over the close of the bar before, less one."),
    _feature("range_1", 0, _BARS, "High less low, over the close."),
    _feature("drawdown_60", 59, ("close",), "Close over the highest close of 60 bars, less one."),
    _feature("dollar_volume_z20", 19, ("close", "volume"), "Standardised close times volume among 20 bars."),
)
