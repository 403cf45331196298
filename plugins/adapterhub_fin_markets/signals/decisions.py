"""Say when decisions are taken, and which texts each may read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.prices.clock import bar_closes, read_clock
from adapterhub_fin_markets.prices.timing import count_usable, decided_after

_UNITS: Final = {"d": np.timedelta64(1, "D"), "h": np.timedelta64(1, "h"), "min": np.timedelta64(1, "m")}
FIRST: Final = np.timedelta64(1, "D")  # what the first decision reads where each reads since the one before


@dataclass(frozen=True, eq=False)
class Decisions:
    """Say which decisions are taken; arrays are (decisions,), datetime64[us] in UTC, ascending."""

    at: np.ndarray
    starts: np.ndarray  # from when each reads texts
    since: np.datetime64 | None = None  # texts from before were counted by an earlier call

    @classmethod
    def of(cls, at: np.ndarray, window: str) -> Self:
        """Return decisions at instants, (decisions,), each of which reads a window before it."""
        return cls(at, window_starts(window, at))


def close_decisions(calendar: str, first: np.datetime64, last: np.datetime64, interval: str = "1d") -> np.ndarray:
    """Return a decision after each bar's close of a calendar, (decisions,), from the first text's to the last text's.

    The last decision is the first that may read the last text. Raises BadPrices where the calendar can't be had, and
    for an interval that is none.
    """
    margin = np.timedelta64(14, "D")  # more than any exchange is closed
    at = decided_after(bar_closes(read_clock(calendar, first, last + margin), interval))
    begin = np.searchsorted(at, first, "right")
    end = np.searchsorted(at, last, "right")
    taken: np.ndarray = at[begin : end + 1]
    return taken


def check_decisions(decisions: Any) -> np.ndarray:
    """Return decision instants, (decisions,), ascending, each once. Raises BadRecipe for what are none."""
    at = np.asarray(decisions)
    if at.dtype.kind != "M":
        raise BadRecipe("decisions are an array of datetime64 in UTC: give the instants, such as closes + 1 us")
    at = np.unique(at.astype("datetime64[us]"))
    if np.isnat(at).any():
        raise BadRecipe("a decision has no instant (NaT): leave it out")
    return at


def window_starts(window: str, at: np.ndarray) -> np.ndarray:
    """Return from when each decision reads, (decisions,): `window` before it, or since the decision before."""
    if window == "session":
        return np.concatenate([at[:1] - FIRST, at[:-1]])
    number = window.rstrip("dhmin")
    starts: np.ndarray = at - int(number) * _UNITS[window[len(number) :]]
    return starts


def windows(available_at: np.ndarray, at: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first text of each decision's window and the one after its last, (decisions,) each.

    The window is [start, at): a text at the decision's own instant is not read. `available_at` (texts,) ascends.
    """
    return count_usable(available_at, starts), count_usable(available_at, at)
