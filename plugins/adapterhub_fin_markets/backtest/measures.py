"""Measure what a strategy earned and risked: each measure is a number, or None with the reason.

The definitions are empyrical's, and tests hold the numbers to it: importing it takes longer than all measures, since it
brings scipy.stats along, and yfinance where that is installed. Where it would answer NaN or infinity (constant returns,
one row, no loss), the reason is given in words. Ratios are over a stated cash rate, and annual by a stated number of
periods a year.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.returns import (
    ROUNDING,
    cash_returns,
    checked_returns,
    finite_returns,
    spread,
    until_lost,
    wealth,
)

_APART: Final = ("a_year", "cash_rate", "reasons")


@dataclass(frozen=True)
class PeriodMeasures:
    """Hold the measures of a strategy, each None where it is undefined: `reasons` then has a sentence by its name."""

    total_return: float | None
    annual_return: float | None  # compounded (CAGR)
    volatility: float | None  # annual, of returns over n - 1
    sharpe: float | None  # annual, over cash
    sortino: float | None  # annual, over cash: by the root of the mean square of what fell below it
    calmar: float | None  # annual return / largest drawdown
    max_drawdown: float | None  # at or below 0; the start counts as a peak
    drawdown_periods: float | None  # the longest time from a peak until it was reached again, or the end
    win_rate: float | None  # share of all periods with a return above 0
    win_rate_active: float | None  # share of the periods with a return at all
    turnover: float | None  # traded value / equity, mean of a period
    annual_turnover: float | None
    exposure: float | None  # value of long and short positions / equity, mean
    net_exposure: float | None  # long less short
    alpha: float | None  # annual, over cash, beside what the benchmark's exposure earned
    beta: float | None  # to the benchmark
    periods: int
    a_year: float  # periods
    cash_rate: float | None  # annual; None where what cash earned was given by period
    reasons: Mapping[str, str]

    def values(self) -> dict[str, float | None]:
        """Return the measures by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _APART}

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {**self.values(), "a_year": self.a_year, "cash_rate": self.cash_rate, "reasons": dict(self.reasons)}


def measures(
    returns: ArrayLike,
    turnover: ArrayLike | None = None,
    *,
    a_year: float,
    cash_rate: float = 0.0,
    cash: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    net_exposure: ArrayLike | None = None,
    benchmark: ArrayLike | None = None,
) -> PeriodMeasures:
    """Return the measures of the returns of periods, (periods,).

    `turnover`, `exposure` and `net_exposure`, (periods,), are shares of equity; `benchmark`, (periods,), has the
    returns of holding. `a_year` is that of `periods_a_year`. `cash_rate` is annual, unless `cash`, (periods,), says
    what cash earned in each period. Raises ValueError for lengths that differ, and a rate or a number of periods that
    can't be.
    """
    values = np.asarray(returns, dtype=np.float64)
    for series in (turnover, exposure, net_exposure, benchmark):
        shape = values.shape if series is None else np.asarray(series).shape
        if values.ndim != 1 or shape != values.shape:
            raise ValueError(f"a series of shape {shape} beside returns of {values.shape}: give one value a period")
    earned = cash_returns(len(values), a_year=a_year, cash_rate=cash_rate, cash=cash)
    compute: dict[str, Callable[[], float]] = {
        "total_return": lambda: _total_return(values),
        "annual_return": lambda: _annual_return(values, a_year),
        "volatility": lambda: _volatility(values, a_year),
        "sharpe": lambda: _sharpe(values, earned, a_year),
        "sortino": lambda: _sortino(values, earned, a_year),
        "calmar": lambda: _calmar(values, a_year),
        "max_drawdown": lambda: _max_drawdown(values),
        "drawdown_periods": lambda: _drawdown_periods(values),
        "win_rate": lambda: float(np.mean(checked_returns(values) > 0)),
        "win_rate_active": lambda: _win_rate_active(values),
        "turnover": lambda: _mean(turnover, "turnover"),
        "annual_turnover": lambda: _mean(turnover, "turnover") * a_year,
        "exposure": lambda: _mean(exposure, "exposure"),
        "net_exposure": lambda: _mean(net_exposure, "exposure"),
        "alpha": lambda: _alpha_beta(values, benchmark, earned, a_year)[0],
        "beta": lambda: _alpha_beta(values, benchmark, earned, a_year)[1],
    }
    computed: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for name, of in compute.items():
        computed[name], reason = number_or_reason(of)
        if reason is not None:
            reasons[name] = reason
    return PeriodMeasures(
        **computed, periods=len(values), a_year=a_year, cash_rate=cash_rate if cash is None else None, reasons=reasons
    )


