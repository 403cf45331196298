"""Compute the difference of two contenders in one metric: interval, test, effect size, evidence, what could be seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.stats.bayes import BayesTest, jzs
from adapterhub_fin.stats.bootstrap import Interval, bca, left_out, means_left_out, percentile
from adapterhub_fin.stats.effect_sizes import cliffs_delta, cohens_d, cohens_dz, hedges_g
from adapterhub_fin.stats.paired import PairedTest, mcnemar, paired_t, shapiro_wilk, sign_flip, swap, wilcoxon
from adapterhub_fin.stats.undefined import Undefined

if TYPE_CHECKING:
    import numpy as np

    from adapterhub_fin.engine.evaluation.measuring import Measuring
    from adapterhub_fin.engine.evaluation.outcomes import Outcomes
    from adapterhub_fin.plugin.descriptions import Metric
else:
    np = Lazy("numpy")

Method = Literal["percentile", "bca"]
EFFECTS: Final[Mapping[str, Callable[[Any, Any], float]]] = {
    "d_z": cohens_dz,
    "Cohen's d": cohens_d,
    "Hedges' g": hedges_g,
    "Cliff's delta": cliffs_delta,
}


@dataclass(frozen=True)
class Difference:
    """Hold how far a is above b in one metric, on all rows or on one slice of them.

    A test, an effect size or the evidence that the data leave undefined is a text with the reason. `corrected` and
    `discovery` are the p-value corrected over all that was compared, by Holm and by Benjamini and Hochberg.
    """

    a: str
    b: str
    metric: str
    greater_is_better: bool
    part: str  # "all rows", or the slice, such as `sector = Energy`
    rows: int
    units: int  # rows, or groups of them, that are drawn and swapped
    value_a: float
    value_b: float
    difference: float
    interval: Interval | None
    error: float | None  # the standard error, by bootstrap
    test: PairedTest | str  # the one that the metric fixes
    others: Mapping[str, PairedTest | str]
    effects: Mapping[str, float | str]
    bayes: BayesTest | str
    corrected: float | None = None
    discovery: float | None = None
    smallest: float | None = None  # difference that these rows would show

    @property
    def better(self) -> str | None:
        """Return the name of the better side, by the sign alone; None where both are the same."""
        signed = self.difference if self.greater_is_better else -self.difference
        return None if signed == 0 else self.a if signed > 0 else self.b


@dataclass(frozen=True)
class Pair:
    """Hold the outcomes of two contenders on the same rows, and the metrics of each on the same resamples."""

    names: tuple[str, str]
    outcomes: tuple[Outcomes, Outcomes]
    drawn: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
    part: str


def difference(
    pair: Pair,
    metric: Metric,
    measuring: Measuring,
    *,
    level: float,
    method: Method,
    rounds: int,
    seed: int,
) -> Difference | None:
    """Return the difference of a pair in one metric; None where either value is undefined."""
    one = pair.outcomes[0]
    values = [measuring.value(metric.name, side) for side in pair.outcomes]
    if not all(map(math.isfinite, values)):
        return None
    draws = pair.drawn[0][metric.name] - pair.drawn[1][metric.name]
    scores = [measuring.row_scores(metric.name, side) for side in pair.outcomes]
    weighed = None if scores[0] is None or scores[1] is None else (scores[0], scores[1])
    means = weighed  # rows that weigh otherwise on each side are no pairs of scores
    if weighed is not None and not np.array_equal(weighed[0][1], weighed[1][1]):
        means = None
    finite = bool(np.isfinite(draws).all())
    return Difference(
        a=pair.names[0],
        b=pair.names[1],
        metric=metric.name,
        greater_is_better=metric.greater_is_better,
        part=pair.part,
        rows=len(np.unique(one.rows)),
        units=len(np.unique(one.units)),
        value_a=values[0],
        value_b=values[1],
        difference=values[0] - values[1],
        interval=_interval(draws, values[0] - values[1], pair, weighed, metric, measuring, level, method),
        error=float(np.std(draws, ddof=1)) if finite and len(draws) > 1 else None,
        test=_or_reason(lambda: _fixed_test(metric, pair, means, measuring, rounds, seed)),
        others=_other_tests(metric, one, means, rounds, seed),
        effects={called: _or_reason(lambda f=f: f(*_sides(means))) for called, f in EFFECTS.items()},  # type: ignore[misc]
        bayes=_or_reason(lambda: jzs(*_unit_sides(means, one.units))),
    )


Means = tuple[tuple[Any, Any], tuple[Any, Any]] | None  # scores and weights of each side


def _or_reason(compute: Callable[[], Any]) -> Any:
    """Return what a function computes, or the reason why it can't, as a text."""
    try:
        return compute()
    except Undefined as reason:
        return str(reason)


