"""The agreement of scores with answers: by hand, its symmetries, and its rate of false alarms on dependent series."""

from __future__ import annotations

import itertools
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.stats.agreement import Family, excess_by_row, permuted, shift_test, shifted
from adapterhub_fin.stats.undefined import Undefined

CASES = int(os.environ.get("AHF_CASES", "60"))


def family(scores: list[list[float]], answers: list[int]) -> Family:
    return Family(np.array(scores), np.array(answers), np.arange(len(answers)))


def drawn(seed: int, rows: int, options: int) -> Family:
    rng = np.random.default_rng(seed)
    return Family(rng.random((rows, options)), rng.integers(options, size=rows), np.arange(rows))


def test_by_hand() -> None:
    asked = family([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], [0, 1, 0])
    own, others = excess_by_row(asked)
    assert own.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert others.tolist() == pytest.approx([(0.1 + 0.9) / 2, 0.2, (0.7 + 0.3) / 2])
    agreement = shifted([asked])
    # The answers one and two rows on are 1 0 0 and 0 0 1: 0.1 + 0.2 + 0.7 and 0.9 + 0.2 + 0.3.
    assert agreement.p == pytest.approx(1 / 3) and agreement.least_p == pytest.approx(1 / 3)
    assert agreement.observed == pytest.approx(0.8) and agreement.expected == pytest.approx(1.2 / 3)
    assert agreement.error == pytest.approx(np.std([2.4, 1.0, 1.4]) / 3)


def test_two_families_move_by_the_same_share_of_their_length() -> None:
    long, short = drawn(0, 6, 3), drawn(1, 4, 2)
    sums = [
        [each.scores[np.arange(n), np.roll(each.answers, -s)].sum() for s in range(n)]
        for each, n in ((long, 6), (short, 4))
    ]
    shares = np.arange(12) / 12 + 1 / 24  # every shift of both, twelve times as fine
    totals = np.array([sums[0][int(share * 6)] + sums[1][int(share * 4)] for share in shares])
    assert shifted([long, short]).p == pytest.approx(np.mean(totals >= totals[0] - 1e-12))
    assert shifted([long, short]).least_p == pytest.approx(1 / 6)
    assert shift_test([np.array(each) for each in sums]) == pytest.approx((shifted([long, short]).p, 1 / 6))


def test_free_permutation_is_the_exact_one() -> None:
    asked = drawn(4, 6, 3)
    rows = np.arange(6)
    totals = [asked.scores[rows, asked.answers[list(order)]].sum() for order in itertools.permutations(range(6))]
    exact = np.mean(np.array(totals) >= totals[0] - 1e-12)
    assert permuted([asked], rounds=9999).p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 9999))
    assert permuted([asked]).error == pytest.approx(np.std(totals) / 6, rel=0.05)


def test_what_permutations_can_show_at_all() -> None:
    apart = family([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 1, 2])
    assert permuted([apart]).least_p == pytest.approx(1 / 6)
    one = family([[1, 0], [0, 1], [0, 1], [0, 1]], [0, 0, 0, 0])
    assert permuted([one]).least_p == pytest.approx(1) == permuted([one]).p
    assert shifted([one]).p == pytest.approx(1)  # all answers are one: every shift is the same


def test_families_of_the_same_events_are_permuted_together() -> None:
    asked = drawn(5, 40, 3)
    once, thrice = permuted([asked]), permuted([asked, asked, asked])
    assert thrice.p == pytest.approx(once.p, abs=0.03)  # three wordings say no more than one
    assert thrice.error == pytest.approx(once.error, rel=0.05)
    other = Family(asked.scores, asked.answers, asked.events + 40)
    assert permuted([asked, other]).error == pytest.approx(once.error / math.sqrt(2), rel=0.05)


@pytest.mark.parametrize(("period", "least"), [([0, 1], 1 / 2), ([0, 0, 1], 1 / 3), ([0, 1, 2, 1], 1 / 4)])
def test_answers_that_come_round_again_can_show_little(period: list[int], least: float) -> None:
    answers = np.array(period * 20)
    knowing = Family(np.eye(3)[answers], answers, np.arange(len(answers)))
    assert shifted([knowing]).least_p == pytest.approx(least) == shifted([knowing]).p
    free = drawn(1, len(answers), 3)
    assert shifted([knowing, free]).least_p == pytest.approx(1 / len(answers))  # the other one tells the shifts apart


@pytest.mark.parametrize("events", [20, 60, 100, 140, 7 * 60])
def test_a_share_of_exactly_the_level_is_not_above_it(events: int) -> None:
    reached = events // 20
    for first in range(1, events - reached):
        sums = np.zeros(events)
        sums[[0, *range(first, first + reached - 1)]] = 1.0
        assert shift_test([sums])[0] == reached / events <= 0.05


def test_a_family_of_one_event_is_undefined() -> None:
    with pytest.raises(Undefined, match="nothing to be compared with"):
        shifted([family([[0.5, 0.5]], [0])])


@settings(max_examples=CASES, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(2, 12), options=st.integers(2, 5))
def test_names_of_options_and_constants_change_nothing(seed: int, rows: int, options: int) -> None:
    asked = drawn(seed, rows, options)
    rng = np.random.default_rng(seed + 1)
    order = rng.permutation(options)
    renamed = Family(asked.scores[:, order], np.argsort(order)[asked.answers], asked.events)
    preferred = Family(asked.scores + rng.normal(size=options), asked.answers, asked.events)
    before = shifted([asked])
    assert before.least_p - 1e-12 <= before.p <= 1
    for other in (renamed, preferred):
        now = shifted([other])
        assert (now.p, now.excess, now.error) == pytest.approx((before.p, before.excess, before.error), abs=1e-9)


@settings(max_examples=CASES, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(2, 12))
def test_the_shifts_of_one_series_are_ranked_once_each(seed: int, rows: int) -> None:
    asked = drawn(seed, rows, 3)
    moved = [Family(asked.scores, np.roll(asked.answers, shift), asked.events) for shift in range(rows)]
    assert sum(shifted([each]).p <= 0.5 for each in moved) <= rows / 2 + 1e-9  # so p holds under any answers


def streaks(rng: np.random.Generator, rows: int, stay: float) -> np.ndarray:
    answers = np.zeros(rows, int)
    for row in range(rows):
        answers[row] = answers[row - 1] if row and rng.random() < stay else rng.integers(3)
    return answers


def drifting(rng: np.random.Generator, rows: int, stay: float) -> np.ndarray:
    scores = rng.normal(size=(rows, 3))
    for row in range(1, rows):
        scores[row] = stay * scores[row - 1] + math.sqrt(1 - stay**2) * scores[row]
    return scores


def test_streaks_beside_a_drift_raise_few_false_alarms_by_shifts_and_many_by_permutation() -> None:
    by_shift, by_permutation = 0, 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        asked = Family(drifting(rng, 60, 0.8), streaks(rng, 60, 0.8), np.arange(60))
        by_shift += shifted([asked]).p <= 0.05
        by_permutation += permuted([asked], rounds=199).p <= 0.05
    assert by_shift <= 12  # of 120; more would have a chance of 1 in 100 at a rate of 0.05
    assert by_permutation >= 18


@pytest.mark.parametrize("test", [shifted, lambda families: permuted(families, rounds=199)])
def test_independent_series_raise_false_alarms_at_the_level(test: object) -> None:
    alarms = sum(test([drawn(seed, 40, 3)]).p <= 0.05 for seed in range(200))  # type: ignore[operator]
    assert alarms <= 19  # more would have a chance of 1 in 200
