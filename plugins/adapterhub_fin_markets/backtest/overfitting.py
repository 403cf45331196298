"""Estimate how probable it is that the best of several strategies was chosen by chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.returns import ROUNDING

Statistic = Callable[[np.ndarray], np.ndarray]  # of returns (times, strategies): one number for each, (strategies,)


@dataclass(frozen=True)
class Overfitting:
    """Hold the probability, and the logits that it was counted from, one for each way to divide the blocks."""

    probability: float
    logits: np.ndarray  # (divisions,); at or below 0 where the best in sample was no better than the median out of it


def sharpe_ratios(returns: np.ndarray) -> np.ndarray:
    """Return the ratio of each strategy, (strategies,), of returns (times, strategies); 0 where they don't vary."""
    return _ratios(returns.mean(0), returns.std(0, ddof=1))


def _ratios(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    vary = spread > ROUNDING
    ratios: np.ndarray = np.where(vary, mean / np.where(vary, spread, 1), 0.0)
    return ratios


def probability_of_overfitting(
    returns: ArrayLike, blocks: int = 16, statistic: Statistic = sharpe_ratios
) -> Overfitting:
    """Divide the returns of strategies, (times, strategies), in all symmetric ways, and see where the best one lands.

    It is the combinatorially symmetric cross-validation of Bailey, Borwein, Lopez de Prado and Zhu (2015). Of an even
    number of blocks, each half is in sample once. Its best strategy has a relative rank out of sample, rank / (N + 1),
    ties taking the mean of their ranks; the probability is the share of the ranks' logits at or below 0.

    Raises Undefined for one strategy, blocks that are not even, more blocks than times, or a return that isn't finite.
    """
    from scipy.stats import rankdata  # half a second, and a single backtest ranks nothing

    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise Undefined("overfitting is of a choice: it needs the returns of two strategies or more")
    if blocks < 2 or blocks % 2 or blocks > len(values):
        raise Undefined(f"{blocks} blocks of {len(values):,} times: it needs an even number, and a time for each block")
    if not np.isfinite(values).all():
        raise Undefined("a return is NaN or infinite")
    parts = np.array_split(values, blocks)
    chosen = np.zeros((math.comb(blocks, blocks // 2), blocks), dtype=bool)  # (divisions, blocks)
    chosen[np.arange(len(chosen))[:, None], list(combinations(range(blocks), blocks // 2))] = True
    if statistic is sharpe_ratios:
        inside, outside = _sharpe_of(parts, chosen), _sharpe_of(parts, ~chosen)
    else:
        inside, outside = (
            np.array([statistic(np.concatenate([parts[block] for block in np.flatnonzero(row)])) for row in rows])
            for rows in (chosen, ~chosen)
        )
    best = inside.argmax(axis=1)
    rank = rankdata(outside, axis=1)[np.arange(len(best)), best] / (values.shape[1] + 1)
    logits = np.log(rank / (1 - rank))
    return Overfitting(float(np.mean(logits <= 0)), logits)


def _sharpe_of(parts: Sequence[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """Return `sharpe_ratios` of the parts that each division chose, (divisions, strategies), from the parts' moments.

    `parts` are (times, strategies) each, `chosen` (divisions, parts). Moments are merged as Chan, Golub and LeVeque
    do (1979), column by column: strategies with the same returns have the same ratio to the last bit, and tie.
    """
    sizes = np.array([len(part) for part in parts], dtype=np.float64)
    periods = (chosen @ sizes)[:, None]
    means = [part.mean(axis=0) for part in parts]
    mean = sum(chosen[:, [of]] * (size * means[of]) for of, size in enumerate(sizes)) / periods
    squares = sum(
        chosen[:, [of]] * (((part - means[of]) ** 2).sum(axis=0) + sizes[of] * (means[of] - mean) ** 2)
        for of, part in enumerate(parts)
    )
    return _ratios(mean, np.sqrt(squares / (periods - 1)))
