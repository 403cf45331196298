"""Aggregates, calibrations and directions by hand, and the contract that a third party's aggregate is held to."""

from __future__ import annotations

import math
import os
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import adapterhub_fin as ahf
from adapterhub_fin.errors import BadRecipe, PluginError, UnknownName
from adapterhub_fin.plugin import build_contribution, hookimpl
from adapterhub_fin_markets.signals.aggregate import Answers, checked_shares, winners
from adapterhub_fin_markets.signals.calibration import Isotonic, Temperature, fit_calibration
from adapterhub_fin_markets.signals.description import Aggregate
from adapterhub_fin_markets.signals.directions import by_direction, columns_of
from adapterhub_fin_markets.signals.fitting import fit_threshold
from adapterhub_fin_markets.testing import AggregateContract

CASES = int(os.environ.get("AHF_CASES", "50"))
SELL, HOLD, BUY = 0, 1, 2
DAY = 86_400.0


def answers(probabilities: Any, ages: Any = None) -> Answers:
    array = np.array(probabilities, float)
    age = np.ones(len(array)) if ages is None else np.array(ages, float) * DAY
    return Answers(array, array[:, BUY] - array[:, SELL], array.max(1), age)


def sure(direction: int, confidence: float) -> list[float]:
    """Probabilities whose likeliest direction has that confidence; the others share the rest."""
    rest = (1 - confidence) / 2
    return [confidence if column == direction else rest for column in range(3)]


def shares(name: str, given: Answers, **options: Any) -> np.ndarray:
    return np.asarray(build_contribution(Aggregate, name, options).shares(given))


def test_confidence_weighted_votes() -> None:
    """Vector 25 of the project's reference: BUY .9, SELL .8, BUY .75, HOLD .95."""
    given = answers([sure(BUY, 0.9), sure(SELL, 0.8), sure(BUY, 0.75), sure(HOLD, 0.95)])
    made = shares("confidence", given)
    assert np.allclose(made, [0.8 / 3.4, 0.95 / 3.4, 1.65 / 3.4], atol=1e-12)
    assert np.allclose(made, [0.235294, 0.279412, 0.485294], atol=1e-6)
    assert winners(made[None])[0] == BUY


def test_mean_of_probabilities() -> None:
    made = shares("mean", answers([(0.05, 0.15, 0.80), (0.10, 0.20, 0.70), (0.60, 0.30, 0.10)]))
    assert np.allclose(made, [0.25, 0.216667, 0.533333], atol=1e-6)
    assert math.isclose(made[BUY] - made[SELL], 0.283333, abs_tol=1e-6)


def test_decay_by_half_life() -> None:
    given = answers([(0.1, 0.2, 0.7), (0.5, 0.2, 0.3), (0.05, 0.0, 0.95)], ages=(0, 2, 4))
    made = shares("decay", given, half_life=2)
    assert math.isclose(made[BUY] - made[SELL], 0.414286, abs_tol=1e-6)
    old = answers([(0.1, 0.2, 0.7), (0.5, 0.2, 0.3)], ages=(30_000, 30_002))
    assert np.allclose(shares("decay", old, half_life=2), [0.7 / 3, 0.2, 1.7 / 3])
    with pytest.raises(BadRecipe, match="half_life"):
        shares("decay", given, half_life=0)


