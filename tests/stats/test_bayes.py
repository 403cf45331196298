"""The Bayesian t-test: published values, and an independent integration over the noncentral t."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, optimize
from scipy import stats as scipy_stats

from adapterhub_fin.stats.bayes import SCALE, jzs, log_bayes_factor


def sample(t: float, n: int) -> np.ndarray:
    """Return n differences whose one-sample t is exactly t."""
    values = np.arange(n) - (n - 1) / 2
    values = values / values.std(ddof=1)
    return values + t / math.sqrt(n)


@pytest.mark.parametrize(("t", "n", "factor"), [(3.5, 20, 17.184616), (0.0, 25, 0.210806), (2.24, 80, 1.298486)])
def test_factors_as_printed(t: float, n: int, factor: float) -> None:
    result = jzs(sample(t, n), np.zeros(n))
    assert result.factor == pytest.approx(factor, abs=1e-6) == 10**result.log10_factor


def test_ten_rows() -> None:
    result = jzs([0.8, 0.3, -0.1, 0.5, 0.9, 0.2, 0.4, -0.3, 0.6, 0.7], np.zeros(10))
    assert result.factor == pytest.approx(6.428107, abs=1e-6)


@pytest.mark.parametrize(("t", "n"), [(2.0, 2), (1.5, 3), (-0.5, 5), (3.278, 10), (-1.0, 30), (2.24, 80)])
@pytest.mark.parametrize("scale", [SCALE, 0.3])
def test_the_noncentral_t_gives_the_same(t: float, n: int, scale: float) -> None:
    """The factor and the posterior, from another form of the likelihood and another quadrature."""

    def density(delta: float) -> float:
        prior = scipy_stats.cauchy.pdf(delta, 0, scale)
        return float(scipy_stats.nct.pdf(t, n - 1, delta * math.sqrt(n)) * prior)

    centre = t / math.sqrt(n)
    cuts = [-400, -20, -5, *sorted({-1, 0, 1, centre}), 5, 20, 400]
    pieces = [integrate.quad(density, *ends, epsabs=1e-14, limit=200)[0] for ends in itertools.pairwise(cuts)]
    whole = sum(pieces)
    assert math.exp(log_bayes_factor(t, n, scale)) == pytest.approx(whole / scipy_stats.t.pdf(t, n - 1), rel=1e-6)
    result = jzs(sample(t, n), np.zeros(n), scale=scale)
    above = sum(piece for piece, start in zip(pieces, cuts, strict=False) if start >= 0)
    assert result.improvement == pytest.approx(above / whole, abs=1e-6)
    for quantile, end in zip((0.025, 0.975), result.effect, strict=True):
        below = [start for start in cuts if start < end]
        share = sum(pieces[: len(below) - 1]) + integrate.quad(density, below[-1], end, epsabs=1e-14)[0]
        slope = density(end) / whole
        assert abs(share / whole - quantile) < max(1e-6 * slope, 1e-7)
    assert result.difference == pytest.approx(result.effect)  # the sample's deviation is 1


def test_overwhelming_evidence_is_a_logarithm() -> None:
    result = jzs(sample(60.0, 5000), np.zeros(5000))
    assert result.factor is not None or result.log10_factor > 308
    far = jzs(sample(100.0, 5000), np.zeros(5000))
    assert far.factor is None and 308 < far.log10_factor < 2000 and far.improvement == 1.0
    assert math.isclose(sum(far.effect) / 2, 100 / math.sqrt(5000), rel_tol=1e-3)
    assert optimize.brentq(lambda t: log_bayes_factor(t, 5000), 2, 5) > 2.5  # a t that p < 0.05 would take for evidence
