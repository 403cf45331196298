"""Scale features by what was known until an instant: a mean and a spread, or the ranks of the values until then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from adapterhub_fin.plugin import BadCorpus

QUANTILES = 1001  # of the values that ranks are read from


@dataclass(frozen=True, eq=False)
class Scaler:
    """Hold what was fitted to values (rows, features) that were known before `fitted_before`, (features,) each."""

    mean: np.ndarray
    sd: np.ndarray
    quantiles: np.ndarray  # (QUANTILES, features)
    rows: int

    def scale(self, values: np.ndarray, how: Literal["rank", "z-score"]) -> np.ndarray:
        """Return z-scores, or ranks between 0 and 1, of values (rows, features); NaN stays."""
        if how == "z-score":
            scores: np.ndarray = (values - self.mean) / self.sd
            return scores
        scaled = np.full(values.shape, np.nan)
        for column in range(values.shape[1]):
            there = np.isfinite(values[:, column])
            low, high = (
                np.searchsorted(self.quantiles[:, column], values[there, column], side=side)
                for side in ("left", "right")
            )
            scaled[there, column] = (low + high) / 2 / QUANTILES
        return scaled


def fit_scaler(values: np.ndarray, names: tuple[str, ...]) -> Scaler:
    """Return a scaler of values (rows, features). Raises BadCorpus where a feature has no two different values."""
    for column, name in enumerate(names):
        there = values[np.isfinite(values[:, column]), column]
        if len(there) < 2 or there.min() == there.max():
            raise BadCorpus(
                f"the feature {name} has no two different values before fitted_before: move it later, or leave it out"
            )
    return Scaler(
        mean=np.nanmean(values, 0),
        sd=np.nanstd(values, 0),
        quantiles=np.nanquantile(values, np.linspace(0, 1, QUANTILES), 0),
        rows=len(values),
    )
