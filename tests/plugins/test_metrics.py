"""Metrics against examples worked by hand, and against scikit-learn and SciPy on whatever hypothesis thinks of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn import metrics as sklearn

from adapterhub_fin.errors import PluginError
from adapterhub_fin.plugin.descriptions import Metric
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin_plugins.metrics import accuracy, loss, macro_f1, mae, mcc, mse, perplexity, r2, spearman

TRUTH = np.array([0, 0, 0, 1, 1, 2])
SAID = np.array([0, 0, 1, 1, 2, 1])
NAN = float("nan")


def test_accuracy() -> None:
    assert accuracy(TRUTH, SAID) == pytest.approx(3 / 6)


def test_macro_f1() -> None:
    """F1 is 2*2/(3+2) for 0, 2*1/(2+3) for 1, and 0 for 2."""
    assert macro_f1(TRUTH, SAID) == pytest.approx((0.8 + 0.4 + 0.0) / 3)


def test_mcc_of_many_labels() -> None:
    """(3*6 - (3*2 + 2*3 + 1*1)) / sqrt((36 - 14) (36 - 14))."""
    assert mcc(TRUTH, SAID) == pytest.approx((18 - 13) / 22)


def test_mcc_of_two_labels_is_the_usual_one() -> None:
    """TP 2, TN 3, FP 1, FN 1: (2*3 - 1*1) / sqrt(3*3*4*4)."""
    truth, said = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([1, 1, 0, 0, 0, 0, 1])
    assert mcc(truth, said) == pytest.approx(5 / 12)


def test_a_constant_answer_is_worth_nothing() -> None:
    constant = np.zeros_like(TRUTH)
    assert mcc(TRUTH, constant) == 0.0
    assert macro_f1(TRUTH, constant) == pytest.approx((2 * 3 / (6 + 3)) / 3)


def test_regression_by_hand() -> None:
    """Squared errors 1, 0, 4, 1; the targets are 1.5, 0.5, 0.5 and 1.5 from their mean."""
    truth, said = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 1.0, 5.0])
    assert mse(truth, said) == 6 / 4 and mae(truth, said) == 4 / 4
    assert r2(truth, said) == pytest.approx(1 - 6 / 5)
    assert r2(truth, truth) == 1 and r2(truth, np.full(4, 2.5)) == 0


def test_ranks_that_tie_share_their_mean() -> None:
    """Ranks 1, 2.5, 2.5, 4 and 1.5, 1.5, 3.5, 3.5: covariance 3, variances 4.5 and 4."""
    truth, said = np.array([1.0, 2.0, 2.0, 9.0]), np.array([0.0, 0.0, 5.0, 5.0])
    assert spearman(truth, said) == pytest.approx(3 / math.sqrt(4.5 * 4))
    assert spearman(truth, -said) == pytest.approx(-3 / math.sqrt(4.5 * 4))


def test_loss_counts_tokens_and_not_texts() -> None:
    """A text of three tokens at 1 and one of a single token at 5: (3*1 + 5) / 4."""
    said = np.array([[1.0, 3.0], [5.0, 1.0]])
    assert loss(np.zeros((2, 3)), said) == 2.0
    assert perplexity(np.zeros((2, 3)), said) == pytest.approx(math.exp(2))


def labels(size: int) -> Any:
    return st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 6).flatmap(lambda size: st.tuples(st.just(size), labels(size))))
def test_classification_is_scikit_learn_s(case: tuple[int, list[tuple[int, int]]]) -> None:
    """Over all labels of the head (G 6), named or not; MCC and accuracy are the same over any that aren't named."""
    size, pairs = case
    truth, said = (np.array(side) for side in zip(*pairs, strict=True))
    every = np.arange(size)
    assert accuracy(truth, said) == pytest.approx(sklearn.accuracy_score(truth, said))
    wanted = sklearn.f1_score(truth, said, labels=every, average="macro", zero_division=0)
    assert macro_f1(truth, said, labels=every) == pytest.approx(wanted)
    assert macro_f1(truth, said) == pytest.approx(sklearn.f1_score(truth, said, average="macro", zero_division=0))
    if len(set(truth)) > 1:
        assert mcc(truth, said) == pytest.approx(sklearn.matthews_corrcoef(truth, said), abs=1e-12)


FIGURES = st.one_of(
    st.integers(-3, 3).map(float),  # ties
    st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 6)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(FIGURES, FIGURES), min_size=2, max_size=30))
