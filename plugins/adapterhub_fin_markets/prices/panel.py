"""Hold bars of several instruments on one clock, each known at its close."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np

COLUMNS: Final = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, eq=False)
class Prices:
    """Hold a panel of bars: arrays of shape (times, tickers), float64, NaN where an instrument has no bar.

    Instants are UTC, datetime64[us], ascending and distinct. What a bar says is known at its close, and no earlier.
    """

    tickers: tuple[str, ...]  # permanent ids of instruments, ascending
    starts_at: np.ndarray  # (times,)
    closes_at: np.ndarray  # (times,): when the exchange's session, or the bar, ends
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    calendar: str  # of exchange_calendars, such as XNYS or 24/7
    interval: str = "1d"  # the length of a bar
    currency: str | None = None
    adjusted_as_of: str | None = None  # the day of the last split or dividend that the levels reckon with; None: raw
    source: str = ""
    dividends: np.ndarray | None = None  # (times, tickers), in currency a share, on the day without it; None: unknown
    splits: np.ndarray | None = None  # (times, tickers), new shares for an old one, 1 where none; None: unknown
    flags: Mapping[str, np.ndarray] = field(default_factory=dict)  # bool (times, tickers) by what was seen or repaired

    def __post_init__(self) -> None:
        shape = (len(self.starts_at), len(self.tickers))
        for item in fields(self):
            value: Any = getattr(self, item.name)
            for array in value.values() if isinstance(value, Mapping) else (value,):
                if getattr(array, "ndim", 0) == 2 and array.shape != shape:
                    raise ValueError(f"{item.name} has shape {array.shape}, and the panel {shape}")

    def __len__(self) -> int:
        return len(self.starts_at)

    def __repr__(self) -> str:
        span = f"{self.starts_at[0]} to {self.closes_at[-1]}" if len(self) else "no bar"
        return (
            f"Prices({len(self.tickers)} instruments, {len(self):,} bars of {self.interval}, {self.calendar}, {span})"
        )

    def columns(self) -> dict[str, np.ndarray]:
        """Return the five columns by name, (times, tickers) each."""
        return {name: getattr(self, name) for name in COLUMNS}
