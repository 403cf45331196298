"""Make signals of dated texts and an adapter: each text's own version answers, and a window's answers are one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import adapterhub_fin as ahf
from adapterhub_fin.plugin import BadRecipe, build_contribution, checked, contribution, format_instant
from adapterhub_fin_markets.prices.timing import usable
from adapterhub_fin_markets.signals.aggregate import Aggregating
from adapterhub_fin_markets.signals.answering import Answered, answer_texts, choose_versions
from adapterhub_fin_markets.signals.decisions import Decisions, check_decisions, close_decisions
from adapterhub_fin_markets.signals.description import Aggregate
from adapterhub_fin_markets.signals.directions import kind_of
from adapterhub_fin_markets.signals.fitting import Fitted, fit
from adapterhub_fin_markets.signals.options import SignalOptions
from adapterhub_fin_markets.signals.rows import Opinions, read_windows
from adapterhub_fin_markets.signals.table import Signals
from adapterhub_fin_markets.signals.texts import DatedTexts, format_of, read_texts

NO_TEXT = "all texts of the window are refused"


def signals(
    reference: Any,
    corpus: Any,
    *,
    decisions: Any = None,
    base: Any = None,
    registry: Any = None,
    device: Any = None,
    download: bool = False,
    batch_size: int = 32,
    progress: bool = False,
    **options: Any,
) -> Signals:
    """Return signals of a corpus's dated texts, one row a decision and ticker.

    `corpus` is as in a recipe: a name, a mapping with a name, or a table; `options` are those of `SignalOptions`.
    `decisions` (decisions,) are datetime64 in UTC, by default a microsecond after each close of `calendar`, from the
    first to the last text that may be answered. `base` and the others are as in `ahf.load`. Raises LookAhead where no
    version may answer any text, BadRecipe for options or a head that can't be used, BadCorpus for texts without a
    date, and what loading raises.

    Example:
        >>> signals("acme/tone", {"name": "news", "path": "news.csv", "published": "at"}, ticker="BTC")
        Signals(387 rows, 1 tickers, 2022-11-29T00:00:00.000001 to 2023-12-20T00:00:00.000001)
    """
    chosen = checked(SignalOptions, options, "signals")
    texts = read_texts(corpus, chosen.tickers, chosen.universe)
    loading = {"base": base, "device": device, "download": download, "batch_size": batch_size, "progress": progress}
    given = None if decisions is None else Decisions.of(check_decisions(decisions), chosen.window)
    return signals_of(reference, texts, chosen, decisions=given, registry=registry, loading=loading)


def signals_of(
    reference: Any,
    texts: DatedTexts,
    options: SignalOptions,
    *,
    decisions: Decisions | None = None,
    registry: Any = None,
    loading: Mapping[str, Any] | None = None,
    allow_none: bool = False,
) -> Signals:
    """Return signals of dated texts; see `signals`. With `allow_none` there may be no row, instead of LookAhead.

    Raises BadCorpus where there is no text.
    """
    if not len(texts):
        raise ahf.BadCorpus("there is no text: signals need one at least")
    loading = loading or {}
    versions, reasons, late = choose_versions(reference, texts.available_at, options, registry)
    if len(reasons) == len(texts) and not allow_none:
        raise ahf.LookAhead(
            f"none of {len(texts):,} texts may be answered: {_listed(Counter(reasons.values()))}; use later texts or a "
            "version trained on earlier data"
        )
    if decisions is None:
        allowed = texts.available_at[[row not in reasons for row in range(len(texts))]]
        decisions = Decisions.of(
            close_decisions(options.calendar, allowed[0], allowed[-1], options.interval), options.window
        )
    elif decisions.since is not None:
        reasons = {row: reason for row, reason in reasons.items() if texts.available_at[row] >= decisions.since}
    read = np.arange(len(texts)) if decisions.since is None else np.flatnonzero(texts.available_at >= decisions.since)
    yanked = versions.yanked(read.tolist())
    answered = answer_texts(texts, versions, reasons, options, loading)
    if not answered.digests:  # what the head is must be known all the same
        answered = replace(answered, estimates=kind_of(versions.registry.resolve(reference)) == "estimate")
    aggregate = choose_aggregate(options, answered.estimates)
    fitted = fit(reference, texts, options, registry, loading)
    if fitted.calibration is not None:
        answered = answered.calibrated(fitted.calibration)
    rows = read_windows(texts, answered, aggregate, decisions.at, decisions.starts, options)
    made = _table(reference, texts, options, answered, aggregate, fitted, rows, late)
    made = replace(made, facts={**made.facts, "yanked_versions": [each.record() for each in yanked]})
    if not len(made) and not allow_none:
        raise ahf.LookAhead(
            f"no decision is left: {_listed(made.facts['refused'])}; decide later, or fit on earlier texts"
        )
    return made


def warm(reference: Any, texts: DatedTexts, options: SignalOptions, registry: Any, loading: Mapping[str, Any]) -> None:
    """Answer texts into the cache, so that a later decision needs no model. Raises what answering raises."""
    versions, reasons, _ = choose_versions(reference, texts.available_at, options, registry)
    answer_texts(texts, versions, reasons, options, loading)


def choose_aggregate(options: SignalOptions, estimates: bool) -> Aggregating:
    """Return the aggregate of the options. Raises BadRecipe where it can't take a regression's estimates."""
    given = options.aggregate or ("mean" if estimates else "confidence")
    settings = {"name": given} if isinstance(given, str) else dict(given)
    name = str(settings.pop("name", ""))
    description = contribution(Aggregate, name)
    if estimates and not description.estimates:
        raise BadRecipe(f"the aggregate {name} takes no estimates of a regression: use mean or decay")
    if estimates and (options.min_confidence or options.threshold != 0):
        raise BadRecipe("a regression has no confidence: leave threshold and min_confidence out, and give bound")
    if not estimates and options.bound:
        raise BadRecipe("bound is for estimates, and the head classifies: give threshold")
    return Aggregating(name, build_contribution(Aggregate, name, settings), {"name": name, **settings})


def _table(
    reference: Any,
    texts: DatedTexts,
    options: SignalOptions,
    answered: Answered,
    aggregate: Aggregating,
    fitted: Fitted,
    rows: Opinions,
    late: int,
) -> Signals:
    refused: Counter[str] = Counter(answered.refused)
    keep = ~rows.without_version
    if count := int((~keep).sum()):
        refused[NO_TEXT] = count
    known_at = rows.known_at(answered, options.include_base)
    for what, until in fitted.until.items():
        known_at = np.maximum(known_at, until)
        early = keep & ~usable(np.broadcast_to(until, rows.at.shape), rows.at)
        if early.any() and not options.allow_lookahead:
            refused[f"the {what} was fitted until {format_of(until)}, and the decision isn't later"] = int(early.sum())
            keep &= ~early
    confident = rows.confidence >= fitted.threshold
    made = {
        "at": rows.at,
        "ticker": rows.ticker,
        "signal": rows.signal,
        "score": rows.score,
        "confidence": rows.confidence,
        "actionable": (rows.signal != 0) & (confident | answered.estimates),
        "probabilities": rows.probabilities,
        "text_at": rows.text_at,
        "known_at": known_at,
    }
    lists: dict[str, Any] = {"texts": rows.texts, "adapters": rows.adapters}
    if not keep.all():
        made = {name: column[keep] for name, column in made.items()}
        lists = {name: of.take(keep) for name, of in lists.items()}
    return Signals(
        **made,
        **lists,
        tickers=texts.tickers,
        facts={
            "adapter": str(getattr(reference, "reference", reference)),
            "as_of": options.as_of,
            "include_base": options.include_base,
            "yanked": options.yanked,
            "allow_lookahead": options.allow_lookahead,
            "corpus": dict(texts.source or {}),
            "calendar": options.calendar,
            "interval": options.interval,
            "window": options.window,
            "aggregate": dict(aggregate.facts),
            "threshold": fitted.threshold,
            "min_confidence": options.min_confidence,
            "bound": options.bound,
            "directions": dict(options.directions),
            "calibration": None if fitted.calibration is None else fitted.calibration.facts,
            "fitted": fitted.facts,
            "fitting": {what: dict(how) for what, how in fitted.how.items()},
            "refused": dict(sorted(refused.items())),
            "texts": len(texts),
            "duplicates": texts.duplicates,
            "unread": rows.unread,
            "universe": _universe(options),
            "versions": _versions(answered, options),
            "marks": _marks(options, late),
        },
    )


def _universe(options: SignalOptions) -> str:
    if options.tickers:
        return "the tickers were given"
    return f"the tickers are those that the texts name{', and those of universe' if options.universe else ''}"


def _versions(answered: Answered, options: SignalOptions) -> dict[str, Any]:
    return {
        digest: {
            "reference": version.reference,
            "knowledge_end": format_instant(version.knows_until(options.include_base)),
        }
        for digest, version in sorted(answered.digests.items())
    }


def _marks(options: SignalOptions, late: int) -> list[str]:
    marks = []
    if options.allow_lookahead:
        marks.append(f"look-ahead is allowed: {late:,} texts were answered by a version that may know their future")
    if not options.include_base:
        marks.append("what the base knew is left out (include_base=False)")
    return marks


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} ({count:,})" for reason, count in sorted(reasons.items(), key=lambda each: -each[1]))
