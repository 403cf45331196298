"""Mergers that look at single elements, on examples worked by hand, and what they and others do with odd input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapterhub_fin import Merger
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.errors import BadMerge, BadRecipe

# Two changes of one row, or of two rows of four where a method ranks within rows.
FIRST = [[4.0, -1.0, 0.0, 2.0, -3.0]]
SECOND = [[-2.0, -3.0, 1.0, 5.0, 0.5]]


def merge(name: str, *changes: list[list[float]], weights: list[float] | None = None, **options: Any) -> Tensor:
    stack = torch.tensor(changes, dtype=torch.float64)
    weighing = torch.tensor(weights or [1.0] * len(changes), dtype=torch.float64)
    merged: Tensor = build_plugin(Merger, name, options).merge(stack, weighing, torch.Generator().manual_seed(3))
    return merged


def close(found: Tensor, wanted: list[list[float]]) -> bool:
    return torch.allclose(found, torch.tensor(wanted, dtype=found.dtype), rtol=1e-12, atol=1e-12)


def test_magnitude() -> None:
    # 60 % of five are three: 4, -3, 2 of the first and 5, -3, -2 of the second.
    assert close(merge("magnitude", FIRST, SECOND, density=0.6), [[4 - 2, -3, 0, 2 + 5, -3]])
    assert close(merge("magnitude", FIRST, SECOND, weights=[0.5, -1], density=0.6), [[2 + 2, 3, 0, 1 - 5, -1.5]])


def test_ties() -> None:
    # Trimmed to three:  4  0 0 2 -3  and  -2 -3 0 5 0. The sums are 2, -3, 0, 7, -3, and so are the signs.
    # Of the first column the 4 agrees, alone; of the fourth both do, and their mean is 3.5.
    assert close(merge("ties", FIRST, SECOND, density=0.6), [[4, -3, 0, 3.5, -3]])
    # Weights: the vote stays as it was, and the sums are still divided by the count: (0.5 * 2 + 0.25 * 5) / 2.
    assert close(merge("ties", FIRST, SECOND, weights=[0.5, 0.25], density=0.6), [[2, -0.75, 0, 1.125, -1.5]])
    # A change of negative weight votes with its own sign, and is taken away where that wins.
    assert close(merge("ties", FIRST, SECOND, weights=[1, -1], density=0.6), [[4, 3, 0, -1.5, -3]])


def test_ties_elects_by_number_where_asked() -> None:
    third = [[-1.0, 1.0, 0.0, 0.0, 4.0]]
    # Untrimmed sums 1, -3, 1, 7, 1.5; by number the first column has one + and two -, and the last two + and one -.
    assert close(merge("ties", FIRST, SECOND, third, density=1), [[4, -2, 1, 3.5, 2.25]])
    assert close(merge("ties", FIRST, SECOND, third, density=1, elect="frequency"), [[-1.5, -2, 1, 3.5, 2.25]])


def test_an_even_vote_leaves_the_element() -> None:
    assert close(merge("ties", [[2.0, 1.0]], [[-2.0, 1.0]], density=1), [[0, 1]])


def test_ties_as_in_mergekit() -> None:
    # Weighted votes: 0.25 * 4 - 1 * 2 < 0, so that the -2 holds; sums are divided by the survivors' weights, not by
    # their number: (0.25 * 2 + 1 * 5) / 1.25.
    found = merge("ties", FIRST, SECOND, weights=[0.25, 1], density=0.6, convention="mergekit")
    assert close(found, [[-2, -3, 0, 4.4, -3]])


def test_weights_that_cancel_divide_nothing() -> None:
    # All three votes agree, and 0.1 + 0.2 - 0.3 is 5.6e-17 in float64: by that nothing is divided, as in mergekit.
    found = merge("ties", [[1.0]], [[1.0]], [[-1.0]], weights=[0.1, 0.2, -0.3], density=1, convention="mergekit")
    assert close(found, [[0.6]])


def test_dare() -> None:
    ones = [[1.0] * 400] * 50
    found = merge("dare-linear", ones, density=0.25)
    assert set(found.unique().tolist()) == {0.0, 4.0}, "survivors are divided by the density"
    assert found.count_nonzero() / found.numel() == pytest.approx(0.25, abs=0.02)
    # What survives of two adapters is drawn apart: each of the four sums is there.
    pair = merge("dare-linear", ones, ones, weights=[1, -0.5], density=0.5)
    assert set(pair.unique().tolist()) == {0.0, 2.0, -1.0, 1.0}
    # With TIES: where both survive, or one, the mean of those is 2.
    assert set(merge("dare-ties", ones, ones, density=0.5).unique().tolist()) == {0.0, 2.0}


def test_dare_as_in_mergekit_keeps_the_sum_of_magnitudes() -> None:
    found = merge("dare-linear", [FIRST[0] * 20], density=0.5, rescale="l1")
    assert found.abs().sum() == pytest.approx(200) and found.count_nonzero() < 60
    kept = merge("dare-linear", FIRST, density=0.5, rescale="none")
    assert {abs(value) for value in kept.flatten().tolist()} <= {0, 4, 1, 2, 3}


def test_della_drops_the_small_more_often() -> None:
    row = [float(i) for i in range(1, 6)]
    # Chances from 0.4 for the smallest of a row to 0.8 for the largest, in equal steps; survivors divided by theirs.
    found = merge("della", [row] * 4000, density=0.6, window=0.4)
    for column, (value, chance) in enumerate(zip(row, (0.4, 0.5, 0.6, 0.7, 0.8), strict=True)):
        part = found[:, column]
        assert part[part != 0].unique().tolist() == [pytest.approx(value / chance)]
        assert part.count_nonzero() / len(part) == pytest.approx(chance, abs=0.03)


def test_breadcrumbs() -> None:
    # Of ten the largest, 10, is an outlier; of the rest the four largest stay.
    row = [[1.0, -10.0, 3.0, 9.0, -8.0, 2.0, 7.0, -6.0, 5.0, 4.0]]
    assert close(merge("breadcrumbs", row, density=0.4, outliers=0.1), [[0, 0, 0, 9, -8, 0, 7, -6, 0, 0]])


def test_sce_of_changes_whose_squares_no_float_holds() -> None:
    stack = torch.tensor([FIRST, SECOND], dtype=torch.float32)
    for size in (2.0**-100, 2.0**100):
        found, wanted = (
            build_plugin(Merger, "sce", {"density": 0.4}).merge(each, torch.ones(2), torch.Generator())
            for each in (size * stack, stack)
        )
        assert wanted.any() and torch.equal(found / size, wanted)


def test_sce() -> None:
    # Variances of the columns: 9, 1, 0.25, 2.25, 3.0625; the two largest of five are the first and the last.
    # Of these, energies 16 + 9 and 4 + 0.25: coefficients 25 / 29.25 and 4.25 / 29.25. The sums' signs are + and -,
    # so that the first's alone are left, and its coefficient is divided by itself.
    assert close(merge("sce", FIRST, SECOND, density=0.4), [[4, 0, 0, 0, -3]])
    # All five: energies 30 and 39.25. The second and fourth columns agree, and average by them.
    both = [(30 * one + 39.25 * other) / 69.25 for one, other in ((-1, -3), (2, 5))]
    assert close(merge("sce", FIRST, SECOND, density=1), [[4, both[0], 1, both[1], -3]])


def test_what_goes_beyond_one_is_refused() -> None:
    for name, options in (
        ("della", {"density": 0.9, "window": 0.4}),
        ("della", {"density": 0.1, "window": 0.4}),
        ("breadcrumbs", {"density": 0.9, "outliers": 0.2}),
        ("ties", {"density": 0}),
    ):
        with pytest.raises(BadRecipe, match=name):
            merge(name, FIRST, **options)


class TestDirections:
    ALONG, ACROSS = [[2.0, 0.0]], [[0.0, 4.0]]

    def test_slerp(self) -> None:
        # Halfway between two right-angled directions, of the mean length 3.
        assert close(merge("slerp", self.ALONG, self.ACROSS, weights=[1, 1]), [[3 / 2**0.5, 3 / 2**0.5]])
        assert close(merge("slerp", self.ALONG, self.ACROSS, weights=[3, 0]), self.ALONG)
        assert close(merge("slerp", self.ALONG, self.ALONG, weights=[0.2, 0.7]), self.ALONG)

    def test_karcher_of_three_right_angles_is_their_diagonal(self) -> None:
        three = [[[float(i == j) for j in range(3)]] for i in range(3)]
        assert close(merge("karcher", *three, weights=[2, 2, 2]), [[3**-0.5] * 3])

    @pytest.mark.parametrize("name", ["slerp", "karcher"])
    def test_a_change_of_zeros_has_no_direction(self, name: str) -> None:
        assert close(merge(name, self.ALONG, [[0.0, 0.0]], weights=[1, 3]), [[0.5, 0]])

    @pytest.mark.parametrize(("name", "weights"), [("slerp", [1, 1]), ("karcher", [1, 1]), ("karcher", [1, 3])])
    def test_opposite_changes_are_refused(self, name: str, weights: list[float]) -> None:
        with pytest.raises(BadMerge, match=f"{name}: .*use linear"):
            merge(name, self.ALONG, [[-1.0, 0.0]], weights=weights)

    def test_directions_all_around_are_refused(self) -> None:
        around = [[[1.0, 0.0]], [[-0.5, 0.75**0.5]], [[-0.5, -(0.75**0.5)]]]
        with pytest.raises(BadMerge, match="no unique mean"):
            merge("karcher", *around)

    @pytest.mark.parametrize("name", ["slerp", "karcher", "model-stock"])
    def test_negative_weights_are_refused(self, name: str) -> None:
        with pytest.raises(BadMerge, match=rf"{name} needs weights of at least 0 .*\[1.0, -0.5\].*linear takes any"):
            merge(name, self.ALONG, self.ACROSS, weights=[1, -0.5])

    def test_model_stock(self) -> None:
        # 60 degrees apart: t = 2 * 0.5 / 1.5, times the mean.
        apart = [[1.0, 3**0.5]]
        assert close(merge("model-stock", self.ALONG, apart), [[1.0, 3**-0.5]])
        assert not merge("model-stock", self.ALONG, self.ACROSS).any(), "nothing in common leaves the base"
        assert close(merge("model-stock", self.ALONG, [[0.0, 0.0]], weights=[1, 3]), self.ALONG)


def test_what_two_adapters_share_tsv_counts_once_and_linear_twice() -> None:
    twice = [[1.0, 2.0], [3.0, 5.0]]
    assert close(merge("tsv", twice, twice), twice)
    assert close(merge("linear", twice, twice), [[2.0, 4.0], [6.0, 10.0]])


def test_iso_flattens_what_is_not_zero() -> None:
    assert close(merge("iso", [[3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), [[2, 0, 0], [0, 2, 0], [0, 0, 0]])


@pytest.mark.parametrize(("name", "theirs"), [("ties", "ties"), ("magnitude", "magnitude_prune")])
def test_peft_means_the_same(name: str, theirs: str) -> None:
    from peft.utils import merge_utils

    changes = torch.randn(3, 20, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
    found = build_plugin(Merger, name, {"density": 0.3}).merge(changes, weights, torch.Generator())
    assert torch.allclose(found, getattr(merge_utils, theirs)(list(changes), weights, 0.3), rtol=1e-12, atol=1e-14)
