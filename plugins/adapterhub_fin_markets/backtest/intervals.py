"""Compute intervals of a strategy's measures by the stationary bootstrap over its periods (Politis and Romano 1994).

A period is drawn whole, with all instruments that were held in it: their returns are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from adapterhub_fin.stats.blocks import block_length
from adapterhub_fin.stats.bootstrap import Interval, percentile, stationary_draws
from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.returns import ROUNDING, cash_returns, checked_returns, spread

NAMES: Final = ("sharpe", "annual_return", "max_drawdown")


@dataclass(frozen=True)
class Intervals:
    """Hold the interval of each measure, None where it is undefined: `reasons` then has a sentence by its name."""

    sharpe: Interval | None  # annual, over cash
    annual_return: Interval | None
    max_drawdown: Interval | None
    block: float | None  # mean length of the blocks that were drawn, in periods
    level: float
    resamples: int
    seed: int
    reasons: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return asdict(self)


def bootstrap_intervals(
    returns: ArrayLike,
    *,
    a_year: float,
    cash_rate: float = 0.0,
    cash: ArrayLike | None = None,
    block: float | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Intervals:
    """Return intervals of the Sharpe ratio, the annual return and the largest drawdown of returns, (periods,).

    All three are of the same resamples. The block is that of Politis and White (2004) and Patton, Politis and White
    (2009) for the returns, at least 1, unless given. Needs 8 periods. `cash_rate` and `cash` are those of `measures`.
    """
    periods = len(np.asarray(returns))
    earned = cash_returns(periods, a_year=a_year, cash_rate=cash_rate, cash=cash)

    of: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    try:
        values = checked_returns(returns, 8)
        above = values - earned
        spread(values)
        block = block_length(values) if block is None else block
        drawn, _ = stationary_draws(
            np.arange(periods),
            lambda days: _drawn(days, values, above, a_year),
            block=block,
            resamples=resamples,
            seed=seed,
        )
    except Undefined as error:
        return Intervals(None, None, None, block=block, reasons=dict.fromkeys(NAMES, str(error)), **of)
    intervals: dict[str, Any] = {name: percentile(drawn[:, column], level) for column, name in enumerate(NAMES)}
    reasons = {name: _reason(drawn[:, column]) for column, name in enumerate(NAMES) if intervals[name] is None}
    return Intervals(**intervals, block=block, reasons=reasons, **of)


def equity_band(
    returns: ArrayLike, *, block: float | None = None, level: float = 0.95, resamples: int = 500, seed: int = 0
) -> np.ndarray:
    """Return the lower and the upper end of what 1 becomes by each period, (2, periods), over resamples of returns.

    The returns are (periods,). Each end is of that period alone: a whole path leaves the band more often. Raises
    Undefined as the bootstrap.
    """
    values = checked_returns(returns, 8)
    spread(values)
    drawn, _ = stationary_draws(
        values, lambda resample: np.cumsum(np.log1p(resample)), block=block, resamples=resamples, seed=seed
    )
    band: np.ndarray = np.exp(np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0))
    return band


def _drawn(days: np.ndarray, returns: np.ndarray, above_cash: np.ndarray, a_year: float) -> np.ndarray:
    """Return the measures of NAMES of the days that were drawn, (3,): NaN where they are undefined.

    They are those of `measures`, in a hundredth of its time.
    """
    rows = days.astype(np.intp)
    above, grown = above_cash[rows], np.log1p(returns[rows]).cumsum()
    mean = above.mean()
    apart = above - mean
    variance = apart.dot(apart) / (len(rows) - 1)
    fall = (grown - np.maximum(np.maximum.accumulate(grown), 0.0)).min()
    with np.errstate(over="ignore"):
        annual = np.expm1(grown[-1] * a_year / len(rows))
    ratio = mean / variance**0.5 * a_year**0.5 if variance > ROUNDING**2 else np.nan
    return np.array([ratio, annual, np.expm1(min(fall, 0.0))])


def _reason(drawn: np.ndarray) -> str:
    return f"it is undefined on {np.count_nonzero(~np.isfinite(drawn)):,} of {len(drawn):,} resamples"
