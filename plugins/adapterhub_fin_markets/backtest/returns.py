"""Check the returns of a strategy, and compute what its measures have in common.

A return of a period is that of equity, which a ledger divides: each carries a rounding of about 2e-16 whatever its own
size. Differences below `ROUNDING` are noise, and a ratio to them would be a number without a meaning.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from adapterhub_fin.stats.undefined import LARGEST, Undefined

ROUNDING: Final = 1e-14  # of a return that is a ratio of two equities


def finite_returns(returns: ArrayLike, least: int = 1) -> np.ndarray:
    """Return the returns of periods, (periods,) float64. Raises Undefined for fewer than `least`, NaN or infinity."""
    values = np.asarray(returns, dtype=np.float64)
    if len(values) < least:
        raise Undefined(f"{len(values):,} periods: it needs at least {least}")
    if not (np.abs(values) <= LARGEST).all():
        raise Undefined(f"a return is NaN, infinite or beyond {LARGEST:g}")
    return values


def checked_returns(returns: ArrayLike, least: int = 1) -> np.ndarray:
    """Return the returns of periods, (periods,) float64.

    Raises Undefined as `finite_returns`, and where one lost all equity: a ledger has no return after it.
    """
    values = np.asarray(returns, dtype=np.float64)
    if (lost := values <= -1).any():
        raise Undefined(f"the equity was zero or below from period {int(np.argmax(lost)) + 1} on")
    return finite_returns(values, least)


def until_lost(returns: ArrayLike) -> np.ndarray:
    """Return the returns up to the first one, itself included, that lost all equity; (periods,) at most."""
    values = np.asarray(returns, dtype=np.float64)
    lost = np.flatnonzero(values <= -1)
    return values[: lost[0] + 1] if len(lost) else values


def spread(values: np.ndarray) -> float:
    """Return the standard deviation of returns, (periods,), over n - 1.

    Raises Undefined for fewer than two, and where they vary by rounding alone.
    """
    if len(values) < 2:
        raise Undefined("one period has no variance")
    deviation = float(np.std(values, ddof=1))
    if deviation <= ROUNDING * max(1.0, float(np.abs(values).max())):
        raise Undefined("the returns do not vary")
    return deviation


def cash_returns(
    periods: int, *, a_year: float, cash_rate: float = 0.0, cash: ArrayLike | None = None
) -> np.ndarray | float:
    """Return what cash earns in each period: `cash`, (periods,), or an annual rate compounded, the same in each.

    Raises ValueError for a rate that loses everything, no period in a year, and another number of periods.
    """
    if not (cash_rate > -1 and a_year > 0):
        raise ValueError(f"a cash rate of {cash_rate} over {a_year} periods a year: give one above -1 and one above 0")
    if cash is None:
        return float((1 + cash_rate) ** (1 / a_year) - 1)
    earned = np.asarray(cash, dtype=np.float64)
    if earned.shape != (periods,):
        raise ValueError(
            f"what cash earned has shape {earned.shape}, and there are {periods} periods: one value a period"
        )
    return earned


def wealth(returns: np.ndarray) -> np.ndarray:
    """Return what 1 became, (periods + 1, ...), by returns of (periods, ...): the start is its first value."""
    start = np.ones((1, *returns.shape[1:]))
    return np.concatenate([start, np.cumprod(1 + returns, axis=0)])
