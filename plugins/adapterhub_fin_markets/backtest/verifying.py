"""Answer the texts of a table of signals again, fit what was fitted, and say which opinions then differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from adapterhub_fin.plugin import BadCorpus, BadRecipe, checked
from adapterhub_fin_markets.backtest.admission import Sources, fitted_to
from adapterhub_fin_markets.backtest.recipe import SignalsChoice, corpus_of
from adapterhub_fin_markets.signals.decisions import Decisions
from adapterhub_fin_markets.signals.lists import Lists
from adapterhub_fin_markets.signals.making import signals_of
from adapterhub_fin_markets.signals.options import SignalOptions
from adapterhub_fin_markets.signals.table import Signals, yanked_by
from adapterhub_fin_markets.signals.texts import DatedTexts, read_texts

CLOSE: Final = 1e-5  # of a probability: batches of other shapes change last digits
_MADE_BY: Final = ("as_of", "include_base", "window", "aggregate", "threshold", "min_confidence", "bound", "directions")


def verified(
    signals: Signals, texts: DatedTexts, choice: SignalsChoice, sources: Sources, loading: Mapping[str, Any]
) -> Sources:
    """Return the sources of a table's signals with the rows whose texts, versions or opinions are others now.

    Stored answers are used where there are any. What was fitted is fitted again, on `texts` or the recipe's `labels`,
    and dated by them; where that can't be, `unverified` says why. Raises BadCorpus for a table that does not say how it
    was made, and what making signals raises.
    """
    lacking = [name for name in ("adapter", *_MADE_BY) if name not in signals.facts]
    if lacking:
        raise BadCorpus(f"the table of signals does not say its {lacking[0]}: make it again with `ahf signals`")
    given = {name: signals.facts[name] for name in _MADE_BY} | {"yanked": yanked_by(signals)}
    fitted = sorted(_fitted(signals))
    try:
        if fitted:
            given |= _fit_options(signals, choice, fitted)
        try:
            options = checked(SignalOptions, {**given, "ticker": tuple(choice.tickers) or None}, "signals")
        except BadRecipe as error:
            raise BadCorpus(f"the table of signals was not made by `ahf signals`: {error}") from error
        decisions = Decisions.of(np.unique(signals.at), options.window)
        reference = signals.facts["adapter"]
        made = signals_of(reference, texts, options, decisions=decisions, loading=loading, allow_none=True)
    except (BadCorpus, BadRecipe) as error:
        if not fitted:
            raise
        return replace(sources, unverified=f"its {' and '.join(fitted)} can't be fitted again: {error}")
    others = _other_opinions(signals, made)
    until = dict([*sources.fitted, *(fitted_to(fact) for fact in made.facts["fitted"])])
    return replace(sources, other_opinions=others, fitted=tuple(until.items()))


def _fitted(signals: Signals) -> set[str]:
    """Return what of a table was fitted on labelled texts: calibration, threshold."""
    dated = {str(fact["what"]) for fact in signals.facts.get("fitted", ())}
    return (dated | ({"calibration"} if signals.facts.get("calibration") else set())) - {"corpus"}


def _fit_options(signals: Signals, choice: SignalsChoice, fitted: list[str]) -> dict[str, Any]:
    """Return the options that fit it again, on the recipe's labelled texts. Raises BadCorpus where that can't be."""
    fitting: Mapping[str, Any] = signals.facts.get("fitting") or {}
    options: dict[str, Any] = {}
    for what in fitted:
        if what not in fitting:
            raise BadCorpus("the table does not say how: make it again with `ahf signals`")
        how = dict(fitting[what])
        source = how.pop("corpus", None)
        if source is not None:
            if choice.labels is None:
                raise BadCorpus(f"it was on the corpus {source.get('name')}: give that as signals.labels")
            corpus = corpus_of(choice.labels)
            digest = (read_texts(corpus, choice.tickers or ("-",)).source or {}).get("digest")
            if digest != source.get("digest"):
                was = str(source.get("digest"))[:19]
                raise BadCorpus(f"signals.labels is {str(digest)[:19]}, and it was on {was}: give that one")
            how["corpus"] = corpus
        options[what] = how
    return options


def _other_opinions(signals: Signals, made: Signals) -> np.ndarray:
    """Return the rows, (rows,), whose texts, versions or opinions differ from what was made now."""
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
