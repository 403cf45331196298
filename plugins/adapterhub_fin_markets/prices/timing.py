"""Hold the one rule of time: a decision may use what was known strictly before it, and is filled strictly after it."""

from __future__ import annotations

from typing import Final

import numpy as np

TICK: Final = np.timedelta64(1, "us")


def decided_after(closes_at: np.ndarray) -> np.ndarray:
    """Return the instant of a decision at each close, (closes,): a microsecond later, so that it may use that bar."""
    decided: np.ndarray = closes_at + TICK
    return decided


def usable(known_at: np.ndarray | np.datetime64, decided_at: np.ndarray | np.datetime64) -> np.ndarray:
    """Mark what decisions may use, (rows,): what was known strictly before them. A missing instant (NaT) is not."""
    return np.asarray(known_at < decided_at)


def count_usable(known_at: np.ndarray, decided_at: np.ndarray | np.datetime64) -> np.ndarray:
    """Return how many of the instants `known_at`, ascending, each decision may use, (decisions,): those before it."""
    return np.asarray(np.searchsorted(known_at, decided_at, side="left"))


def first_fill(
    instants: np.ndarray, decided_at: np.ndarray | np.datetime64, *, same_instant: bool = False
) -> np.ndarray:
    """Return the index of each decision's fill, (decisions,), among ascending instants; their number where none is.

    It is the first that is strictly later than the decision. With `same_instant` the close that was decided at counts
    too: where bars follow without a pause (`24/7`), the next one opens then.
    """
    if same_instant:
        return np.asarray(np.searchsorted(instants, decided_at - TICK, side="left"))
    return np.asarray(np.searchsorted(instants, decided_at, side="right"))
