"""Blocks of the stationary bootstrap: length and draws are arch's, to the last row."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.stats.blocks import block_length, stationary_rows

CASES = int(os.environ.get("AHF_CASES", "60"))


def walk(noise: np.ndarray) -> np.ndarray:
    return np.cumsum(noise, axis=0)


def one_day(noise: np.ndarray) -> np.ndarray:
    """Return a series that varies on one day alone: most of its autocorrelations have no variance."""
    return np.where(np.arange(len(noise))[:, None] == len(noise) // 3, noise, 0.0)


def waves(noise: np.ndarray) -> np.ndarray:
    return np.sin(np.arange(len(noise)) / 4)[:, None] + noise / 100


def flat(noise: np.ndarray) -> np.ndarray:
    """Return a series whose first column is constant, of which no length follows."""
    return noise * (np.arange(noise.shape[1]) > 0)


SHAPES = {
    "noise": lambda noise: noise,
    "walk": walk,
    "rounded": np.round,
    "one day": one_day,
    "flat": flat,
    "waves": waves,
}


@settings(max_examples=CASES, deadline=None)
@given(
    rows=st.integers(8, 600), columns=st.integers(1, 3), shape=st.sampled_from(sorted(SHAPES)), seed=st.integers(0, 999)
)
def test_the_length_is_that_of_arch(rows: int, columns: int, shape: str, seed: int) -> None:
    series = SHAPES[shape](np.random.default_rng(seed).normal(size=(rows, columns)))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        theirs = max(1.0, float(optimal_block_length(series)["stationary"].max()))
    assert block_length(series) == pytest.approx(theirs, rel=1e-12)
    if columns == 1:
        assert block_length(series[:, 0]) == block_length(series)


@settings(max_examples=CASES, deadline=None)
@given(rows=st.integers(1, 300), block=st.floats(1, 400), seed=st.integers(0, 999))
def test_the_draws_are_those_of_arch(rows: int, block: float, seed: int) -> None:
    bootstrap = StationaryBootstrap(block, np.arange(rows), seed=seed)  # type: ignore[arg-type]  # a mean length
    theirs = [data[0].tolist() for data, _ in bootstrap.bootstrap(5)]
    assert [drawn.tolist() for drawn in stationary_rows(rows, block, 5, seed)] == theirs
