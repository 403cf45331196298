"""Test signals against themselves at the wrong time: all shifted by one number of periods, around the end.

A circular shift keeps how long positions last, how they go together and what they cost; it takes the timing alone.
Days that are permuted one by one don't: slow signals then trade each day, and a true null is rejected too often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.returns import ROUNDING, finite_returns
from adapterhub_fin_markets.backtest.vector_form import vector_returns


@dataclass(frozen=True, eq=False)
class ShiftedPlacebo:
    """Hold how often signals at the wrong time did as well: p = (1 + k) / (1 + n) of n shifts."""

    p: float  # one-sided; never below 1 / (1 + n)
    sharpe: float  # per period, of the signals as they are, in the vector form
    shifted: np.ndarray  # (shifts,): the same of each shift
    seed: int

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it, with the middle and the 5 and 95 % points of the shifts."""
        low, middle, high = np.quantile(self.shifted, [0.05, 0.5, 0.95]).tolist()
        return {
            "p": self.p,
            "shifts": len(self.shifted),
            "as_good": int(np.count_nonzero(self.shifted >= self.sharpe)),
            "sharpe_per_period": self.sharpe,
            "shifted_5_50_95": [low, middle, high],
            "seed": self.seed,
        }


def placebo(
    weights: np.ndarray,
    returns: np.ndarray,
    costs_bp: float = 0.0,
    *,
    lag: int = 1,
    shifts: int = 200,
    seed: int = 0,
) -> ShiftedPlacebo:
    """Return how often the weights, shifted around the end, had a Sharpe ratio as good as at their own time.

    `weights`, `returns`, `costs_bp` and `lag` are those of `vector_returns`, (periods, tickers): a shift moves all
    tickers alike. Distinct shifts are drawn, never 0; where there are no more than `shifts`, all of them. Raises
    Undefined for fewer than 20 periods, weights that never change, and returns that are infinite; ValueError as
    `vector_returns`.
    """
    periods = len(weights)
    if periods < 20:
        raise Undefined(f"{periods} periods: a placebo needs at least 20")
    if (weights == weights[0]).all():
        raise Undefined("the weights never change: every shift is the same")
    own = _sharpe(vector_returns(weights, returns, costs_bp, lag))
    number = min(shifts, periods - 1)
    drawn = 1 + np.random.default_rng(seed).permutation(periods - 1)[:number]
    twice = np.concatenate([weights, weights])
    gains = np.nan_to_num(returns)
    steps = np.abs(np.diff(twice, axis=0, prepend=twice[-1:]))
    traded = steps if steps.ndim == 1 else steps.sum(axis=1)  # by period of a weight; a shift moves it along
    shifted = np.array([_sharpe(_shifted(twice, traded, gains, costs_bp, lag, int(by))) for by in drawn])
    return ShiftedPlacebo((1 + np.count_nonzero(shifted >= own)) / (1 + number), own, shifted, seed)


def _shifted(
    twice: np.ndarray, traded: np.ndarray, gains: np.ndarray, costs_bp: float, lag: int, by: int
) -> np.ndarray:
    """Return `vector_returns` of the weights that stand `by` periods later, (periods,), without moving an array.

    `twice` is the weights two times over and `traded` their changes, (2 periods,): a shift is a slice.
    """
    periods = len(gains)
    rows = slice(periods - by, 2 * periods - by - lag)
    earned, first = np.zeros(periods), twice[periods - by]
    earned[lag:] = np.einsum("t...i,t...i->t", _columns(twice[rows]), _columns(gains[lag:]))
    earned[lag:] -= costs_bp / 1e4 * traded[rows]
    earned[lag] += costs_bp / 1e4 * (traded[periods - by] - np.abs(first).sum())  # the first trade is from nothing
    return earned


def _columns(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values


def _sharpe(returns: np.ndarray) -> float:
    """Return the ratio per period of returns, (periods,); 0 where they don't vary: nothing was earned by timing."""
    values = finite_returns(returns)
    spread = float(np.std(values, ddof=1))
    return float(values.mean()) / spread if spread > ROUNDING else 0.0
