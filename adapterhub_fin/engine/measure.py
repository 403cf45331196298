"""Measure answers against the truth with every metric that is offered for a head's kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterhub_fin.descriptions import Head, Metric
from adapterhub_fin.errors import UnknownName
from adapterhub_fin.extensions import extensions

if TYPE_CHECKING:
    from adapterhub_fin.interfaces import HeadImplementation


def metrics_for(head: str) -> Mapping[str, Metric]:
    """The metrics by which a head is measured, by name."""
    kind = extensions().get(Head, head).metrics
    return {name: metric for name, metric in extensions().all(Metric).items() if metric.measures == kind}


def metric_for(head: str, name: str) -> Metric:
    """One metric of a head; UnknownName lists those it has."""
    offered = metrics_for(head)
    if name not in offered:
        raise UnknownName(f"metric of head {head!r}", name, offered)
    return offered[name]


def metric_functions(head: str) -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """What computes each metric of a head from the truth and what was said."""
    return {name: metric.load() for name, metric in metrics_for(head).items()}


def measured(head: str, implementation: HeadImplementation) -> Callable[[Any], dict[str, float]]:
    """Trainer's compute_metrics: every metric of the head, on its decided answers."""
    functions = metric_functions(head)

    def compute(answers: Any) -> dict[str, float]:
        truth = implementation.truth(np.asarray(answers.label_ids))
        predicted = implementation.decide(np.asarray(answers.predictions))
        return {name: float(function(truth, predicted)) for name, function in functions.items()}

    return compute