def _sides(means: Means) -> tuple[np.ndarray, np.ndarray]:
    if means is None:
        raise Undefined("the metric is no mean over rows")
    return means[0][0], means[1][0]


def _unit_sides(means: Means, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean score of each unit, (units,), on both sides: rows of one unit are one observation."""
    one, other = _sides(means)
    _, codes, counts = np.unique(units, return_inverse=True, return_counts=True)
    return np.bincount(codes, one) / counts, np.bincount(codes, other) / counts


def _fixed_test(metric: Metric, pair: Pair, means: Means, measuring: Measuring, rounds: int, seed: int) -> PairedTest:
    """Return the test that the metric fixes, before any data are seen.

    McNemar's where each row is right or wrong and a unit of its own; else a permutation test, which swaps the answers
    of whole units.
    """
    (one, other), units = pair.outcomes, pair.outcomes[0].units
    alone = len(np.unique(units)) == len(units)
    if means is not None and metric.test == "mcnemar" and alone:
        return mcnemar(means[0][0], means[1][0])
    if means is not None:
        _, codes = np.unique(units, return_inverse=True)
        return sign_flip(np.bincount(codes, means[0][1] * (means[0][0] - means[1][0])), rounds=rounds, seed=seed)

    def swapped(mask: np.ndarray) -> float:
        a, b = (_exchanged(*sides, mask, metric.name) for sides in ((one, other), (other, one)))
        return measuring.value(metric.name, a) - measuring.value(metric.name, b)

    return swap(swapped, units, differ=differ(one, other, metric.name), rounds=rounds, seed=seed)


def differ(one: Outcomes, other: Outcomes, metric: str) -> np.ndarray:
    """Return a mask (examples,) of the rows whose outcomes differ in what one metric needs."""
    needed = [(one.truth, other.truth), (one.predicted, other.predicted)]
    if metric in one.scored:
        needed.append((one.scored[metric], other.scored[metric]))
    mask = np.zeros(len(one.rows), dtype=bool)
    for a, b in needed:
        for here, there in [(a[kind], b[kind]) for kind in a] if isinstance(a, Mapping) else [(a, b)]:
            mask |= (here != there).reshape(len(mask), -1).any(axis=1)
    return mask


def _exchanged(here: Outcomes, there: Outcomes, mask: np.ndarray, metric: str) -> Outcomes:
    """Return one side's outcomes with the other's where the mask (examples,) is set, as one metric needs them."""

    def chosen(a: Any, b: Any) -> Any:
        if isinstance(a, Mapping):
            return {kind: chosen(a[kind], b[kind]) for kind in a}
        return np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), b, a)

    scored = {metric: chosen(here.scored[metric], there.scored[metric])} if metric in here.scored else {}
    truth, predicted = (chosen(getattr(here, name), getattr(there, name)) for name in ("truth", "predicted"))
    return replace(here, truth=truth, predicted=predicted, scored=scored)


def _other_tests(
    metric: Metric, outcomes: Outcomes, means: Means, rounds: int, seed: int
) -> dict[str, PairedTest | str]:
    """Return the tests that are shown beside the fixed one, by name, on the mean scores of the units."""
    tests: dict[str, Callable[[], PairedTest]] = {
        "paired t": lambda: paired_t(*_unit_sides(means, outcomes.units)),
        "Wilcoxon": lambda: wilcoxon(*_unit_sides(means, outcomes.units)),
        "Shapiro-Wilk": lambda: shapiro_wilk(*_unit_sides(means, outcomes.units)),
    }
    if metric.test == "mcnemar":
        tests["McNemar, mid-p"] = lambda: mcnemar(*_sides(means), mid_p=True)
        tests["permutation"] = lambda: sign_flip(
            np.subtract(*_unit_sides(means, outcomes.units)), rounds=rounds, seed=seed
        )
    return {called: _or_reason(test) for called, test in tests.items()}


def _interval(
    draws: np.ndarray,
    observed: float,
    pair: Pair,
    means: Means,
    metric: Metric,
    measuring: Measuring,
    level: float,
    method: Method,
) -> Interval | None:
    if method == "percentile":
        return percentile(draws, level)
    units = pair.outcomes[0].units
    if means is not None:
        jackknife = [means_left_out(scores, weights, units) for scores, weights in means]
    else:
        function = measuring.functions[metric.name]
        jackknife = [left_out(function, side.truth, side.predicted, units) for side in pair.outcomes]
    try:
        return bca(draws, observed, jackknife[0] - jackknife[1], level)
    except Undefined:
        return None
