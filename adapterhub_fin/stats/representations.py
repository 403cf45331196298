"""Compare two sets of vectors of the same rows: linear CKA, mean cosines of pairs, principal components.

Vectors of a layer are an array (rows, hidden). Each function raises Undefined with the reason where the data leave a
value undefined: none returns NaN or infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.stats.undefined import Undefined

if TYPE_CHECKING:
    import numpy as np
    from scipy import stats
else:
    np = Lazy("numpy")
    stats = Lazy("scipy.stats")

LEVEL: Final = 0.95
BLOCK: Final = 4_000_000  # elements of the layers' kernel matrices that are in memory at a time
SAME: Final = "the vectors of all rows are the same"


def cka(base: Sequence[np.ndarray], tuned: Sequence[np.ndarray], *, debiased: bool = False) -> list[list[float | None]]:
    """Return linear CKA between each layer of one model (down) and of another (across), on the same rows.

    It is Kornblith et al.'s (arXiv 1905.00414): HSIC of two layers over the root of their own HSICs, 1 where one is a
    rotated and scaled copy of the other. That is near 1 for any two layers where dimensions outnumber rows. `debiased`
    takes the unbiased HSIC instead (Song et al. 2012; Nguyen, Raghu and Kornblith, arXiv 2010.15327, equation 3), of
    all rows and not of minibatches: about 0 for unrelated layers, and possibly negative. None stands where a layer has
    the same vector, (hidden,), for all rows. Raises Undefined for fewer rows than 2, or 4 where debiased.
    """
    rows, least = len(base[0]), 4 if debiased else 2
    if rows < least:
        raise Undefined(f"{rows:,} rows: it needs at least {least}")
    products = _kernel_products([_scaled(layer) for layer in (*base, *tuned)], debiased)
    own = np.diag(products)
    empty = own <= 1e-18 * rows**2  # of vectors with a mean square of 1
    return [
        [
            None if empty[row] or empty[column] else float(products[row, column] / np.sqrt(own[row] * own[column]))
            for column in range(len(base), len(own))
        ]
        for row in range(len(base))
    ]


def _scaled(vectors: np.ndarray) -> np.ndarray:
    """Return vectors with their mean at 0 and a mean square length of 1; zeros where they vary by rounding alone."""
    values = _finite(vectors)
    centred = values - values.mean(0)
    length, largest = np.sqrt(np.mean((centred**2).sum(1))), np.abs(values).max()
    if length <= 8 * np.finfo(np.float32).eps * largest:  # of states that were computed in float32
        return np.zeros_like(centred)
    scaled: np.ndarray = centred / length
    return scaled


def _kernel_products(layers: Sequence[np.ndarray], debiased: bool) -> np.ndarray:
    """Return the inner products of the layers' centred kernel matrices, (layers, layers): HSIC up to one factor.

    The layers are centred. Their kernels are centred for the unbiased HSIC as Szekely and Rizzo do (2014): the sum over
    i != j of such products is Song's estimate.
    """
    rows, products = len(layers[0]), np.zeros((len(layers), len(layers)))
    squares = [(layer**2).sum(1) for layer in layers]
    size = max(1, BLOCK // (rows * len(layers)))
    for start in range(0, rows, size):
        block = np.arange(start, min(start + size, rows))
        kernels = []
        for layer, square in zip(layers, squares, strict=True):
            kernel = layer[block] @ layer.T
            if debiased:  # the row sums without the diagonal are -square
                kernel += (square[block][:, None] + square) / (rows - 2) - square.sum() / ((rows - 1) * (rows - 2))
                kernel[np.arange(len(block)), block] = 0.0
            kernels.append(kernel.ravel())
        stacked = np.stack(kernels)
        products += stacked @ stacked.T
    return products


@dataclass(frozen=True)
class Measured:
    """Hold a value with its 95 % interval; None for an interval that the data leave undefined."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Jackknife:
    """Hold a statistic of all units and, (units,), of all but each one; NaN where that leaves it undefined."""

    value: float
    without: np.ndarray

    def minus(self, other: Jackknife) -> Jackknife:
        """Return the difference of two statistics of the same units."""
        return Jackknife(self.value - other.value, self.without - other.without)

    def measured(self) -> Measured:
        """Return the value with its interval by the delete-one jackknife (Arvesen 1969, for means over pairs)."""
        units = len(self.without)
        if units < 2 or not np.isfinite(self.without).all():
            return Measured(self.value, None)
        error = np.sqrt((units - 1) / units * ((self.without - self.without.mean()) ** 2).sum())
        half = float(stats.t.ppf((1 + LEVEL) / 2, units - 1) * error)
        return Measured(self.value, (self.value - half, self.value + half))


