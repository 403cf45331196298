"""Say how sure a mean over eras is: its interval, and how many eras are independent of one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapterhub_fin.stats.bootstrap import Interval, stationary
from adapterhub_fin.stats.undefined import Undefined


@dataclass(frozen=True)
class MeanInterval:
    """Hold the interval of a mean over eras, or why there is none."""

    interval: Interval | None
    block: float | None  # the mean length of the blocks that were drawn, in eras
    reason: str | None


def count_independent(codes: np.ndarray, begins_at: np.ndarray, ends_at: np.ndarray) -> int:
    """Return the largest number of eras no two of whose targets overlap; codes ascend with time.

    All are (rows,): the era of each row, and the instants of its target's first and last price. Two that share but one
    price don't overlap.
    """
    count, last = 0, np.datetime64("NaT", "us")
    order = np.argsort(codes, kind="stable")
    borders = np.flatnonzero(np.diff(codes[order])) + 1
    spans = [(begins_at[rows].min(), ends_at[rows].max()) for rows in np.split(order, borders)]
    for begin, end in sorted(spans, key=lambda span: span[1]):
        if np.isnat(last) or begin >= last:
            count, last = count + 1, end
    return count


def mean_interval(scores: np.ndarray, overlap: int, *, resamples: int, level: float, seed: int) -> MeanInterval:
    """Return the interval of the mean of scores, (eras,) in the order of time, by the stationary bootstrap over eras.

    An era is drawn with its whole cross-section. A block is at least `overlap` eras long: so many share targets.
    """
    try:
        interval, block = stationary(scores, level=level, resamples=resamples, seed=seed)
        if block < overlap:
            interval, block = stationary(scores, block=overlap, level=level, resamples=resamples, seed=seed)
    except Undefined as error:
        return MeanInterval(None, None, str(error).replace("rows", "eras"))
    return MeanInterval(interval, block, None)