@pytest.mark.parametrize("name", ["confidence", "majority", "mean", "decay"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_tie_is_hold_in_any_order(name: str, order: int) -> None:
    tied = answers([sure(BUY, 0.8), sure(SELL, 0.8)][::order])
    assert winners(shares(name, tied)[None])[0] == HOLD
    thrice = answers([*[sure(BUY, 0.1 + 0.6)] * 3, *[sure(SELL, 0.7)] * 3][::order])  # .1 + .6 isn't .7 in binary
    assert winners(shares(name, thrice)[None])[0] == HOLD


def test_majority_counts_texts_alike() -> None:
    made = shares("majority", answers([sure(BUY, 0.4), sure(BUY, 0.4), sure(SELL, 0.99)]))
    assert np.allclose(made, [1 / 3, 0, 2 / 3])


def test_estimates_are_averaged() -> None:
    nan = np.full((3, 3), np.nan)
    given = Answers(nan, np.array([0.6, -0.2, 0.9]), np.full(3, np.nan), np.array([0.0, 2, 4]) * DAY)
    assert math.isclose(build_contribution(Aggregate, "mean", {}).estimate(given), 1.3 / 3)
    assert math.isclose(
        build_contribution(Aggregate, "decay", {"half_life": 2}).estimate(given), 0.414286, abs_tol=1e-6
    )


probabilities = hnp.arrays(float, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(0.01, 1)).map(
    lambda array: array / array.sum(1, keepdims=True)
)


@settings(max_examples=CASES, deadline=None)
@given(probabilities, st.sampled_from(["confidence", "majority", "mean", "decay"]), st.randoms())
def test_the_order_of_texts_does_not_matter(given_: np.ndarray, name: str, random: Any) -> None:
    ages = np.arange(len(given_)) / 3
    order = list(range(len(given_)))
    random.shuffle(order)
    one, other = shares(name, answers(given_, ages)), shares(name, answers(given_[order], ages[order]))
    assert np.allclose(one, other, atol=1e-12) and math.isclose(one.sum(), 1, abs_tol=1e-12)
    assert winners(one[None])[0] == winners(other[None])[0]


@pytest.mark.parametrize("bad", [[0.5, 0.5], [0.5, 0.6, 0.1], [np.nan, 0, 1], [-0.1, 0.1, 1], None])
def test_shares_that_are_none_are_refused(bad: Any) -> None:
    with pytest.raises(PluginError, match="aggregate 'x' returned"):
        checked_shares("x", bad)


def test_labels_by_their_usual_names() -> None:
    assert list(columns_of(["Bearish", "neutral", "UP"], {}, "acme/a@1")) == [SELL, HOLD, BUY]
    assert list(columns_of(["0", "1"], {"0": "sell", "1": "buy"}, "acme/a@1")) == [SELL, BUY]
    with pytest.raises(BadRecipe, match="has the label 'LABEL_0', which says no direction: give directions"):
        columns_of(["LABEL_0", "positive"], {}, "acme/a@1")
    with pytest.raises(BadRecipe, match="neither SELL nor BUY"):
        columns_of(["neutral", "flat"], {}, "acme/a@1")
    five = columns_of(["a", "b", "c", "d", "up"], {"a": "sell", "b": "sell", "c": "hold", "d": "buy"}, "acme/a@1")
    assert np.allclose(by_direction(np.array([[0.1, 0.2, 0.3, 0.15, 0.25]]), five), [[0.3, 0.3, 0.4]])


@settings(max_examples=CASES, deadline=None)
@given(probabilities, st.floats(0.2, 5))
def test_a_temperature_changes_no_answer(given_: np.ndarray, temperature: float) -> None:
    calibrated = Temperature(temperature).apply(given_)
    assert np.allclose(calibrated.sum(1), 1)
    ordered = np.sort(given_, 1)
    clear = ordered[:, 2] - ordered[:, 1] > 1e-6
    assert np.array_equal(calibrated.argmax(1)[clear], given_.argmax(1)[clear])
    assert np.allclose(Temperature(1.0).apply(given_), given_)


def test_a_temperature_is_found_again() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (40_000, 3))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (rng.random((len(true), 1)) > np.cumsum(true, 1)).sum(1).clip(0, 2)
    sharp = np.exp(2.5 * logits) / np.exp(2.5 * logits).sum(1, keepdims=True)  # an overconfident model
    fitted = fit_calibration("temperature", sharp, truth)
    assert isinstance(fitted, Temperature) and math.isclose(fitted.temperature, 2.5, rel_tol=0.03)
    assert np.allclose(fitted.apply(sharp), true, atol=0.02)
    with pytest.raises(BadRecipe, match="all of 3 answers are right"):
        fit_calibration("temperature", np.eye(3) * 0.7 + 0.1, np.arange(3))


def test_isotonic_maps_confidence_to_accuracy() -> None:
    confidence = np.array([0.5, 0.5, 0.7, 0.7, 0.7, 0.9, 0.9])
    given_ = np.array([sure(BUY, each) for each in confidence])
    truth = np.array([BUY, SELL, BUY, BUY, SELL, SELL, BUY])
    fitted = fit_calibration("isotonic", given_, truth)
    assert isinstance(fitted, Isotonic)
    calibrated = fitted.apply(given_)
    assert np.allclose(calibrated.sum(1), 1)
    assert np.allclose(calibrated[:, BUY], [0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6])  # .7: 2 of 3, .9: 1 of 2, pooled 3 of 5


def test_a_threshold_is_the_least_that_is_right_enough() -> None:
    confidence, right = [0.95, 0.9, 0.8, 0.8, 0.6, 0.55], [1, 1, 1, 0, 1, 0]
    given_ = np.array([sure(BUY, each) for each in confidence] + [sure(HOLD, 0.99)])
    truth = np.array([BUY if each else SELL for each in right] + [SELL])
    assert fit_threshold(given_, truth, 0.8, 1) == 0.6  # 4 of 5
    assert fit_threshold(given_, truth, 0.9, 1) == 0.9  # 2 of 2: of the two at .8 both count, or none
    with pytest.raises(BadRecipe, match=r"no threshold makes 0.900 of BUY and SELL right \(the best is 0.800\)"):
        fit_threshold(np.array([sure(BUY, 0.9)] * 10), np.array([BUY] * 8 + [SELL] * 2), 0.9)
    with pytest.raises(BadRecipe, match=r"\(the best is none, as 5 are BUY or SELL\)"):
        fit_threshold(np.array([sure(BUY, 0.9)] * 5), np.array([BUY] * 5), 0.9)


class Loudest:
    """The text of most confidence alone."""

    def __init__(self, options: Any) -> None: ...

    def shares(self, answers: Answers) -> np.ndarray:
        best: np.ndarray = answers.probabilities[answers.confidence.argmax()]
        return best


class Early(Loudest):
    """An aggregate that reads the order of its texts, which a contract must catch."""

    def shares(self, answers: Answers) -> np.ndarray:
        first: np.ndarray = answers.probabilities[0]
        return first


class Writing(Loudest):
    """An aggregate that changes its input."""

    def shares(self, answers: Answers) -> np.ndarray:
        answers.probabilities[:] = 1 / 3
        return np.full(3, 1 / 3)


class Plugin:
    @hookimpl
    def ahf_aggregates(self) -> list[Aggregate]:
        here = "test_signals_aggregates_plugin"
        return [
            Aggregate(
                name=f"acme-{each.__name__.lower()}", summary="Invented for a test.", target=f"{here}:{each.__name__}"
            )
            for each in (Loudest, Early, Writing)
        ]


@pytest.fixture(autouse=True)
def plugin() -> None:
    module = ModuleType("test_signals_aggregates_plugin")
    for each in (Loudest, Early, Writing):
        setattr(module, each.__name__, each)
    sys.modules[module.__name__] = module
    for aggregate in Plugin().ahf_aggregates():
        ahf.register(aggregate)


def test_a_third_party_brings_an_aggregate() -> None:
    made = shares("acme-loudest", answers([sure(BUY, 0.6), sure(SELL, 0.7)]))
    assert np.allclose(made, sure(SELL, 0.7))
    with pytest.raises(UnknownName, match="no aggregate is named 'loudst'"):
        shares("loudst", answers([sure(BUY, 0.6)]))


class TestLoudest(AggregateContract):
    name = "acme-loudest"


class TestConfidence(AggregateContract):
    name = "confidence"


class TestMean(AggregateContract):
    name = "mean"


class TestMajority(AggregateContract):
    name = "majority"


class TestDecay(AggregateContract):
    name = "decay"


@pytest.mark.parametrize(
    ("name", "test"),
    [("acme-early", "test_the_order_of_texts_does_not_matter"), ("acme-writing", "test_leaves_its_input_alone")],
)
def test_the_contract_catches(name: str, test: str) -> None:
    contract = AggregateContract()
    contract.name = name  # type: ignore[misc]
    with pytest.raises((AssertionError, ValueError)):
        getattr(contract, test)()
