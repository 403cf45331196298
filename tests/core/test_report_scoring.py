"""What the report computes of answers is what scikit-learn computes of them, and what the formulas say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from adapterhub_fin.plugin.pictures import label_text
from adapterhub_fin.reporting.scoring import calibration, class_scores, confusion, grouped

LABELS = ("down", "flat", "up")


@pytest.fixture
def answers() -> tuple[list[str], list[str]]:
    draw = np.random.default_rng(3)
    return [str(label) for label in draw.choice(LABELS, 200)], [str(label) for label in draw.choice(LABELS[:2], 200)]


def test_confusion_and_scores_by_class_are_those_of_scikit_learn(answers: tuple[list[str], list[str]]) -> None:
    counts = confusion(*answers, LABELS)
    assert counts.tolist() == confusion_matrix(*answers, labels=LABELS).tolist()
    wanted = precision_recall_fscore_support(*answers, labels=LABELS, zero_division=0)
    found = class_scores(counts)
    for name, values in zip(("precision", "recall", "F1"), wanted, strict=False):
        assert found[name] == pytest.approx(values.tolist())


def test_calibration_by_hand() -> None:
    bins, error = calibration([0.95, 0.85, 0.87, 1.0, 0.31], [1, 0, 1, 1, 0])
    assert [(each.rows, each.accuracy) for each in bins] == [(1, 0.0), (2, 0.5), (2, 1.0)]
    assert [each.confidence for each in bins] == pytest.approx([0.31, 0.86, 0.975])
    assert error == pytest.approx((1 * 0.31 + 2 * 0.36 + 2 * 0.025) / 5)
    assert calibration([1.0, 1.0], [1, 1])[1] == 0.0


def test_groups_hold_every_row_once_and_rows_of_one_key_together() -> None:
    keys = [5, 5, 5, 5, 1, 2, 3, 9, 9, 7]
    groups = grouped([1.0] * 10, keys, 4, shares=True)
    assert [(g.low, g.high, g.rows) for g in groups] == [(1, 3, 3), (5, 5, 4), (7, 9, 3)]
    assert all(g.score == 1.0 and g.interval[0] < 1.0 == g.interval[1] for g in groups)
    [one] = grouped([0.0, 1.0, 2.0], [1, 1, 1], 8, shares=False)
    assert one.score == 1.0 and one.interval == pytest.approx((1 - 1.959964 / 3**0.5, 1 + 1.959964 / 3**0.5))
    assert [g.rows for g in grouped([0.0] * 13, list(range(13)), 4, shares=False)] == [4, 4, 5]


def test_the_intervals_of_shares_are_wilsons() -> None:
    [group] = grouped([1.0] * 8 + [0.0] * 2, [0] * 10, 1, shares=True)
    assert group.interval == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_a_label_is_no_formula_and_no_paragraph() -> None:
    assert label_text("$AAPL\nup $5") == r"\$AAPL up \$5"
    assert len(label_text("x" * 300)) == 24
    assert label_text("a corporate action, number 17") == "a corporate... number 17"
