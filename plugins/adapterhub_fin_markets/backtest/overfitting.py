"""Estimate how probable it is that the best of several strategies was chosen by chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from adapterhub_fin.stats.undefined import Undefined

Statistic = Callable[[np.ndarray], np.ndarray]  # of returns (times, strategies): one number for each, (strategies,)


@dataclass(frozen=True)
class Overfitting:
    """Hold the probability, and the logits that it was counted from, one for each way to divide the blocks."""

    probability: float
    logits: np.ndarray  # (divisions,); at or below 0 where the best in sample was no better than the median out of it


def sharpe_ratios(returns: np.ndarray) -> np.ndarray:
    """Return the ratio of each strategy, (strategies,), of returns (times, strategies); 0 where they don't vary."""
    spread = returns.std(0, ddof=1)
    ratios: np.ndarray = np.where(spread > 0, returns.mean(0) / np.where(spread > 0, spread, 1), 0.0)
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
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise Undefined("overfitting is of a choice: it needs the returns of two strategies or more")
    if blocks < 2 or blocks % 2 or blocks > len(values):
        raise Undefined(f"{blocks} blocks of {len(values):,} times: it needs an even number, and a time for each block")
    if not np.isfinite(values).all():
        raise Undefined("a return is NaN or infinite")
    parts = np.array_split(values, blocks)
    logits = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[block] for block in chosen])
        outside = np.concatenate([parts[block] for block in range(blocks) if block not in chosen])
        best = int(np.argmax(statistic(inside)))
        rank = rankdata(statistic(outside))[best] / (values.shape[1] + 1)
        logits.append(np.log(rank / (1 - rank)))
    return Overfitting(float(np.mean(np.array(logits) <= 0)), np.array(logits))
