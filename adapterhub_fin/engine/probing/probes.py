"""Fit linear probes to the vectors of a layer: scikit-learn, standardised, cross-validated over units of rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.probing.states import States
from adapterhub_fin.engine.probing.targets import Targets
from adapterhub_fin.plugin.progress_lines import progress
from adapterhub_fin.stats.bootstrap import percentile, resampled_means
from adapterhub_fin.stats.corrections import holm
from adapterhub_fin.stats.paired import sign_flip
from adapterhub_fin.stats.representations import LEVEL, Measured
from adapterhub_fin.stats.undefined import Undefined

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

FOLDS: Final = 5
PENALTIES: Final = {"labels": (0.001, 0.01, 0.1, 1.0), "numbers": (1e4, 1e3, 100.0, 10.0)}  # the strongest first
EPSILON: Final = 1e-4  # of a layer's spread: added to each dimension's, some of which are constant


@dataclass(frozen=True)
class LayerProbe:
    """Hold the cross-validated scores of a layer's probes, and tuned minus base on the same rows and folds.

    The layer 0 is the embeddings. `p` is of the permutation test of the difference, `p_corrected` Holm's over all
    layers.
    """

    layer: int
    base: Measured
    tuned: Measured
    difference: Measured
    p: float
    p_corrected: float


@dataclass(frozen=True)
class Fold:
    """Hold which rows a probe is fitted to and which it answers, and a division of the former, to choose a penalty."""

    train: np.ndarray
    test: np.ndarray
    fitted: np.ndarray  # of train
    held_out: np.ndarray  # of train


def probe_layers(
    states: States, targets: Targets, units: np.ndarray, *, folds: int, resamples: int, seed: int
) -> list[LayerProbe]:
    """Return the probes of each layer of the base and of the version; `units`, (rows,), are integers.

    Raises Undefined where rows are too few to divide.
    """
    divided = list(divide_units(targets, units, folds, seed))
    scores = []
    with progress("probing", 2 * len(states.base)) as advance:
        for layers in zip(states.base, states.tuned, strict=True):
            for vectors in layers:
                scores.append(targets.scores(cross_validated(vectors, targets, divided)))
                advance(1)
    return compared(np.stack(scores, 1), units, resamples=resamples, seed=seed)


def compared(scores: np.ndarray, units: np.ndarray, *, resamples: int, seed: int) -> list[LayerProbe]:
    """Return the probes of each layer from the scores of rows, (rows, 2 * layers): of base and tuned in turn.

    Intervals draw the units with replacement, the same for all layers and both models; the folds are not drawn again.
    """
    sums = np.zeros((int(units.max()) + 1, scores.shape[1]))
    np.add.at(sums, units, scores)
    drawn = resampled_means(scores, np.ones(scores.shape), units, resamples=resamples, seed=seed)
    means = scores.mean(0)
    base, tuned = slice(0, None, 2), slice(1, None, 2)
    ps = [sign_flip(differences, seed=seed).p for differences in (sums[:, tuned] - sums[:, base]).T]
    return [
        LayerProbe(
            layer=layer,
            base=Measured(float(means[2 * layer]), percentile(drawn[:, 2 * layer], LEVEL)),
            tuned=Measured(float(means[2 * layer + 1]), percentile(drawn[:, 2 * layer + 1], LEVEL)),
            difference=Measured(
                float(means[2 * layer + 1] - means[2 * layer]),
                percentile(drawn[:, 2 * layer + 1] - drawn[:, 2 * layer], LEVEL),
            ),
            p=p,
            p_corrected=float(corrected),
        )
        for layer, (p, corrected) in enumerate(zip(ps, holm(ps), strict=True))
    ]


def divide_units(targets: Targets, units: np.ndarray, folds: int, seed: int) -> Iterator[Fold]:
    """Yield the folds: no unit is in two, and labels are spread over them. Raises Undefined for fewer units than two.

    `units`, (rows,), are integers. With fewer units than `folds`, there are as many folds as units.
    """
    count = len(np.unique(units))
    if count < 2:
        raise Undefined(f"{len(units):,} rows belong together as one group or text: folds need two")
    every = np.arange(len(units))
    for train, test in _splits(targets, units, every, min(folds, count), seed):
        inner = len(np.unique(units[train]))
        fitted, held_out = (
            next(_splits(targets, units, train, min(folds, inner), seed)) if inner > 1 else (train, train)
        )
        yield Fold(train, test, fitted, held_out)


def _splits(
    targets: Targets, units: np.ndarray, rows: np.ndarray, folds: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedGroupKFold

    strata = np.zeros(len(rows), dtype=int) if targets.kind == "numbers" else targets.groups()[rows]
    if np.bincount(strata).max() < folds:  # nearly each row has labels of its own
        strata = np.zeros(len(rows), dtype=int)
    splitter: Any = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # it is spread as far as it goes
        for train, test in splitter.split(np.zeros(len(rows)), strata, units[rows]):
            if len(train) and len(test):
                yield rows[train], rows[test]


def cross_validated(vectors: np.ndarray, targets: Targets, folds: Sequence[Fold]) -> np.ndarray:
    """Return the answers to each row of probes that were fitted without its fold, in the form of the targets' values.

    `vectors` are (rows, hidden).

    In each fold the penalty is the one that does best on a part of the rows that the probe is fitted to.
    """
    answers = np.zeros(targets.values.shape, dtype=targets.values.dtype)
    for fold in folds:
        penalties = PENALTIES["numbers" if targets.kind == "numbers" else "labels"]
        reached = [
            targets.scores(_answered(vectors, targets, fold.fitted, fold.held_out, penalty, answers))[
                fold.held_out
            ].mean()
            for penalty in penalties
        ]
        chosen = penalties[int(np.argmax(reached))]  # of equals the strongest
        answers = _answered(vectors, targets, fold.train, fold.test, chosen, answers)
    return answers


def _answered(
    vectors: np.ndarray, targets: Targets, train: np.ndarray, test: np.ndarray, penalty: float, answers: np.ndarray
) -> np.ndarray:
    """Return the answers with those to the rows `test` put in, by a probe that was fitted to `train`."""
    given, inputs = answers.copy(), standardised(vectors, train)
    columns = targets.values if targets.values.ndim == 2 else targets.values[:, None]
    fitted = [_fit(targets.kind, inputs[train], column[train], penalty) for column in columns.T]
    by_column = np.stack(
        [np.full(len(test), one) if isinstance(one, float) else one.predict(inputs[test]) for one in fitted], 1
    )
    given[test] = by_column if targets.values.ndim == 2 else by_column[:, 0]
    return given


def _fit(kind: str, inputs: np.ndarray, values: np.ndarray, penalty: float) -> Any:
    """Return a fitted model, or the value that all rows have."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if len(np.unique(values)) == 1:
        return float(values[0])
    if kind == "numbers":
        return Ridge(alpha=penalty).fit(inputs, values)
    return LogisticRegression(C=penalty, max_iter=2000).fit(inputs, values)


def standardised(vectors: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return vectors (rows, hidden), each dimension of mean 0 and spread 1 over the rows `train`, or 0 if constant."""
    values = vectors.astype(np.float64)
    centred, spread = values - values[train].mean(0), values[train].std(0)
    least = EPSILON * max(float(np.sqrt(np.mean(spread**2))), float(np.finfo(np.float32).tiny))
    scaled: np.ndarray = centred / (spread + least)
    return scaled
