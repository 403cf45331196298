"""Compute a head's metrics on outcomes, each with its bootstrap interval, whole and by slices of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.evaluation.metrics import Function, metric_functions, metrics_for, row_scores
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.stats.bootstrap import Interval, percentile, resampled, resampled_means

if TYPE_CHECKING:
    import numpy as np

    from adapterhub_fin.engine.evaluation.outcomes import Outcomes
    from adapterhub_fin.plugin.descriptions import Metric
    from adapterhub_fin.plugin.heads import HeadImplementation
else:
    np = Lazy("numpy")

LEVEL: Final = 0.95
RESAMPLES: Final = 2000


@dataclass(frozen=True)
class Measures:
    """Hold metrics by name, with their intervals: None where too few rows leave a resample undefined."""

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval | None]


@dataclass(frozen=True)
class Slice:
    """Hold the metrics of the rows that share a value; one that they leave undefined is None."""

    value: str
    rows: int
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]


@dataclass(frozen=True)
class Measuring:
    """Say which metrics are computed of outcomes, and how.

    Of a metric without a function the outcomes carry the scores of rows, whose mean it is.
    """

    metrics: Mapping[str, Metric]
    functions: Mapping[str, Function]  # (truth, predicted) -> float

    @classmethod
    def of_head(cls, name: str, head: HeadImplementation) -> Measuring:
        """Return how a head's answers are measured; `name` is the head's."""
        return cls(metrics_for(name, head), metric_functions(name, head.labels, head))

    def only(self, names: Collection[str]) -> Measuring:
        """Return how some of the metrics are computed."""
        return Measuring(
            {name: metric for name, metric in self.metrics.items() if name in names},
            {name: function for name, function in self.functions.items() if name in names},
        )

    def row_scores(self, metric: str, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the score and the weight of each example, (examples,) each; None for a metric that is no mean."""
        if metric in outcomes.scored:
            scored = outcomes.scored[metric]
            return scored[:, 0], scored[:, 1]
        return row_scores(self.metrics[metric], outcomes.truth, outcomes.predicted)

    def value(self, metric: str, outcomes: Outcomes) -> float:
        """Return a metric of outcomes, NaN where it is undefined."""
        if metric in self.functions:
            return float(self.functions[metric](outcomes.truth, outcomes.predicted))
        scores, weights = outcomes.scored[metric].T
        return float(np.average(scores, weights=weights)) if weights.any() else math.nan


def draw(
    measuring: Measuring,
    outcomes: Outcomes,
    *,
    resamples: int,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, np.ndarray]:
    """Return each metric on each resample, (resamples,); all of them see the same resamples.

    Metrics that are means over rows are computed together, by sums.
    """
    columns = {metric: measuring.row_scores(metric, outcomes) for metric in measuring.metrics}
    means = {metric: pair for metric, pair in columns.items() if pair is not None}
    slow = {metric: measuring.functions[metric] for metric in columns if metric not in means}
    drawn = {}
    if means:
        scores, weights = (np.column_stack([pair[part] for pair in means.values()]) for part in (0, 1))
        table = resampled_means(scores, weights, outcomes.units, resamples=resamples, seed=seed)
        drawn = dict(zip(means, table.T, strict=True))
    if slow:
        options: Any = {"resamples": resamples, "seed": seed, "advance": advance}
        drawn |= resampled(slow, outcomes.truth, outcomes.predicted, outcomes.units, **options)
    return {metric: drawn[metric] for metric in measuring.metrics}


def values(measuring: Measuring, outcomes: Outcomes) -> dict[str, float]:
    """Return each metric of outcomes, NaN where it is undefined."""
    return {metric: measuring.value(metric, outcomes) for metric in measuring.metrics}


def measure(
    measuring: Measuring,
    outcomes: Outcomes,
    *,
    where: str,
    resamples: int,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
) -> Measures:
    """Return each metric with its interval; `where` names the rows in an error.

    Raises BadCorpus where a metric is undefined.
    """
    metrics = values(measuring, outcomes)
    if undefined := sorted(metric for metric, value in metrics.items() if not math.isfinite(value)):
        raise BadCorpus(f"{where}: {undefined[0]} is undefined on these rows: measure on others")
    drawn = draw(measuring, outcomes, resamples=resamples, seed=seed, advance=advance)
    return Measures(metrics, {metric: percentile(array, LEVEL) for metric, array in drawn.items()})


def measure_slices(
    measuring: Measuring, outcomes: Outcomes, keys: Sequence[str], *, resamples: int, seed: int
) -> list[Slice]:
    """Return the metrics of each slice, in the order of the first example of each; `keys` has a value an example."""
    slices = []
    array = np.array(keys)
    for key in sorted(set(keys), key=by_size):
        part = outcomes.select(array == key)
        metrics = values(measuring, part)
        drawn = draw(measuring, part, resamples=resamples, seed=seed)
        defined = {metric: value if math.isfinite(value) else None for metric, value in metrics.items()}
        ends = {
            metric: None if defined[metric] is None else percentile(draws, LEVEL) for metric, draws in drawn.items()
        }
        slices.append(Slice(key, len(part.units), defined, ends))
    return slices


def by_size(key: str) -> tuple[int, Any]:
    """Return the place of a slice among others: numbers by size, then texts."""
    start = key.split(" ")[0].replace(",", "")
    return (0, (float(start), key)) if start.replace(".", "", 1).isdigit() else (1, key)
