"""Compare a run with the cheap alternative: a linear model on the frozen base's embeddings of the same rows.

It is scikit-learn's logistic regression for classes and ridge regression for numbers, fitted to the training part, its
penalty chosen on the validation part. Both are measured on the same rows of the test part, so that their difference has
an interval of its own: a paired bootstrap over groups of rows, where the corpus has some.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.units import units_of
from adapterhub_fin.engine.evaluation.linear import INSTALL, NAMES, fit_linear, is_installed, mean_states
from adapterhub_fin.engine.evaluation.metrics import metric_functions
from adapterhub_fin.engine.training.arguments import part_size
from adapterhub_fin.engine.training.distributed import own_device
from adapterhub_fin.engine.training.sharded import is_sharded
from adapterhub_fin.plugin.examples import lengths
from adapterhub_fin.stats.bootstrap import Interval, percentile, resampled

if TYPE_CHECKING:
    import numpy as np

    from adapterhub_fin.engine.training.prepare import LoadedRun
    from adapterhub_fin.plugin.heads import HeadImplementation
else:
    np = Lazy("numpy")

LEVEL: Final = 0.95
RESAMPLES: Final = 1000
MOST = 5000  # rows of each part that are embedded: a seeded sample of a larger one

Verdict = Literal["better", "worse", "no difference shown", "undefined"]


@dataclass(frozen=True)
class Baseline:
    """Hold what a linear model on the frozen base's embeddings gets on the test part, and how far the adapter is above.

    `differences` are the adapter's metric minus the baseline's, on the same rows; `verdict` says what the interval of
    the deciding metric's difference allows to say of the adapter.
    """

    model: str  # logistic regression or ridge regression
    options: Mapping[str, Any]  # what was chosen on the validation part
    rows: Mapping[str, int]  # that were embedded, by part
    metric: str  # the one that decides: the validation metric of the run
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    differences: Mapping[str, float]
    difference_intervals: Mapping[str, Interval | None]
    verdict: Verdict
    bootstrap: Mapping[str, Any]

    def body(self) -> dict[str, Any]:
        """Return the event's body as plain values."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def sentence(self) -> str:
        """Return the comparison in one sentence."""
        value, apart = self.metrics[self.metric], self.differences[self.metric]
        says = {
            "better": "the adapter beats",
            "worse": "the adapter is worse than",
            "no difference shown": "the adapter was not shown to beat",
            "undefined": "too few rows are held out to compare the adapter with",
        }[self.verdict]
        ends = self.difference_intervals[self.metric]
        between = "" if ends is None else f", 95 % interval {ends[0]:+.4f} to {ends[1]:+.4f}"
        return (
            f"{says} a {self.model} on the base's embeddings: {self.metric} {value + apart:.4f} against {value:.4f} "
            f"({apart:+.4f}{between})"
        )


@dataclass(frozen=True)
class LinearAnswers:
    """Hold what the fitted linear model answers on rows of the test part."""

    options: Mapping[str, Any]
    rows: Mapping[str, int]
    tested: np.ndarray  # indices of the test examples, (tested,)
    answers: np.ndarray  # (tested,), as the head's `decide` gives them


def unmeasured(loaded: LoadedRun) -> str | None:
    """Return why a run has no baseline; None if one is to be measured."""
    if loaded.head.baseline is None:
        return f"the head {loaded.recipe.head.name} has no linear counterpart"
    if not loaded.recipe.training.baseline:
        return "training.baseline is off"
    if not is_installed():
        return INSTALL
    if is_sharded():
        return "the base is sharded over processes"
    return None


def answer_linearly(loaded: LoadedRun) -> LinearAnswers | str:
    """Return the answers of a linear model on the base's embeddings, before an adapter is attached to it.

    Its penalty, and for classes whether they weigh the same, is what gives the best metric on the validation part.
    Returns the reason where no model can be fitted.
    """
    metric = loaded.metric
    rng = np.random.default_rng(loaded.recipe.training.seed)
    chosen = {split: _sample(len(examples), rng) for split, examples in loaded.examples.items()}
    rows = {split: [loaded.examples[split][index] for index in indices] for split, indices in chosen.items()}
    vectors = _embed(loaded, [example for part in rows.values() for example in part])
    if not np.isfinite(vectors).all():
        return "the base's embeddings hold NaN or infinity"
    ends = np.cumsum([len(part) for part in rows.values()])
    inputs = dict(zip(rows, np.split(vectors, ends[:-1]), strict=True))
    labels = {split: np.array([example["labels"] for example in part]) for split, part in rows.items()}
    head, kind = loaded.head, str(loaded.head.baseline)
    if kind == "logistic" and len(np.unique(labels["train"])) < 2:
        return "the training rows have one label"
    weights = None if loaded.weights is None else np.array(loaded.weights)[chosen["train"]]
    function = metric_functions(loaded.recipe.head.name, head.labels, head)[metric.name]
    truth, sign = head.truth(labels["validation"]), 1 if metric.greater_is_better else -1
    options, predicted = fit_linear(
        kind, inputs, labels, lambda given: sign * function(truth, _decided(head, given)), weights=weights
    )
    answers = _decided(head, predicted)
    return LinearAnswers(options, {split: len(part) for split, part in rows.items()}, chosen["test"], answers)