def test_regression_is_scikit_learn_s_and_scipy_s(pairs: list[tuple[float, float]]) -> None:
    truth, said = (np.array(side) for side in zip(*pairs, strict=True))
    assert mse(truth, said) == pytest.approx(sklearn.mean_squared_error(truth, said))
    assert mae(truth, said) == pytest.approx(sklearn.mean_absolute_error(truth, said))
    if len(set(truth)) == 1:
        assert math.isnan(r2(truth, said)) and math.isnan(spearman(truth, said))
        return
    assert r2(truth, said) == pytest.approx(sklearn.r2_score(truth, said), rel=1e-6, abs=1e-9)
    if len(set(said)) > 1:
        assert spearman(truth, said) == pytest.approx(spearmanr(truth, said).statistic, abs=1e-9)
    else:
        assert spearman(truth, said) == 0.0


@settings(max_examples=100, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 40), st.integers(0, 9))
def test_targets_that_are_all_alike_leave_r2_undefined(value: float, rows: int, seed: int) -> None:
    """G 36: the mean of ten times -0.7 is another number, and what it is from them is no variance."""
    said = np.random.default_rng(seed).normal(size=rows)
    assert math.isnan(r2(np.full(rows, value), said)) and math.isnan(spearman(np.full(rows, value), said))


@settings(max_examples=100, deadline=None)
@given(st.lists(FIGURES, min_size=2, max_size=20, unique=True), st.sampled_from([1e-180, 1e-9, 1e9, 1e180]), st.data())
def test_r2_and_spearman_do_not_depend_on_the_unit(values: list[float], unit: float, data: Any) -> None:
    """Squares of very small and very large numbers underflow and overflow, which no variance may (G 36)."""
    truth = np.array(values)
    said = np.array(data.draw(st.lists(FIGURES, min_size=len(truth), max_size=len(truth))))
    assert r2(truth * unit, said * unit) == pytest.approx(r2(truth, said), rel=1e-9, abs=1e-9)
    assert spearman(truth * unit, said * unit) == pytest.approx(spearman(truth, said), abs=1e-9)


@pytest.mark.parametrize("wrong", [NAN, float("inf"), -float("inf")])
@pytest.mark.parametrize("metric", [r2, mse, mae, spearman])
@pytest.mark.parametrize("said", ["one", "all"])
def test_predictions_that_are_not_finite_give_no_metric(metric: Any, wrong: float, said: str) -> None:
    """G 36: the ranks of NaN answers are in order, and Spearman's correlation was 1."""
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    answers = np.array([1.0, 2.0, 3.0, wrong]) if said == "one" else np.full(4, wrong)
    assert not math.isfinite(metric(truth, answers))


def test_no_token_has_no_loss() -> None:
    said = np.array([[0.0, 0.0], [0.0, 0.0]])
    assert math.isnan(loss(np.zeros((2, 1)), said)) and math.isnan(perplexity(np.zeros((2, 1)), said))
    assert loss(np.zeros((2, 1)), np.array([[0.0, 0.0], [2.0, 1.0]])) == 2.0


OF_TEXT = {"written", "token-states"}  # whose metrics test_written.py holds to the contract
MEANS = (
    name for name, each in extensions().all(Metric).items() if each.row_scores and not OF_TEXT.intersection(each.kinds)
)


@pytest.mark.parametrize("name", sorted(MEANS))
def test_a_mean_over_rows_is_the_mean_of_its_row_scores(name: str) -> None:
    metric, rng = extensions().get(Metric, name), np.random.default_rng(0)
    truth, predicted = {
        "classification": (rng.integers(0, 3, 50), rng.integers(0, 3, 50)),
        "multi-label": (rng.random((50, 3)) < 0.5, rng.random((50, 3)) < 0.5),
        "ranking": (np.zeros(50), rng.integers(1, 20, 50)),
        "likelihood": (np.zeros(50), np.column_stack([rng.random(50), rng.integers(0, 9, 50)])),
    }.get(metric.kinds[0], (rng.normal(size=50), rng.normal(size=50)))
    scores = metric.load_row_scores()(truth, predicted)
    scores, weights = scores if isinstance(scores, tuple) else (scores, np.ones(50))
    assert np.average(scores, weights=weights) == pytest.approx(metric.load()(truth, predicted), rel=1e-12)
    assert scores.shape == (50,) and (metric.test != "mcnemar" or set(scores) == {0.0, 1.0})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"row_scores": "correct"}, "row_scores must read 'package.module:attribute'"),
        ({"test": "t"}, "test is 't'; choose permutation or mcnemar"),
        ({"test": "mcnemar"}, "give row_scores"),
    ],
)
def test_a_metric_that_can_t_be_compared_so_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(PluginError, match=says):
        Metric(name="mine", summary="Mine.", target="mine.metrics:mine", **wrong)
