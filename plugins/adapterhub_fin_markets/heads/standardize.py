"""Read the numbers of rows and standardise them by what the training rows say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adapterhub_fin.plugin import BadCorpus


def number(value: Any) -> float:
    """Return a target as a float. Raises BadCorpus where it is none, or not finite."""
    try:
        read = float(value)
    except (TypeError, ValueError):
        raise BadCorpus(f"the target {value!r} is no number") from None
    if not math.isfinite(read):
        raise BadCorpus(f"the target {value!r} is not finite: drop the row")
    return read


def numbers_of(row: Mapping[str, Any], index: int, count: int | None = None) -> list[float]:
    """Return a row's numbers, NaN where one is None or NaN.

    Raises BadCorpus where there are none, not `count` of them, or one isn't a number or is infinite.
    """
    cell = row.get("features")
    if cell is None or isinstance(cell, str | bytes):
        raise BadCorpus(f"row {index} has no features: give {count or 'its'} numbers, None for one that is missing")
    try:
        read = [math.nan if value is None else float(value) for value in cell]
    except (TypeError, ValueError):
        raise BadCorpus(f"the features of row {index} are no list of numbers: {cell!r}") from None
    if count is not None and len(read) != count:
        raise BadCorpus(f"row {index} has {len(read)} features, and the head was trained on {count}: give those")
    if any(math.isinf(value) for value in read):
        raise BadCorpus(f"row {index} has an infinite feature: give None where it is undefined")
    return read


def fit_mean_and_sd(cells: Sequence[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation (ddof 0) of each number over the rows that have it.

    A number that no row has, or that never differs, gets the standard deviation 0, by which it is read as missing:
    nothing was learnt about another value of it. Raises BadCorpus for a row that can't be read, or that has more or
    fewer numbers than the first, and where none of the numbers differs.
    """
    first = len(numbers_of({"features": cells[0]}, 0)) if len(cells) else 0
    if not first:
        raise BadCorpus("the training rows have no features: name some in the corpus, or let the head read text alone")
    table = np.array([numbers_of({"features": cell}, row, first) for row, cell in enumerate(cells)])
    there = np.isfinite(table)
    count = np.maximum(there.sum(0), 1)
    mean = np.where(there, table, 0.0).sum(0) / count
    sd = np.sqrt(np.where(there, (table - mean) ** 2, 0.0).sum(0) / count)
    sd = np.where(sd > 1e-12 * np.abs(mean), sd, 0.0)  # of equal numbers, what is left is rounding
    if not sd.any():
        raise BadCorpus("no number differs among the training rows: name others in the corpus, or read text alone")
    return tuple(mean.tolist()), tuple(sd.tolist())


def standardized(values: Sequence[float], mean: Sequence[float], sd: Sequence[float]) -> list[float]:
    """Return (value - mean) / sd of each, 0 where one is missing, and then a bit for each that is missing.

    A number whose sd is 0 is missing in every row, in training and in answers.
    """
    missing = [math.isnan(value) or scale == 0 for value, scale in zip(values, sd, strict=True)]
    scaled = [
        0.0 if gone else (value - centre) / scale
        for value, gone, centre, scale in zip(values, missing, mean, sd, strict=True)
    ]
    return [*scaled, *map(float, missing)]
