"""What a wrong answer costs a classifier, by formulas worked out one row at a time."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.data.weights import with_draws
from adapterhub_fin.plugin.answers import Prediction
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.recipe.sampling import Sampling

NAMES = ["down", "flat", "up"]


def head(rows: list[str] | None = None, **options: Any) -> Any:
    found = build_plugin(Head, "classify", options)
    found.fit_labels(Dataset.from_dict({"label": rows or NAMES}))
    return found


def softmax(row: list[float]) -> list[float]:
    largest = max(row)
    powers = [math.exp(value - largest) for value in row]
    return [power / sum(powers) for power in powers]


def by_hand(logits: list[list[float]], labels: list[int], weights: list[float], focal: float, smooth: float) -> float:
    """The weighted mean of each row's (1 - p) ** focal * -log p, of a target that is spread where it is smoothed."""
    total, count = 0.0, 0.0
    for row, label in zip(logits, labels, strict=True):
        chances = softmax(row)
        if smooth:
            share = smooth / len(row)
            # torch weighs each label's part of a smoothed target by that label's weight
            parts = [share * weight * -math.log(p) for weight, p in zip(weights, chances, strict=True)]
            total += (1 - smooth) * weights[label] * -math.log(chances[label]) + sum(parts)
        else:
            total += weights[label] * (1 - chances[label]) ** focal * -math.log(chances[label])
        count += weights[label]
    return total / count


ROW = st.lists(st.floats(-6, 6, allow_nan=False, width=32), min_size=3, max_size=3)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(ROW, st.integers(0, 2)), min_size=1, max_size=8),
    st.one_of(st.none(), st.lists(st.sampled_from([0.25, 1.0, 3.0, 10.0]), min_size=3, max_size=3)),
    st.sampled_from([(0.0, 0.0), (0.0, 0.2), (1.0, 0.0), (2.0, 0.0), (0.5, 0.0)]),
)
def test_the_loss_is_its_formula(
    rows: list[tuple[list[float], int]], weights: list[float] | None, shape: tuple[float, float]
) -> None:
    """G 39: of rows that weigh differently, also where what is sure counts less."""
    focal, smoothing = shape
    named = dict(zip(NAMES, weights, strict=True)) if weights else None
    reader = head(weights=named, focal=focal, smoothing=smoothing)
    logits, labels = [row for row, _ in rows], [label for _, label in rows]
    outputs = SimpleNamespace(logits=torch.tensor(logits))
    found = float(reader.loss(outputs, torch.tensor(labels)))
    assert found == pytest.approx(by_hand(logits, labels, weights or [1.0] * 3, focal, smoothing), rel=1e-4, abs=1e-5)
    weight = float(reader.weight(torch.tensor(labels)))
    assert weight == pytest.approx(sum(weights[label] for label in labels) if weights else len(labels))


def test_balanced_weights_are_rows_over_labels_over_rows_of_it() -> None:
    """Of 8 rows: 8 / 3 / 5, 8 / 3 / 1 and 8 / 3 / 2, in the order of the labels."""
    reader = head(["up"] * 2 + ["down"] * 5 + ["flat"], weights="balanced")
    assert reader.weights.tolist() == pytest.approx([8 / 15, 8 / 3, 8 / 6])
    listed = head(["up"] * 2 + ["down"] * 5 + ["flat"], weights="balanced", labels=["up", "flat", "down"])
    assert listed.weights.tolist() == pytest.approx([8 / 6, 8 / 3, 8 / 15])
    named = head(weights={"up": 1.0, "down": 2.0, "flat": 4.0}, labels=["up", "flat", "down"])
    assert named.weights.tolist() == [1.0, 4.0, 2.0] and head().weights is None
    with pytest.raises(ahf.BadCorpus, match="'flat' has no training row"):
        head(["up", "down"], weights="balanced", labels=["up", "flat", "down"])


def test_labels_balance_what_training_draws() -> None:
    """Rows that are drawn twice as often count twice, so that weights and sampling don't correct the same twice."""
    rows = Dataset.from_dict({"label": ["up", "up", "down"], "weight": [0.5, 0.5, 2.0]})
    reader = build_plugin(ahf.Head, "classify", {"weights": "balanced"})
    reader.fit_labels(rows)
    assert reader.weights.tolist() == pytest.approx([0.75, 1.5])
    even = with_draws(Dataset.from_dict({"label": ["up", "up", "up", "down"]}), Sampling(by="label"))
    assert even["weight"] == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])
    reader.fit_labels(even)
    assert reader.weights.tolist() == pytest.approx([1.0, 1.0])
    repeated = Dataset.from_dict({"label": ["up", "down"], "repeat": [3, 1], "weight": [1.0, 1.0]})
    assert with_draws(repeated, None)["weight"] == pytest.approx([1.5, 0.5])
    plain = Dataset.from_dict({"label": ["up", "down"]})
    assert with_draws(plain, None) is plain


def test_labels_are_sorted_or_as_they_are_listed() -> None:
    assert head(["up", "down", "up", "flat"]).labels == ("down", "flat", "up")
    listed = head(["up", "down"], labels=["up", "flat", "down"])
    assert listed.labels == ("up", "flat", "down")
    assert [listed.target({"label": name}) for name in NAMES] == [2, 1, 0]
    with pytest.raises(ahf.BadCorpus, match="'flat'.*not list"):
        head(["up", "flat"], labels=["up", "down"])
    with pytest.raises(ahf.BadCorpus, match="'side' is not among the head's: down, flat, up"):
        head().target({"label": "side"})
    with pytest.raises(ahf.BadManifest, match="needs its labels"):
        build_plugin(Head, "classify", {}).set_labels([])


def test_answers_are_the_likeliest_label_and_each_label_s_chance() -> None:
    logits = [[0.0, 2.0, 1.0], [3.0, -1.0, 0.5]]
    assert head().decide(np.array(logits)).tolist() == [1, 0]
    found = head().predictions(torch.tensor(logits))
    for answer, row, label in zip(found, logits, ("flat", "down"), strict=True):
        chances = dict(zip(NAMES, softmax(row), strict=True))
        assert isinstance(answer, Prediction) and answer.label == label
        assert answer.scores == pytest.approx(chances, abs=1e-6) and answer.score == max(answer.scores.values())
