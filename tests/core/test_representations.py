"""CKA, mean cosines and principal components beside formulas that are written out, and beside scikit-learn."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA

from adapterhub_fin.stats import representations
from adapterhub_fin.stats.representations import anisotropy, cka, mean_cosines, principal_components
from adapterhub_fin.stats.undefined import Undefined


def drawn(rows: int, hidden: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, hidden)) + 3.0


def hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Return HSIC with linear kernels as Gretton writes it: tr(KHLH) / (n - 1)^2."""
    n = len(x)
    centre = np.eye(n) - np.ones((n, n)) / n
    return float(np.trace(x @ x.T @ centre @ y @ y.T @ centre)) / (n - 1) ** 2


def unbiased_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Return equation 3 of arXiv 2010.15327."""
    n, one = len(x), np.ones(len(x))
    k, l = x @ x.T, y @ y.T  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return float(np.trace(k @ l) + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))


@pytest.mark.parametrize(("debiased", "formula"), [(False, hsic), (True, unbiased_hsic)])
def test_cka_is_the_papers_formula(debiased: bool, formula: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representations, "BLOCK", 7 * 20 * 4)  # 20 rows of four layers are three blocks
    base, tuned = [drawn(20, 3, 0), drawn(20, 8, 1)], [drawn(20, 5, 2), drawn(20, 40, 3)]
    tuned[0][:, :3] += base[0]
    measured = cka(base, tuned, debiased=debiased)
    for row, x in enumerate(base):
        for column, y in enumerate(tuned):
            expected = formula(x, y) / np.sqrt(formula(x, x) * formula(y, y))
            assert measured[row][column] == pytest.approx(expected, abs=1e-10)


def test_cka_sees_through_rotation_scale_and_shift_and_debiased_is_about_zero_for_strangers() -> None:
    x, noise = drawn(60, 6, 0), drawn(60, 500, 1)
    rotation = np.linalg.qr(drawn(6, 6, 2))[0]
    assert cka([x], [5 * x @ rotation + 7])[0][0] == pytest.approx(1)
    assert cka([x], [5 * x @ rotation + 7], debiased=True)[0][0] == pytest.approx(1)
    biased, debiased = cka([drawn(60, 500, 3)], [noise])[0][0], cka([drawn(60, 500, 3)], [noise], debiased=True)[0][0]
    assert biased is not None and biased > 0.8 and debiased == pytest.approx(0, abs=0.1)


def test_cka_of_a_layer_with_one_vector_is_none_and_of_too_few_rows_undefined() -> None:
    same = np.full((10, 4), 0.1, dtype=np.float32)
    same[3] += 1e-8
    assert cka([same, drawn(10, 4, 0)], [drawn(10, 4, 1)])[0] == [None]
    assert cka([same], [same], debiased=True) == [[None]]
    for rows, debiased in ((1, False), (3, True)):
        with pytest.raises(Undefined, match="rows: it needs at least"):
            cka([drawn(rows, 4, 0)], [drawn(rows, 4, 1)], debiased=debiased)
    with pytest.raises(Undefined, match="NaN"):
        cka([np.full((5, 2), np.nan)], [drawn(5, 2, 0)])


def by_pairs(vectors: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Return the mean cosine of all pairs, of those within labels and of those between."""
    cosines: dict[bool, list[float]] = {True: [], False: []}
    for i, j in combinations(range(len(vectors)), 2):
        x, y = vectors[i], vectors[j]
        cosines[bool(labels[i] == labels[j])].append(float(x @ y / np.sqrt((x @ x) * (y @ y))))
    return (
        float(np.mean([*cosines[True], *cosines[False]])),
        float(np.mean(cosines[True])),
        float(np.mean(cosines[False])),
    )


def test_mean_cosines_and_their_jackknife_are_those_of_all_pairs() -> None:
    vectors, labels = drawn(14, 3, 0), np.array([4, 9, 4, 4, 9, 9, 2, 2, 4, 9, 2, 2, 4, 9])
    units = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 8, 9])
    measured = (anisotropy(vectors, units), *mean_cosines(vectors, labels, units))
    assert [each.value for each in measured] == pytest.approx(list(by_pairs(vectors, labels)))
    left_out = [by_pairs(vectors[units != unit], labels[units != unit]) for unit in range(10)]
    for number, each in enumerate(measured):
        without = np.array([values[number] for values in left_out])
        assert each.without == pytest.approx(without)
        error = np.sqrt(9 / 10 * np.sum((without - without.mean()) ** 2))
        low, high = each.measured().interval or (0, 0)
        assert high - each.value == pytest.approx(stats.t.ppf(0.975, 9) * error) == each.value - low
    apart = measured[1].minus(measured[2])
    assert apart.value == pytest.approx(measured[1].value - measured[2].value)
    assert apart.without == pytest.approx(np.array([values[1] - values[2] for values in left_out]))


def test_the_jackknife_covers_the_mean_cosine_of_the_population() -> None:
    """Of 300 draws, 95 % within the binomial bounds."""
    centre, rng, hits = np.array([1.0, 0.5, 0.0, 0.0]), np.random.default_rng(0), 0
    big = rng.normal(size=(200_000, 4)) + centre
    true = float(np.sum((big / np.linalg.norm(big, axis=1, keepdims=True)).mean(0) ** 2))
    for _ in range(300):
        low, high = anisotropy(rng.normal(size=(40, 4)) + centre, np.arange(40)).measured().interval or (0, 0)
        hits += low <= true <= high
    assert 0.91 <= hits / 300 <= 0.99


def test_cosines_that_are_undefined_say_why() -> None:
    vectors, units = drawn(6, 3, 0), np.arange(6)
    with pytest.raises(Undefined, match="1 rows: it needs at least 2"):
        anisotropy(vectors[:1], units[:1])
    with pytest.raises(Undefined, match="row 2 is zero"):
        anisotropy(np.where(np.arange(6)[:, None] == 2, 0.0, vectors), units)
    with pytest.raises(Undefined, match="the rows have one label"):
        mean_cosines(vectors, np.zeros(6, dtype=int), units)
    with pytest.raises(Undefined, match="no two rows have one label"):
        mean_cosines(vectors, np.arange(6), units)
    pair = mean_cosines(vectors[:3], np.array([0, 0, 1]), units[:3])[0].measured()
    assert np.isfinite(pair.value) and pair.interval is None, "without one row there is no pair left"


def test_principal_components_are_scikit_learns_on_both_together() -> None:
    base, tuned = drawn(30, 5, 0), drawn(30, 5, 1) * 2
    ours, theirs = principal_components(base, tuned), PCA(2).fit(np.concatenate([base, tuned]))
    assert ours.shares == pytest.approx(theirs.explained_variance_ratio_)
    assert np.abs(ours.base) == pytest.approx(np.abs(theirs.transform(base)))
    assert np.abs(ours.tuned) == pytest.approx(np.abs(theirs.transform(tuned)))
    with pytest.raises(Undefined, match="the same"):
        principal_components(np.ones((4, 3)), np.ones((4, 3)))
    assert principal_components(base[:, :1], tuned[:, :1]).shares == pytest.approx([1.0])
