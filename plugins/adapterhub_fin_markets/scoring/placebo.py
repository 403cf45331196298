"""Compare a score with that of the same predictions at other times: circular shifts, one for all tickers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.scoring.eras import EraScores


@dataclass(frozen=True)
class ScorePlacebo:
    """Hold the mean score of shifted predictions, and how probable one as good as the real one is under no skill."""

    shifts: int
    mean: float  # of the shifts' means over eras
    p_value: float  # (1 + shifts that do as well) / (1 + shifts), one-sided
    undefined: int  # eras of shifts that had no score, and were left out of that shift's mean


def draw_shifts(ticker: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return `count` distinct shifts, (shifts,), of the longest ticker's rows, or all where there are no more.

    `ticker`, (rows,), is the number of each row's. Raises Undefined where no ticker has two rows.
    """
    longest = int(np.bincount(ticker).max())
    if longest < 2:
        raise Undefined("no ticker has two predictions, whose times could be exchanged")
    return 1 + np.random.default_rng(seed).permutation(longest - 1)[:count]


def shifted_rows(ticker: np.ndarray, shift: int) -> np.ndarray:
    """Return for each row, (rows,), the row whose prediction takes its place: of the same ticker, `shift` rows earlier.

    The rows of a ticker are in the order of time, and its last ones come first. A ticker with fewer rows than the
    longest moves by the same part of them, so that all move by about the same time.
    """
    order = np.argsort(ticker, kind="stable")
    counts = np.bincount(ticker)
    starts = np.cumsum(counts) - counts
    moved = np.floor(shift * counts / counts.max() + 0.5).astype(np.int64)
    of = ticker[order]
    position = np.arange(len(order)) - starts[of]
    rows = np.empty(len(order), np.int64)
    rows[order] = order[starts[of] + (position - moved[of]) % counts[of]]
    return rows


def compare_shifts(
    observed: EraScores,
    ticker: np.ndarray,
    score: Callable[[np.ndarray], EraScores],
    *,
    count: int,
    seed: int,
    advance: Callable[[int], None] = lambda done: None,
) -> ScorePlacebo:
    """Compare a score with that of `count` circular shifts; `score` scores the predictions of given rows, (rows,).

    Where a market's signals are slow, to permute days one by one would reject too often. Raises Undefined where nothing
    can be shifted, or a shift has no score.
    """
    means, undefined = [], 0
    for shift in draw_shifts(ticker, count, seed).tolist():
        scored = score(shifted_rows(ticker, shift))
        means.append(scored.mean)
        undefined += len(scored.undefined)
        advance(1)
    as_good = int(np.count_nonzero(np.array(means) >= observed.mean - 1e-12))
    return ScorePlacebo(len(means), float(np.mean(means)), (1 + as_good) / (1 + len(means)), undefined)