def number_or_reason(compute: Callable[[], float]) -> tuple[float | None, str | None]:
    """Return a statistic and None; or None and the reason where it is undefined, or too large for a number."""
    try:
        with np.errstate(all="ignore"):  # what overflows is not finite, and has a reason
            value = float(compute())
    except Undefined as error:
        return None, str(error)
    except OverflowError:
        return None, "it is too large for a number"
    return (value, None) if math.isfinite(value) else (None, "it is too large for a number")


def _total_return(returns: np.ndarray) -> float:
    return float(np.prod(finite_returns(until_lost(returns)) + 1) - 1)


def _annual_return(returns: np.ndarray, a_year: float) -> float:
    values = checked_returns(returns)
    return float(np.prod(values + 1) ** (a_year / len(values)) - 1)


def _volatility(returns: np.ndarray, a_year: float) -> float:
    values = checked_returns(returns)
    if len(values) < 2:
        raise Undefined("one period has no variance")
    return float(np.std(values, ddof=1) * a_year**0.5)


def _sharpe(returns: np.ndarray, cash: np.ndarray | float, a_year: float) -> float:
    above = checked_returns(returns) - cash
    return float(above.mean() / spread(above) * a_year**0.5)


def _sortino(returns: np.ndarray, cash: np.ndarray | float, a_year: float) -> float:
    above = checked_returns(returns) - cash
    if len(above) < 2:
        raise Undefined("one period has no variance")
    if above.min() >= -ROUNDING:
        raise Undefined("no return was below that of cash")
    downside = np.sqrt(np.square(np.minimum(above, 0)).mean())
    return float(above.mean() * a_year / (downside * a_year**0.5))


def _max_drawdown(returns: np.ndarray) -> float:
    levels = wealth(finite_returns(until_lost(returns)))
    peaks = np.maximum.accumulate(levels)
    return float(((levels - peaks) / peaks).min())


def _calmar(returns: np.ndarray, a_year: float) -> float:
    values = checked_returns(returns)
    fall = _max_drawdown(values)
    if fall >= -ROUNDING:
        raise Undefined("there was no drawdown")
    return _annual_return(values, a_year) / abs(fall)


def _drawdown_periods(returns: np.ndarray) -> float:
    levels = wealth(checked_returns(returns))
    peaks = np.maximum.accumulate(levels)
    number = np.arange(len(levels))
    at_peak = levels >= peaks * (1 - ROUNDING)
    return float((number - np.maximum.accumulate(np.where(at_peak, number, 0))).max())


def _win_rate_active(returns: np.ndarray) -> float:
    values = checked_returns(returns)
    active = values[values != 0]
    if not len(active):
        raise Undefined("no period has a return")
    return float(np.mean(active > 0))


def _mean(series: ArrayLike | None, name: str) -> float:
    if series is None:
        raise Undefined(f"no {name} was given")
    values = np.asarray(series, dtype=np.float64)
    if not (len(values) and np.isfinite(values).all()):
        raise Undefined(
            f"the {name} of a period is undefined: nothing was left" if len(values) else "there is no period"
        )
    return float(values.mean())


def _alpha_beta(
    returns: np.ndarray, benchmark: ArrayLike | None, cash: np.ndarray | float, a_year: float
) -> tuple[float, float]:
    if benchmark is None:
        raise Undefined("no benchmark was given")
    above = checked_returns(returns, 2) - cash
    try:
        others = checked_returns(benchmark, 2) - cash
        spread(others)
    except Undefined as error:
        raise Undefined(f"of the benchmark, {error}") from error
    apart = others - others.mean()
    beta = (apart * above).mean() / np.square(apart).mean()
    return float(((above - beta * others).mean() + 1) ** a_year - 1), float(beta)