def compare(loaded: LoadedRun, linear: LinearAnswers, truth: np.ndarray, answers: np.ndarray) -> Baseline | str:
    """Return the linear model beside the adapter on the test part, or the reason why they can't be compared.

    `truth` and `answers`, (rows,), are the Trainer's, which answers the longest rows first.
    """
    from adapterhub_fin.engine.data.sampling import LongestFirst

    metric, seed = loaded.metric, loaded.recipe.training.seed
    functions = metric_functions(loaded.recipe.head.name, loaded.head.labels, loaded.head)
    order = LongestFirst(lengths(loaded.examples["test"])).order
    taken = np.argsort(order)[linear.tested]  # where the Trainer's answers have the rows of the linear model
    truth, units = truth[taken], _units(loaded)[linear.tested]
    answered = {"adapter": answers[taken], "linear": linear.answers}
    once = {
        whose: {name: float(function(truth, given)) for name, function in functions.items()}
        for whose, given in answered.items()
    }
    if broken := sorted(name for name, value in once["linear"].items() if not math.isfinite(value)):
        return f"{broken[0]} of the linear model is undefined on the test part"
    drawn = {  # the same resamples of both, since the seed is the same
        whose: resampled(functions, truth, given, units, resamples=RESAMPLES, seed=seed)
        for whose, given in answered.items()
    }
    ends = {name: percentile(drawn["adapter"][name] - drawn["linear"][name], LEVEL) for name in functions}
    return Baseline(
        model=NAMES[str(loaded.head.baseline)],
        options=linear.options,
        rows=linear.rows,
        metric=metric.name,
        metrics=once["linear"],
        intervals={name: percentile(values, LEVEL) for name, values in drawn["linear"].items()},
        differences={name: once["adapter"][name] - once["linear"][name] for name in functions},
        difference_intervals=ends,
        verdict=_verdict(ends[metric.name], greater_is_better=metric.greater_is_better),
        bootstrap={"level": LEVEL, "resamples": RESAMPLES, "seed": seed, "units": len(np.unique(units))},
    )


def _units(loaded: LoadedRun) -> np.ndarray:
    """Return the unit of each test example, (examples,): rows of one group, or with one text, are drawn together."""
    table, examples = loaded.corpora.splits["test"], loaded.examples["test"]
    return units_of(table) if len(table) == len(examples) else np.arange(len(examples))


def _decided(head: HeadImplementation, predicted: np.ndarray) -> np.ndarray:
    """Return a linear model's predictions, (rows,), in the form in which metrics take the head's."""
    answers: np.ndarray = head.decide(predicted[:, None]) if head.baseline == "ridge" else predicted
    return answers


def _verdict(ends: Interval | None, *, greater_is_better: bool) -> Verdict:
    if ends is None:
        return "undefined"
    low, high = ends if greater_is_better else (-ends[1], -ends[0])
    return "better" if low > 0 else "worse" if high < 0 else "no difference shown"


def _sample(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of all rows, or of MOST of them, sorted."""
    return np.arange(rows) if rows <= MOST else np.sort(rng.choice(rows, MOST, replace=False))


def _embed(loaded: LoadedRun, examples: Sequence[dict[str, Any]]) -> np.ndarray:
    """Return the mean of the base's last hidden states of each example, (examples, hidden), float32."""
    if not getattr(loaded.model, "is_quantized", False):
        loaded.model.to(own_device())  # where the Trainer moves it too
    collate = loaded.head.collator(loaded.tokenizer)
    return mean_states(loaded.model, collate, examples, 2 * part_size(loaded.recipe.training))
