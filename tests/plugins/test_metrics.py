"""Metrics against an example worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from adapterhub_fin_plugins.metrics import accuracy, macro_f1, mcc

TRUTH = np.array([0, 0, 0, 1, 1, 2])
SAID = np.array([0, 0, 1, 1, 2, 1])


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
