"""Score predictions era by era: Numerai's correlation and contribution, rank IC, and direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from adapterhub_fin.stats.undefined import Undefined, finite


@dataclass(frozen=True)
class EraScores:
    """Hold one score an era, and what Numerai reads off them."""

    eras: tuple[str, ...]
    scores: np.ndarray  # (eras,)
    undefined: Mapping[str, str] = field(default_factory=dict)  # eras that were left out, with the reason

    @property
    def mean(self) -> float:
        """Return the mean over eras."""
        return float(self.scores.mean())

    @property
    def sd(self) -> float | None:
        """Return the standard deviation over eras, over n - 1; None of one era."""
        return float(self.scores.std(ddof=1)) if len(self.scores) > 1 else None

    @property
    def ratio(self) -> float | None:
        """Return mean over deviation, which Numerai calls Sharpe; None where the eras don't vary."""
        return self.mean / self.sd if self.sd else None


def numerai_correlation(predictions: ArrayLike, target: ArrayLike, *, heavy_tails: bool = True) -> float:
    """Return Numerai's correlation of one era: of gaussianised ranks to the power 1.5 and the centred target.

    The target is centred, and put to the power of 1.5 too unless `heavy_tails` is false; signs stay. Raises Undefined
    for fewer than 2 rows, other lengths, a number that isn't finite, and predictions or a target that don't vary.
    """
    first, second = _checked(predictions, target)
    centred = second - second.mean()
    return _pearson(_powered(gaussianised(first)), _powered(centred) if heavy_tails else centred)


def numerai_contribution(predictions: ArrayLike, meta: ArrayLike, target: ArrayLike, *, quarters: bool = True) -> float:
    """Return what predictions add to a meta model in one era: the covariance with the target of what is left of them.

    Both are gaussianised ranks; the meta model is projected out of the predictions. Numerai's targets go from 0 to 1 in
    quarters, and count in quarters; `quarters=False` takes the target as it is. Raises Undefined as
    `numerai_correlation`.
    """
    first, second = _checked(predictions, target)
    other = gaussianised(_checked(meta, target)[0])
    mine = gaussianised(first)
    left = mine - other * (mine @ other) / (other @ other)
    centred = second - second.mean()
    return float(centred @ left) / len(centred) * (4 if quarters else 1)


def rank_ic(predictions: ArrayLike, target: ArrayLike) -> float:
    """Return Spearman's correlation of one era, whose ties have mean ranks. Raises Undefined as the others."""
    first, second = _checked(predictions, target)
    return _pearson(stats.rankdata(first), stats.rankdata(second))


def gaussianised(values: np.ndarray) -> np.ndarray:
    """Return standard normal quantiles of the ranks of values (rows,), at (rank - 0.5) / rows; ties have mean ranks."""
    quantiles: np.ndarray = stats.norm.ppf((stats.rankdata(values) - 0.5) / len(values))
    return quantiles


def neutralised(predictions: ArrayLike, factors: ArrayLike, share: float = 1.0) -> np.ndarray:
    """Return the gaussianised predictions less a share of what factors (rows, factors) explain of them, (rows,).

    A constant is among the factors, so that the result is centred. It has the deviation 1. Raises Undefined where
    nothing is left of them.
    """
    values = finite(predictions, least=2)
    explaining = np.asarray(factors, dtype=np.float64).reshape(len(values), -1)
    if not np.isfinite(explaining).all():
        raise Undefined("a factor is NaN or infinite")
    mine = gaussianised(values)
    design = np.column_stack([np.ones(len(values)), explaining])
    left = mine - share * design @ np.linalg.lstsq(design, mine, rcond=None)[0]
    spread = float(left.std())
    if spread <= 1e-9 * float(mine.std() or 1):
        raise Undefined("the factors explain all of the predictions: nothing is left of them")
    result: np.ndarray = left / spread
    return result


def by_era(score: Callable[..., float], eras: ArrayLike, *columns: ArrayLike) -> EraScores:
    """Return a score of each era, in the order of their names; `eras` and each column have one item a row.

    Raises Undefined, which names the era, where one has no score: it is not left out.
    """
    names, codes = np.unique(np.asarray(eras).astype(str), return_inverse=True)
    read = [np.asarray(column, dtype=np.float64) for column in columns]
    return score_rows(score, names.tolist(), rows_by_era(codes, len(names)), read)


def rows_by_era(codes: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the rows of each of `count` eras, by the era's number of each row, (rows,), in the rows' order."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.searchsorted(codes[order], np.arange(1, count)))


def score_rows(
    score: Callable[..., float],
    names: Sequence[str],
    rows: Sequence[np.ndarray],
    columns: Sequence[np.ndarray],
    *,
    leave_out: bool = False,
) -> EraScores:
    """Return a score of each era of the columns, (rows,) each, by the era's rows, in the order given.

    With `leave_out`, an era without a score is in `undefined`. Raises Undefined, which names the era, without it, and
    where none is left.
    """
    scored: dict[str, float] = {}
    undefined: dict[str, str] = {}
    for name, of in zip(names, rows, strict=True):
        try:
            scored[name] = score(*(column[of] for column in columns))
        except Undefined as error:
            if not leave_out:
                raise Undefined(f"era {name}: {error}") from error
            undefined[name] = str(error)
    if not scored:
        raise Undefined(f"no era has a score: era {names[0]}: {undefined[names[0]]}" if names else "there is no era")
    return EraScores(tuple(scored), np.array([*scored.values()]), undefined)


def _checked(predictions: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = finite(predictions, least=2), finite(target, least=2)
    if len(first) != len(second):
        raise Undefined(f"{len(first):,} predictions and {len(second):,} targets: it needs one of each for every row")
    if first.min() == first.max():
        raise Undefined("all predictions are equal")
    if second.min() == second.max():
        raise Undefined("all targets are equal")
    return first, second


def _powered(values: np.ndarray) -> np.ndarray:
    powered: np.ndarray = np.sign(values) * np.abs(values) ** 1.5
    return powered


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    one, other = a - a.mean(), b - b.mean()
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))
