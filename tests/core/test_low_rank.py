"""The algebra of low-rank changes, and what a randomised SVD may claim."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adapterhub_fin.engine.peft.sketching import sketched
from adapterhub_fin.plugin.low_rank import CommonBasis, LowRank, nearest, rank_for, total

SHAPE = (20, 14)


def drawn(rank: int, seed: int, scale: float = 1.0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(SHAPE[0], rank, dtype=torch.float64, generator=generator)
    return LowRank(left, torch.randn(rank, SHAPE[1], dtype=torch.float64, generator=generator), scale)


ONE, OTHER = drawn(3, 1, 0.5), drawn(5, 2, -2.0)


def same(found: Tensor, wanted: Tensor) -> bool:
    return float((found - wanted).norm()) < 1e-12 * float(wanted.norm())


def test_sums_scales_and_inner_products_are_the_matrices() -> None:
    assert same((ONE * 0.3 - OTHER).dense(), 0.3 * ONE.dense() - OTHER.dense())
    assert total([ONE, OTHER]).rank == 8
    assert ONE.inner(OTHER) == pytest.approx(float((ONE.dense() * OTHER.dense()).sum()), rel=1e-12)
    assert OTHER.norm() == pytest.approx(float(OTHER.dense().norm()), rel=1e-12)


def test_no_change_is_zero_by_its_scale_or_a_factor() -> None:
    for nothing in (
        ONE * 0.0,
        LowRank(ONE.left * 0, ONE.right),
        LowRank(ONE.left, ONE.right * 0),
        LowRank.zero((2, 3)),
    ):
        assert nothing.is_zero()
    assert not ONE.is_zero()


def test_a_difference_that_all_but_vanishes_has_its_norm() -> None:
    nudged = LowRank(ONE.left * (1 + 1e-13), ONE.right, ONE.scale)
    assert (nudged - ONE).norm() / ONE.norm() == pytest.approx(1e-13, rel=0.05)


def test_truncation_is_the_nearest_and_its_energy_is_true() -> None:
    u, values, v = torch.linalg.svd(OTHER.dense())
    cut = OTHER.truncate(2)
    assert same(cut.dense(), (u[:, :2] * values[:2]) @ v[:2])
    found, energy = nearest(OTHER.dense(), 2)
    left_out = float((OTHER.dense() - found.dense()).norm()) ** 2
    assert energy == pytest.approx(1 - left_out / OTHER.norm() ** 2, rel=1e-12)
    assert nearest(OTHER.dense(), 1.0)[0].rank == 5, "what rounding left of nine zeros holds nothing"
    assert OTHER.truncate().rank == 5 and total([ONE, ONE]).truncate().rank == 3, "by default the matrix's own rank"
    assert OTHER.truncate(0.999999).rank <= 5 and OTHER.truncate(0.3).rank == rank_for(values, 0.3)


def test_rank_for_counts_from_the_small_end() -> None:
    values = torch.tensor([3.0, 2.0, 1.0, 0.0])
    assert [rank_for(values, share) for share in (0.5, 0.64, 0.65, 0.92, 0.93, 1.0)] == [1, 1, 2, 2, 3, 3]
    assert rank_for(torch.zeros(3), 0.5) == 0 and rank_for(torch.zeros(0), 0.5) == 0


def test_what_was_factored_otherwise_stands_in_the_same_aligned_bases() -> None:
    turn = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    again = LowRank(ONE.left @ turn * 7, torch.linalg.solve(turn, ONE.right) / 7, ONE.scale)
    first, second = CommonBasis.of([ONE, OTHER]).aligned(), CommonBasis.of([again, OTHER]).aligned()
    assert torch.allclose(first.cores.abs(), second.cores.abs(), atol=1e-10)
    assert same(first.columns @ first.cores[1] @ first.rows, OTHER.dense())
    plain = CommonBasis.of([ONE, OTHER]).cores.abs(), CommonBasis.of([again, OTHER]).cores.abs()
    assert not torch.allclose(*plain, atol=1e-2), "in other bases the factoring shows"


def test_factors_that_do_not_multiply_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(20, 3\) and \(5, 14\) don't multiply"):
        LowRank(ONE.left, OTHER.right)


class TestSketched:
    def matrix(self, kind: str) -> Tensor:
        """(300, 200): values that fall fast, slowly or not at all, or a trimmed change, whose rank is full."""
        generator = torch.Generator().manual_seed(4)
        dense = torch.randn(300, 200, generator=generator, dtype=torch.float64)
        if kind == "trimmed":
            dense = dense[:, :24] @ torch.randn(24, 200, generator=generator, dtype=torch.float64)
            return dense * (dense.abs() > dense.abs().quantile(0.8))
        u, _, v = torch.linalg.svd(dense, full_matrices=False)
        i = torch.arange(200, dtype=torch.float64)
        return (u * {"fast": 0.7**i, "slow": 1 / (1 + i), "flat": torch.ones(200)}[kind]) @ v

    @pytest.mark.parametrize("kind", ["fast", "slow", "flat", "trimmed"])
    @pytest.mark.parametrize("rank", [1, 8, 24, 0.5, 0.9, 0.999])
    def test_what_it_claims_is_true_and_near_the_best(self, kind: str, rank: int | float) -> None:
        matrix = self.matrix(kind)
        change, claimed = sketched(matrix, rank, torch.Generator().manual_seed(0))
        held = 1 - float((matrix - change.dense()).norm() / matrix.norm()) ** 2
        assert claimed == pytest.approx(held, abs=1e-9), "the energy that is told is what is held"
        best, most = nearest(matrix, rank)
        if isinstance(rank, int):
            assert change.rank == rank and claimed <= most + 1e-12
            assert 1 - claimed <= 1.02 * (1 - most) + 1e-9, "what is lost is within 2 % of what must be"
        else:
            assert claimed >= rank and change.rank <= best.rank + 1

    def test_one_seed_gives_one_answer(self) -> None:
        matrix = self.matrix("trimmed")
        once, again, other = (sketched(matrix, 8, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
        assert once.left.equal(again.left) and not once.left.equal(other.left)

    def test_a_matrix_of_small_rank_comes_whole(self) -> None:
        low = drawn(3, 8).dense().repeat(20, 20)
        change, energy = sketched(low, 16, torch.Generator().manual_seed(0))
        assert change.rank == 3 and energy == pytest.approx(1, abs=1e-12) and same(change.dense(), low)

    def test_zeros_have_no_rank(self) -> None:
        change, energy = sketched(torch.zeros(30, 40), 4, torch.Generator())
        assert (change.rank, energy, change.shape) == (0, 1.0, (30, 40))
