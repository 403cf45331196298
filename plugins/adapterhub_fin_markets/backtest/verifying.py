"""Answer the texts of a table of signals again, and say which of its opinions the registry's versions don't give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from adapterhub_fin.plugin import BadCorpus, BadRecipe, checked
from adapterhub_fin_markets.signals.decisions import Decisions
from adapterhub_fin_markets.signals.lists import Lists
from adapterhub_fin_markets.signals.making import signals_of
from adapterhub_fin_markets.signals.options import SignalOptions
from adapterhub_fin_markets.signals.table import Signals, yanked_by
from adapterhub_fin_markets.signals.texts import DatedTexts

CLOSE: Final = 1e-5  # of a probability: batches of other shapes change last digits
_MADE_BY: Final = ("as_of", "include_base", "window", "aggregate", "threshold", "min_confidence", "bound", "directions")


def verifiable(signals: Signals) -> bool:
    """Say whether a table's opinions can be answered again: not where they were calibrated on labelled rows."""
    return not signals.facts.get("calibration")


def other_opinions(
    signals: Signals, texts: DatedTexts, tickers: Sequence[str], loading: Mapping[str, Any]
) -> np.ndarray:
    """Return the rows, (rows,), whose texts, versions or opinions differ from what is made of the corpus now.

    Stored answers are used where there are any. Raises BadCorpus for a table that does not say how it was made, and
    what making signals raises.
    """
    lacking = [name for name in ("adapter", *_MADE_BY) if name not in signals.facts]
    if lacking:
        raise BadCorpus(f"the table of signals does not say its {lacking[0]}: make it again with `ahf signals`")
    given = {name: signals.facts[name] for name in _MADE_BY} | {"yanked": yanked_by(signals)}
    try:
        options = checked(SignalOptions, {**given, "ticker": tuple(tickers) or None}, "signals")
    except BadRecipe as error:
        raise BadCorpus(f"the table of signals was not made by `ahf signals`: {error}") from error
    decisions = Decisions.of(np.unique(signals.at), options.window)
    made = signals_of(signals.facts["adapter"], texts, options, decisions=decisions, loading=loading, allow_none=True)
    rows, others = _matched(signals, made)
    same = np.ones(len(rows), bool)
    for name in ("signal", "actionable"):
        same &= getattr(signals, name)[rows] == getattr(made, name)[others]
    for name in ("score", "confidence", "probabilities"):
        ours, theirs = getattr(signals, name)[rows], getattr(made, name)[others]
        near = np.isclose(ours, theirs, rtol=0, atol=CLOSE, equal_nan=True)
        same &= near if near.ndim == 1 else near.all(1)
    for name in ("texts", "adapters"):
        ours, theirs = Lists.of(getattr(signals, name)), Lists.of(getattr(made, name))
        filled = np.flatnonzero(np.diff(ours.offsets)[rows] + np.diff(theirs.offsets)[others])
        for index in filled.tolist():
            same[index] &= sorted(ours[rows[index]]) == sorted(theirs[others[index]])
    differing = np.ones(len(signals), bool)
    differing[rows[same]] = False
    silent = (np.diff(Lists.of(signals.texts).offsets) == 0) & ~signals.actionable & (signals.signal == 0)
    return np.flatnonzero(differing & ~silent)


def _matched(signals: Signals, made: Signals) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of both that are about one ticker at one instant, (pairs,) each."""
    position = {name: code for code, name in enumerate(signals.tickers)}
    codes = np.array([position.get(name, -1) for name in made.tickers], np.int64)
    keys = signals.at.astype(np.int64) * len(signals.tickers) + signals.ticker
    theirs = np.where(codes[made.ticker] < 0, -1, made.at.astype(np.int64) * len(signals.tickers) + codes[made.ticker])
    _, rows, others = np.intersect1d(keys, theirs, assume_unique=False, return_indices=True)
    return rows, others
