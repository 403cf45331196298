"""Compute every metric of a head from true and predicted values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.batches import arrays
from adapterhub_fin.errors import BadCorpus, PluginError, UnknownName
from adapterhub_fin.plugin.descriptions import Head, Metric
from adapterhub_fin.plugin.manager import extensions

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin.plugin.heads import HeadImplementation
else:
    np = Lazy("numpy")

Function = Callable[["np.ndarray", "np.ndarray"], float]


def metrics_for(head: str, built: HeadImplementation | None = None) -> Mapping[str, Metric]:
    """Return the metrics of a head, by name: those that its options chose, if it is given built.

    Raises UnknownName for a head that is not installed.
    """
    kinds = _kinds(head, built)
    return {name: metric for name, metric in extensions().all(Metric).items() if kinds.intersection(metric.kinds)}


def _kinds(head: str, built: HeadImplementation | None) -> frozenset[str]:
    described = extensions().get(Head, head).metrics
    if built is not None and built.metrics is not None:
        return frozenset(built.metrics)
    return frozenset([described] if isinstance(described, str) else described or ())


def metric_for(head: str, name: str, built: HeadImplementation | None = None) -> Metric:
    """Return one metric of a head. Raises UnknownName, which lists the metrics that the head has."""
    offered = metrics_for(head, built)
    if name not in offered:
        raise UnknownName(f"metric of head {head!r}", name, offered)
    return offered[name]


def metric_functions(
    head: str, labels: Sequence[str] | None, built: HeadImplementation | None = None
) -> dict[str, Function]:
    """Return a function (truth, predicted) -> float for each metric of a head, by the metric's name.

    A metric that has a parameter `labels` receives the indices of all labels of the head, so that a label without a row
    in some split or resample still counts. Of a head with several kinds of metric, each takes the arrays of its kind.
    """
    return {
        name: partial(_of_kind, metric.kinds, _with_labels(metric.load(), labels))
        for name, metric in metrics_for(head, built).items()
    }


def _of_kind(kinds: Sequence[str], function: Function, truth: Any, predicted: Any) -> float:
    if isinstance(predicted, Mapping):
        kind = next(kind for kind in kinds if kind in predicted)
        truth, predicted = truth[kind], predicted[kind]
    return function(truth, predicted)


def row_scores(metric: Metric, truth: Any, predicted: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the score of each row and its weight, each (rows,), of a metric that is their mean; else None.

    Raises PluginError where the metric gives anything but one score and one weight a row.
    """
    function = metric.load_row_scores()
    if function is None:
        return None
    if isinstance(predicted, Mapping):
        kind = next(kind for kind in metric.kinds if kind in predicted)
        truth, predicted = truth[kind], predicted[kind]
    returned = function(truth, predicted)
    scores, weights = returned if isinstance(returned, tuple) else (returned, np.ones(len(predicted)))
    scores, weights = (np.asarray(array, dtype=np.float64) for array in (scores, weights))
    if not scores.shape == weights.shape == (len(predicted),):
        raise PluginError(
            f"metric {metric.name!r}: its row scores have the shapes {scores.shape} and {weights.shape}, and not "
            f"({len(predicted)},): one for each row"
        )
    return scores, weights


def _with_labels(function: Callable[..., float], labels: Sequence[str] | None) -> Function:
    try:
        takes = labels is not None and "labels" in signature(function).parameters
    except ValueError:  # some functions that are written in C have no signature
        return function
    return partial(function, labels=np.arange(len(labels or ()))) if takes else function


def check_defined(head: HeadImplementation, rows: Dataset, metrics: Collection[str], corpus: str, split: str) -> None:
    """Raise BadCorpus where the rows of a split leave one of these metrics undefined."""
    for name, reason in head.undefined_metrics(rows).items():
        if name in metrics:
            raise BadCorpus(f"corpus {corpus}, {split} part: {name} is undefined where {reason}: give it other rows")


def check_parts(
    name: str, head: HeadImplementation, splits: Mapping[str, Dataset], selects_on: Metric, corpus: str
) -> None:
    """Raise BadCorpus where the selection metric on validation, or any metric of the head on test, is undefined."""
    check_defined(head, splits["validation"], [selects_on.name], corpus, "validation")
    check_defined(head, splits["test"], metrics_for(name, head), corpus, "test")


def measured(head: str, implementation: HeadImplementation) -> Callable[[Any], dict[str, float]]:
    """Return the Trainer's `compute_metrics`: every metric of the head, on the decided predictions."""
    functions = metric_functions(head, implementation.labels, implementation)

    def compute(answers: Any) -> dict[str, float]:
        truth = implementation.truth(arrays(answers.label_ids))
        predicted = implementation.decide(np.asarray(answers.predictions))
        return {name: float(function(truth, predicted)) for name, function in functions.items()}

    return compute
