"""Hold bars of several instruments on one clock, each known at its close."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from adapterhub_fin_markets.prices.findings import Finding

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
    days: np.ndarray | None = None  # (times,) datetime64[D]: the day of each bar's session, as the exchange dates it
    adj_close: np.ndarray | None = None  # (times, tickers), the source's own close adjusted for dividends and splits
    capital_gains: np.ndarray | None = None  # (times, tickers), a fund's, which the dividends of Yahoo hold too
    turnover: np.ndarray | None = None  # (times, tickers), what was traded in currency; volume's VWAP times volume
    split_adjusted: bool | None = None  # whether the levels reckon with every listed split; None: unknown
    dividend_adjusted: bool = False  # whether the levels reckon with dividends: `adjust` does that once
    members: np.ndarray | None = None  # bool (times, tickers): in the universe on that day; None: chosen in hindsight
    findings: tuple[Finding, ...] = ()  # what the checks found and did not refuse
    repairs: Mapping[str, int] = field(default_factory=dict)  # how many bars were repaired, by kind of finding

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

    def select(self, rows: slice, tickers: Collection[str]) -> Prices:
        """Return the bars of some rows and tickers; findings of these tickers are kept, without their cells."""
        columns = [column for column, name in enumerate(self.tickers) if name in tickers]
        cut: dict[str, Any] = {"tickers": tuple(self.tickers[column] for column in columns)}
        for item in fields(self):
            value: Any = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                cut[item.name] = value[rows] if value.ndim == 1 else value[rows][:, columns]
        flags = {name: array[rows][:, columns] for name, array in self.flags.items()}
        findings = tuple(replace(each, cells=None) for each in self.findings if each.ticker in cut["tickers"])
        return replace(self, **cut, flags=flags, findings=findings)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the five columns by name, (times, tickers) each."""
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def universe(self) -> str:
        """Say how the universe was chosen; a report of anything that rests on these prices must print it."""
        if self.members is None:
            return "the universe was chosen in hindsight"
        return "the universe is that of each day, by dated membership"

    def spans(self) -> dict[str, tuple[np.datetime64, np.datetime64] | None]:
        """Return when each instrument's first and last bar close, None where it has none: listed late, or delisted."""
        there = ~np.isnan(self.close)
        return {
            name: (self.closes_at[rows[0]], self.closes_at[rows[-1]])
            if len(rows := np.flatnonzero(there[:, column]))
            else None
            for column, name in enumerate(self.tickers)
        }
