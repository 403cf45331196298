"""Compute what it costs, or earns, to stay in a position from one close to the next."""

from __future__ import annotations

import numpy as np

from adapterhub_fin_markets.backtest.rules import Rules

_DAY, _EPOCH, _FUNDED = np.timedelta64(1, "D"), np.datetime64(0, "us"), np.timedelta64(8, "h")


def borrow_rates(closes_at: np.ndarray, rules: Rules) -> np.ndarray:
    """Return what shorts pay at each bar as a share of the short value at the close before, (times,); 0 at the first.

    Borrowed shares cost a year's rate / 360 for each day between the closes, weekends included; funding is paid at
    each 00:00, 08:00 and 16:00 UTC after the one close up to the other.
    """
    fundings = (closes_at - _EPOCH) // _FUNDED
    return rules.borrow_bp_year / 1e4 / 360 * _days(closes_at) + rules.funding_bp / 1e4 * _steps(fundings)


def interest_rates(closes_at: np.ndarray, rules: Rules) -> np.ndarray:
    """Return what cash earns at each bar as a share of the cash at the close before, (times,); 0 at the first."""
    return rules.cash_rate / 360 * _days(closes_at)


def _days(closes_at: np.ndarray) -> np.ndarray:
    days: np.ndarray = _steps(closes_at) / _DAY
    return days


def _steps(values: np.ndarray) -> np.ndarray:
    return np.diff(values, prepend=values[:1])
