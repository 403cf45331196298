"""Write features as a prompt: a line each, ranks or z-scores of few digits, and the question last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

NAMES: Final = {
    "return_1": "return over 1 bar",
    "return_5": "return over 5 bars",
    "return_20": "return over 20 bars",
    "return_60": "return over 60 bars",
    "volume_ratio": "volume against its mean",
    "volatility_20": "volatility over 20 bars",
    "volatility_60": "volatility over 60 bars",
    "rsi_14": "relative strength index",
    "macd": "MACD over price",
    "bb_position": "place in the Bollinger bands",
    "atr_ratio": "average true range over price",
    "vwap_distance": "distance from the volume-weighted price",
    "gap_1": "opening gap",
    "range_1": "range of the bar",
    "drawdown_60": "drawdown within 60 bars",
    "dollar_volume_z20": "traded value against its usual",
}
LIMIT: Final = 9.99  # beyond which a z-score is written as this


def numerals(values: np.ndarray, how: str, digits: int) -> np.ndarray:
    """Return ranks as 00 to 99 and z-scores as +1.23 (or 000 to 999, and +1.2 with two digits); `unknown` for NaN.

    `values` and what is returned have the same shape; ranks lie between 0 and 1.
    """
    if how == "rank":
        top = 10**digits
        whole = np.minimum(np.where(np.isnan(values), 0, values) * top, top - 1).astype(int)
        written = np.char.zfill(whole.astype(str), digits)
    else:
        limited = np.clip(np.where(np.isnan(values), 0, values), -LIMIT, LIMIT if digits == 3 else 9.9)
        limited = np.maximum(limited, -LIMIT if digits == 3 else -9.9)
        written = np.vectorize(lambda value: f"{value + 0.0:+.{digits - 1}f}", otypes=[str])(limited)
    return np.where(np.isnan(values), "unknown", written)


def prompt(names: Sequence[str], written: Sequence[str], how: str, among: str, question: str) -> str:
    """Return the text of one row: what the figures are, a line for each, and the question."""
    scale = "Ranks, from lowest to highest" if how == "rank" else "Standard deviations from the mean"
    whom = "among all instruments of the day" if among == "tickers" else "against the instruments' history"
    lines = [
        f"{NAMES.get(name, name.replace('_', ' '))}: {figure}" for name, figure in zip(names, written, strict=True)
    ]
    return "\n".join([f"{scale}, {whom}.", *lines, question])
