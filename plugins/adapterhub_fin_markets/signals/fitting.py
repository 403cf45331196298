"""Fit a calibration and a threshold on labelled texts that were known before a date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from adapterhub_fin.plugin import BadCorpus, BadRecipe, day_end, instant, moment
from adapterhub_fin_markets.prices.timing import usable
from adapterhub_fin_markets.signals.aggregate import winners
from adapterhub_fin_markets.signals.answering import Loading, answer_texts, choose_versions
from adapterhub_fin_markets.signals.calibration import Calibration, fit_calibration
from adapterhub_fin_markets.signals.directions import COLUMNS, KNOWN
from adapterhub_fin_markets.signals.options import FitOptions, SignalOptions, ThresholdOptions
from adapterhub_fin_markets.signals.texts import DatedTexts, format_of, read_texts

FEWEST: Final = 20  # labelled texts that something is fitted on
FEW_ACTED: Final = 10  # BUY and SELL answers that a threshold is fitted on


@dataclass(frozen=True, eq=False)
class Labelled:
    """Hold answered texts with their true direction; arrays are (texts,)."""

    probabilities: np.ndarray  # (texts, 3)
    truth: np.ndarray  # column of the direction: 0 SELL, 1 HOLD, 2 BUY
    until: np.datetime64  # when the latest text or label was known
    source: Mapping[str, Any] | None  # name, options and digest of a corpus of their own, None of that of the signals


@dataclass(frozen=True, eq=False)
class Fitted:
    """Hold what was fitted, and until when each rests on texts and labels."""

    calibration: Calibration | None
    threshold: float
    until: Mapping[str, np.datetime64]  # by what was fitted
    how: Mapping[str, Mapping[str, Any]]  # the options of each, with the source of its labelled texts as corpus

    @property
    def facts(self) -> list[dict[str, Any]]:
        """Return what a table of signals records of it."""
        return [{"what": what, "until": format_of(until)} for what, until in self.until.items()]


def fit(reference: Any, texts: DatedTexts, options: SignalOptions, registry: Any, loading: Loading) -> Fitted:
    """Return what the options ask for, fitted on the corpus of each or else on `texts`.

    Raises BadCorpus for a corpus without labels or without the dates of their knowledge, and BadRecipe where too few of
    them were known before the date, or where no threshold has the precision.
    """
    until: dict[str, np.datetime64] = {}
    how: dict[str, dict[str, Any]] = {}
    calibration, threshold = None, 0.0
    if options.calibration is not None:
        rows = _labelled(reference, texts, options.calibration, options, registry, loading)
        calibration = fit_calibration(options.calibration.name, rows.probabilities, rows.truth)
        until["calibration"], how["calibration"] = rows.until, _how(options.calibration, rows)
    if isinstance(options.threshold, ThresholdOptions):
        rows = _labelled(reference, texts, options.threshold, options, registry, loading)
        probabilities = rows.probabilities if calibration is None else calibration.apply(rows.probabilities)
        threshold = fit_threshold(probabilities, rows.truth, options.threshold.precision)
        until["threshold"], how["threshold"] = rows.until, _how(options.threshold, rows)
    else:
        threshold = options.threshold
    if texts.fitted_before is not None:
        until["corpus"] = np.datetime64(texts.fitted_before.astimezone(UTC).replace(tzinfo=None), "us")
    return Fitted(calibration, threshold, until, how)


def _how(options: FitOptions, rows: Labelled) -> dict[str, Any]:
    return {**options.model_dump(mode="json", exclude={"corpus"}), "corpus": rows.source and dict(rows.source)}


def fit_threshold(probabilities: np.ndarray, truth: np.ndarray, precision: float, fewest: int = FEW_ACTED) -> float:
    """Return the least confidence at or above which that share of BUY and SELL answers is right.

    `probabilities` are (texts, 3), `truth` (texts,) columns; a share is of `fewest` answers at least. Raises BadRecipe
    where there is none.
    """
    chosen = winners(probabilities)
    acted = chosen != COLUMNS["hold"]
    confidence, right = probabilities.max(1)[acted], (chosen == truth)[acted]
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    share = np.cumsum(right) / np.arange(1, len(right) + 1)
    counted = np.arange(1, len(right) + 1) >= fewest
    last = np.append(np.diff(confidence) < 0, True)[: len(right)]  # of equal confidences all are in, or none
    enough = np.flatnonzero((share >= precision) & last & counted)
    if not len(enough):
        best = f"{share[last & counted].max():.3f}" if counted.any() else f"none, as {len(right)} are BUY or SELL"
        raise BadRecipe(f"no threshold makes {precision:.3f} of BUY and SELL right (the best is {best}): ask for less")
    return float(confidence[enough[-1]])


def fit_instant(text: str) -> np.datetime64:
    """Return the instant that `fit_before` names: a day means its 00:00 UTC. Raises BadInstant."""
    read = moment(text)
    at = (
        instant(read, "UTC", day_end([read], "UTC"))
        if isinstance(read, datetime)
        else datetime.combine(read, datetime.min.time(), UTC)
    )
    return np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "us")


def _labelled(
    reference: Any, texts: DatedTexts, fitting: FitOptions, options: SignalOptions, registry: Any, loading: Loading
) -> Labelled:
    if fitting.corpus is not None:
        texts = read_texts(fitting.corpus, options.tickers or ("-",))
    if not len(texts.labels):
        raise BadCorpus("what is fitted needs labels, and the corpus has none: give a labelled corpus in its options")
    if texts.label_known_at is None:
        raise BadCorpus(
            "what is fitted needs label_known_at, when each label was known: give label_horizon, such as 0d for at once"
        )
    before = fit_instant(fitting.fit_before)
    early = usable(texts.label_known_at, before) & usable(texts.available_at, before)
    versions, reasons, _ = choose_versions(reference, texts.available_at, options, registry)
    for index in np.flatnonzero(~early):
        versions[index] = None
    answered = answer_texts(texts, versions, reasons, options, loading)
    if answered.estimates:
        raise BadRecipe("a regression has no confidence: leave calibration and a fitted threshold out, and give bound")
    rows = np.flatnonzero(~np.isnan(answered.score))
    if len(rows) < FEWEST:
        raise BadRecipe(
            f"{len(rows)} labelled texts may be answered before {fitting.fit_before}, and fitting needs {FEWEST}: "
            "give a later fit_before or more texts"
        )
    truth = np.array([_column(texts.labels[row], options) for row in rows.tolist()])
    until = max(texts.label_known_at[rows].max(), texts.available_at[rows].max())
    own = texts.source if fitting.corpus is not None else None
    return Labelled(answered.probabilities[rows], truth, until, own)


def _column(label: Any, options: SignalOptions) -> int:
    """Return the column of a label's direction; of a number its sign's. Raises BadCorpus."""
    if isinstance(label, int | float) and not isinstance(label, bool):
        return 1 + int(np.sign(label)) if abs(label) > options.bound else COLUMNS["hold"]
    sense = options.directions.get(str(label)) or KNOWN.get(str(label).casefold())
    if sense is None:
        raise BadCorpus(f"the label {label!r} says no direction: give directions, such as {{{label}: buy}}")
    return COLUMNS[sense]
