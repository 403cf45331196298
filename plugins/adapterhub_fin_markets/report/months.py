"""Compound returns by calendar month and by year."""

from __future__ import annotations

from typing import Final

import numpy as np

from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.report.cells import NONE, Cell, percent
from adapterhub_fin_markets.report.page import Part

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TICK: Final = np.timedelta64(1, "us")


def session_days(result: BacktestResult) -> np.ndarray:
    """Return the day of each period, (periods,) datetime64[D]: that of its session, or the UTC day that it ends.

    What closes at midnight ends the day before.
    """
    if result.prices.days is not None:
        return np.asarray(result.prices.days[1:])
    return np.asarray((result.at - _TICK).astype("datetime64[D]"))


def compounded(returns: np.ndarray, keys: np.ndarray) -> dict[np.datetime64, float]:
    """Return the compound return of the periods of each key, both (periods,), in the keys' order."""
    return {key: float(np.prod(1 + returns[keys == key]) - 1) for key in np.unique(keys)}


def month_table(result: BacktestResult) -> Part:
    """Return the table of monthly returns: a row a year, with the year's return at its end."""
    days = session_days(result)
    by_month = compounded(result.returns, days.astype("datetime64[M]"))
    rows: list[list[Cell]] = []
    for year, total in compounded(result.returns, days.astype("datetime64[Y]")).items():
        months = [year.astype("datetime64[M]") + month for month in range(12)]
        cells = [month_cell(by_month.get(month)) for month in months]
        rows.append([str(year), *cells, month_cell(total)])
    note = (
        f"The first day is {days[0]} and the last {days[-1]}: months at the ends may be cut. A month that happened "
        "once has no interval."
    )
    return Part("", note, ("year", *MONTHS, "in all"), rows, file="months")


def month_cell(value: float | None) -> Cell:
    """Return a month's return; nothing for a month without a period, and a reason once all was lost."""
    if value is None:
        return ""
    return percent(value) if np.isfinite(value) else f"{NONE}: nothing was left"
