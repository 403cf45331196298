"""Score directions: Matthews' correlation of what was signalled and what came."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from adapterhub_fin.stats.undefined import Undefined, finite


def direction_mcc(signals: ArrayLike, target: ArrayLike, flat_below: float = 0.0) -> float:
    """Return Matthews' correlation of the signs of signals and the directions of a target, (rows,) each.

    A target is flat where its size is `flat_below` or less: at 0 only one of exactly 0 is. Of three classes it is R_K
    (Gorodkin 2004). Raises Undefined for fewer than 2 rows, other lengths, a number that isn't finite, and where all
    signals or all targets have one direction.
    """
    first, second = finite(signals, least=2), finite(target, least=2)
    if len(first) != len(second):
        raise Undefined(f"{len(first):,} signals and {len(second):,} targets: it needs one of each for every row")
    signs = np.sign(first).astype(np.int64)
    came = np.where(np.abs(second) <= flat_below, 0, np.sign(second)).astype(np.int64)
    for classes, what in ((signs, "signals"), (came, "targets")):
        if classes.min() == classes.max():
            raise Undefined(f"all {what} have one direction")
    total = len(signs)
    predicted, actual = (np.bincount(classes + 1, minlength=3).astype(np.float64) for classes in (signs, came))
    covariance = np.count_nonzero(signs == came) * total - predicted @ actual
    return float(covariance / np.sqrt((total**2 - predicted @ predicted) * (total**2 - actual @ actual)))