def anisotropy(vectors: np.ndarray, units: np.ndarray) -> Jackknife:
    """Return the mean cosine of all pairs of rows (Ethayarajh, arXiv 1909.00512): 0 where directions are spread evenly.

    `units`, (rows,), are integers: the interval leaves out the rows of one unit at a time. Raises Undefined for fewer
    than two rows, and for a vector of zeros.
    """
    return _mean_cosine(*_pairs(_directions(vectors), np.zeros(len(vectors), dtype=int), units))


def mean_cosines(vectors: np.ndarray, labels: np.ndarray, units: np.ndarray) -> tuple[Jackknife, Jackknife]:
    """Return the mean cosine of pairs of rows with one label, and of pairs with two; `labels`, (rows,), are integers.

    Raises Undefined as `anisotropy`, and where there is no pair of the one kind or the other.
    """
    directions = _directions(vectors)
    every = _pairs(directions, np.zeros(len(vectors), dtype=int), units)
    within = _pairs(directions, labels, units)
    if within[1] == 0:
        raise Undefined("no two rows have one label")
    if within[1] == every[1]:
        raise Undefined("the rows have one label")
    between = (every[0] - within[0], every[1] - within[1], every[2] - within[2], every[3] - within[3])
    return _mean_cosine(*within), _mean_cosine(*between)


def _directions(vectors: np.ndarray) -> np.ndarray:
    values = _finite(vectors)
    if len(values) < 2:
        raise Undefined(f"{len(values):,} rows: it needs at least 2")
    lengths = np.linalg.norm(values, axis=1)
    if not lengths.all():
        raise Undefined(f"the vector of row {int(np.argmin(lengths))} is zero, and has no direction")
    directions: np.ndarray = values / lengths[:, None]
    return directions


def _pairs(directions: np.ndarray, labels: np.ndarray, units: np.ndarray) -> tuple[float, int, np.ndarray, np.ndarray]:
    """Return the sum of the cosines of pairs with one label and their number; and both without each unit, (units,).

    The sum over the pairs of a label is half of what the squared length of the sum of its directions has above its
    number of rows, so that no matrix of pairs is needed.
    """
    _, labels = np.unique(labels, return_inverse=True)
    _, units = np.unique(units, return_inverse=True)
    sums, counts = _summed(directions, labels)
    _, of_cell, cells = np.unique(np.stack([units, labels]), axis=1, return_index=True, return_inverse=True)
    cell_sums, cell_counts = _summed(directions, cells.ravel())
    label, unit = labels[of_cell], units[of_cell]
    total = float((sums**2).sum() - counts.sum()) / 2
    pairs = int((counts * (counts - 1)).sum()) // 2
    lost = (2 * (sums[label] * cell_sums).sum(1) - (cell_sums**2).sum(1) - cell_counts) / 2
    lost_pairs = (
        counts[label] * (counts[label] - 1) - (counts[label] - cell_counts) * (counts[label] - cell_counts - 1)
    ) // 2
    return total, pairs, total - np.bincount(unit, lost), pairs - np.bincount(unit, lost_pairs)


def _summed(rows: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of the rows of each key, (keys, hidden), and their numbers, (keys,)."""
    sums = np.zeros((int(keys.max()) + 1, rows.shape[1]))
    np.add.at(sums, keys, rows)
    return sums, np.bincount(keys)


def _mean_cosine(total: float, pairs: float, totals: np.ndarray, counts: np.ndarray) -> Jackknife:
    without = np.full(len(totals), np.nan)
    np.divide(totals, counts, out=without, where=counts > 0.5)
    return Jackknife(total / pairs, without)


@dataclass(frozen=True)
class Components:
    """Hold two models' vectors on common axes, (rows, axes) each, and the share of all variance on each axis."""

    base: np.ndarray
    tuned: np.ndarray
    shares: Sequence[float]


def principal_components(base: np.ndarray, tuned: np.ndarray, axes: int = 2) -> Components:
    """Return the first principal components of two models' vectors, (rows, hidden) each, fitted to both together.

    The sign of an axis is such that its largest loading is positive. Raises Undefined where no vector differs from
    another.
    """
    both = _finite(np.concatenate([base, tuned]))
    centred = both - both.mean(0)
    if not _scaled(both).any():
        raise Undefined(SAME)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    axes = min(axes, len(directions))
    top = directions[:axes]
    top = top * np.sign(top[np.arange(axes), np.abs(top).argmax(1)])[:, None]
    scores = centred @ top.T
    shares = (lengths**2 / (lengths**2).sum())[:axes]
    return Components(scores[: len(base)], scores[len(base) :], shares.tolist())


def _finite(vectors: np.ndarray) -> np.ndarray:
    values = np.asarray(vectors, dtype=np.float64)
    if not np.isfinite(values).all():
        raise Undefined("a vector holds NaN or infinity")
    return values
