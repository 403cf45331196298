"""Weigh training rows: by their column `weight`, and by how rare their label or the size of their target is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from adapterhub_fin.recipe.sampling import Sampling
else:
    np = Lazy("numpy")

WEIGHT, REPEAT = "weight", "repeat"  # columns of a corpus


def repeated(rows: Dataset) -> Dataset:
    """Return training rows, each as often as its column `repeat` says: those of a mixture's corpora."""
    if REPEAT not in rows.column_names:
        return rows
    return rows.select([index for index, times in enumerate(rows[REPEAT]) for _ in range(times)])


def with_draws(rows: Dataset, sampling: Sampling | None) -> Dataset:
    """Return training rows whose column `weight` says how often an epoch draws each, if not all alike; the mean is 1.

    Raises BadRecipe as `row_weights`.
    """
    again = repeated(rows)
    weights = row_weights(again, sampling)
    if weights is None and len(again) == len(rows):
        return rows
    times = rows[REPEAT][:] if REPEAT in rows.column_names else [1] * len(rows)
    owners = np.repeat(np.arange(len(rows)), times)
    drawn = np.bincount(owners, weights, minlength=len(rows))
    column = [float(often) for often in drawn * len(rows) / drawn.sum()]
    return rows.remove_columns([WEIGHT] if WEIGHT in rows.column_names else []).add_column(WEIGHT, column)


def row_weights(rows: Dataset, sampling: Sampling | None) -> Sequence[float] | None:
    """Return how often each training row is drawn beside the others, (rows,), their mean 1; None where all are alike.

    Raises BadRecipe where no row has a weight, and where the rows lack what `sampling` looks at.
    """
    if WEIGHT not in rows.column_names and sampling is None:
        return None
    weights = np.array(rows[WEIGHT][:], float) if WEIGHT in rows.column_names else np.ones(len(rows))
    if sampling is not None:
        weights = weights * _rarity(_kinds(rows, sampling), sampling)
    if not weights.sum() > 0:
        raise BadRecipe("every training row has the weight 0: give some rows a weight above it")
    weights = weights * len(weights) / weights.sum()
    if sampling is not None:
        weights = np.minimum(weights, sampling.cap)
    return [float(weight) for weight in weights * len(weights) / weights.sum()]


def _kinds(rows: Dataset, sampling: Sampling) -> Sequence[Hashable]:
    column = "label" if sampling.by == "label" else "target"
    if column not in rows.column_names:
        raise BadRecipe(
            f"training.sampling by {sampling.by} looks at the column {column!r}, which the corpus lacks; it has "
            f"{', '.join(rows.column_names)}"
        )
    if column == "label":
        return [str(label) for label in rows["label"]]
    targets = np.array(rows["target"][:], float)
    others = targets[targets != 0]
    if not len(others):
        return [-1] * len(targets)
    edges = np.linspace(others.min(), others.max(), sampling.buckets + 1)[1:-1]
    buckets = np.digitize(targets, edges)
    return [-1 if target == 0 else int(bucket) for target, bucket in zip(targets, buckets, strict=True)]


def _rarity(kinds: Sequence[Hashable], sampling: Sampling) -> np.ndarray:
    """Return the inverse of how many rows are of each row's kind, to the power that `sampling` gives, (rows,)."""
    counts = Counter(kinds)
    weights: np.ndarray = np.array([counts[kind] for kind in kinds], float) ** -sampling.power
    return weights
