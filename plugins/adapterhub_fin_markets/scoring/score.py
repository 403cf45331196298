"""Score dated predictions against what came after them, era by era."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from adapterhub_fin.plugin import BadCorpus, checked, progress
from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.scoring.direction import direction_mcc
from adapterhub_fin_markets.scoring.eras import (
    EraScores,
    neutralised,
    numerai_contribution,
    numerai_correlation,
    rank_ic,
    rows_by_era,
    score_rows,
)
from adapterhub_fin_markets.scoring.intervals import MeanInterval, mean_interval
from adapterhub_fin_markets.scoring.joined import JoinedRows, join_tables
from adapterhub_fin_markets.scoring.options import ScoreOptions
from adapterhub_fin_markets.scoring.placebo import ScorePlacebo, compare_shifts

Score = Callable[..., float]


@dataclass(frozen=True)
class MetricScores:
    """Hold one metric's scores by era, with what there is to say of their mean."""

    metric: str
    scores: EraScores
    mean: MeanInterval
    placebo: ScorePlacebo | None

    def record(self) -> dict[str, Any]:
        """Return plain values."""
        scores = self.scores
        return {
            "mean": scores.mean,
            "sd": scores.sd,
            "ratio": scores.ratio,
            **asdict(self.mean),
            "placebo": None if self.placebo is None else asdict(self.placebo),
            "eras": dict(zip(scores.eras, scores.scores.tolist(), strict=True)),
            "undefined": dict(scores.undefined),
        }


@dataclass(frozen=True)
class Scores:
    """Hold what `score` computed: the metrics, how many rows each era has, and the facts that belong to them."""

    metrics: Mapping[str, MetricScores]
    rows: Mapping[str, int]  # by era
    facts: Mapping[str, Any]

    def __getitem__(self, metric: str) -> MetricScores:
        return self.metrics[metric]

    def record(self) -> dict[str, Any]:
        """Return plain values, as `ahf score --json` prints them."""
        metrics = {name: scored.record() for name, scored in self.metrics.items()}
        return {**self.facts, "rows_by_era": dict(self.rows), "metrics": metrics}


def score(
    predictions: Any,
    against: Prices | Any,
    *,
    meta: Any = None,
    factors: Any = None,
    columns: Mapping[str, str] | None = None,
    target_columns: Mapping[str, str] | None = None,
    shown: bool = False,
    **options: Any,
) -> Scores:
    """Score predictions against targets that begin strictly after their decisions, era by era.

    Args:
        predictions: A table with `time`, `ticker` and `score`: a file of signals, .csv or .parquet, or a table of
            pandas, polars or pyarrow.
        against: `Prices`, or a table of targets with `time`, `ticker` and `value`; `begins_at` and `ends_at` are the
            instants of a target's first and last price.
        meta: A table of another model's predictions, for contributions.
        factors: A table of numbers to neutralise predictions against, such as features.
        columns: Names in the file of predictions by ours, such as {"score": "pred"}.
        target_columns: The same for the table of targets.
        shown: Whether progress is shown.
        options: Those of `ScoreOptions`.

    Raises:
        LookAhead: A target begins at the decision or before it, or a prediction was not known before its decision.
        BadCorpus: A table can't be read, or an era has no score and `leave_out` is not given.

    Example:
        >>> scores = score("signals.parquet", "targets.parquet", metrics=["rank_ic"], era="month")
        >>> scores["rank_ic"].scores.mean
        0.031
    """
    chosen = checked(ScoreOptions, options, "score")
    rows = join_tables(predictions, against, meta, factors, columns or {}, target_columns or {}, chosen)
    metrics: dict[str, MetricScores] = {}
    with progress("shifting", len(chosen.metrics) * chosen.placebo, shown=shown and chosen.placebo > 0) as advance:
        for metric in dict.fromkeys(chosen.metrics):
            try:
                metrics[metric] = _scored(metric, rows, chosen, advance)
            except Undefined as error:
                raise BadCorpus(
                    f"{metric} has no value: {error}; choose longer eras, or leave out what has no score (--leave-out)"
                ) from error
    counts = np.bincount(rows.eras.codes, minlength=len(rows.eras.names))
    return Scores(metrics, dict(zip(rows.eras.names, counts.tolist(), strict=True)), rows.facts)


def _scored(metric: str, rows: JoinedRows, options: ScoreOptions, advance: Callable[[int], None]) -> MetricScores:
    function, first, others = _columns(metric, rows, options)
    groups = rows_by_era(rows.eras.codes, len(rows.eras.names))

    def by_rows(taken: np.ndarray | slice, leave_out: bool) -> EraScores:
        return score_rows(function, rows.eras.names, groups, [first[taken], *others], leave_out=leave_out)

    scores = by_rows(slice(None), options.leave_out)
    overlap = 1 if rows.independent is None else math.ceil(len(rows.eras.names) / rows.independent)
    mean = mean_interval(scores.scores, overlap, resamples=options.resamples, level=options.level, seed=options.seed)
    placebo = None
    if options.placebo:
        placebo = compare_shifts(
            scores,
            rows.predictions.ticker,
            partial(by_rows, leave_out=True),
            count=options.placebo,
            seed=options.seed,
            advance=advance,
        )
    return MetricScores(metric, scores, mean, placebo)


def _columns(metric: str, rows: JoinedRows, options: ScoreOptions) -> tuple[Score, np.ndarray, list[np.ndarray]]:
    """Return the function of a metric, the predictions that it scores, and its other columns, (rows,) each.

    Raises BadCorpus for contributions without a meta model, targets that are not Numerai's where they are said to be,
    and for directions of neutralised predictions.
    """
    score, direction, target = rows.predictions.score, rows.predictions.direction, rows.target
    if metric == "mcc":
        if rows.factors:
            raise BadCorpus("mcc scores directions, which neutralised predictions don't have: score it without factors")
        return partial(direction_mcc, flat_below=options.flat_below), direction, [target]
    if metric != "contribution":
        return _neutralising(PLAIN[metric]), score, [target, *rows.factors]
    if rows.meta is None:
        raise BadCorpus("a contribution is to a meta model: give a table of its predictions (--meta)")
    if options.quarters and not ((target >= 0) & (target <= 1)).all():
        raise BadCorpus("the targets are not all from 0 to 1, so they are not Numerai's: leave quarters out")

    def contribution(mine: np.ndarray, came: np.ndarray, other: np.ndarray) -> float:
        return numerai_contribution(mine, other, came, quarters=options.quarters)

    return _neutralising(contribution, 2), score, [target, rows.meta, *rows.factors]


def _neutralising(function: Score, columns: int = 1) -> Score:
    """Return a score of predictions that are neutralised first, where factors follow its own columns."""

    def scored(mine: np.ndarray, *others: np.ndarray) -> float:
        own, factors = others[:columns], others[columns:]
        return function(neutralised(mine, np.column_stack(factors)) if factors else mine, *own)

    return scored


PLAIN: Final[Mapping[str, Score]] = {"numerai_corr": numerai_correlation, "rank_ic": rank_ic}
