"""One module's changes combined: where each merger works, what rank and energy come out, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from adapterhub_fin import Merger
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.merging.combine import Combined, Rank, check_count, check_rank, combine, space_for
from adapterhub_fin.errors import BadMerge, PluginError
from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin.plugin.low_rank import LowRank
from adapterhub_fin.plugin.manager import extensions

EXACT = sorted(name for name, merger in extensions().all(Merger).items() if merger.commutes != "none")
ELEMENTWISE = sorted(name for name, merger in extensions().all(Merger).items() if merger.commutes == "none")
WEIGHTS = [0.5, 0.3, 0.2]


def drawn(shape: tuple[int, int], rank: int, seed: int) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(shape[0], rank, generator=generator, dtype=torch.float64)
    return LowRank(left, torch.randn(rank, shape[1], generator=generator, dtype=torch.float64), 0.5)


CHANGES = [drawn((60, 50), rank, rank) for rank in (2, 3, 4)]


def merged(name: str, space: str | None = None, rank: Rank = None, seed: int = 7, **given: Any) -> Combined:
    merger = extensions().get(Merger, name)
    changes = given.pop("changes", CHANGES)[: merger.adapters[1]]
    weights = given.pop("weights", WEIGHTS)[: len(changes)]
    built = build_plugin(Merger, name, given)
    return combine(changes, weights, merger, built, space=space_for(merger, space), rank=rank, seed=seed)


def on_matrices(name: str, matrices: Tensor) -> Tensor:
    """The plugin itself, on these."""
    weights = torch.tensor(WEIGHTS, dtype=matrices.dtype)
    found: Tensor = build_plugin(Merger, name, {}).merge(matrices, weights, torch.Generator().manual_seed(7))
    return found


def off(found: LowRank, wanted: Tensor) -> float:
    return float((found.to(torch.float64).dense() - wanted).norm() / wanted.norm())


class Failing(MergerImplementation):
    """One that breaks in the step that is named, and refuses in another."""

    def __init__(self, step: str) -> None:
        self.step = step

    def _fail(self, step: str) -> None:
        if self.step == step:
            raise ZeroDivisionError("division by zero")
        if self.step == f"refuse {step}":
            raise BadMerge("not these")

    def join(self, changes: Any, weights: Any) -> None:
        self._fail("join")

    def rank(self, ranks: Any) -> None:
        self._fail("rank")

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        self._fail("merge")
        return changes.sum(0)


@pytest.mark.parametrize("step", ["join", "rank", "merge"])
def test_a_merger_that_breaks_is_named(step: str) -> None:
    merger = Merger(name="failing", summary="Fails.", target="nowhere:Failing")
    with pytest.raises(PluginError, match=rf"Failing\.{step} failed \(ZeroDivisionError: division by zero\)"):
        combine(CHANGES, WEIGHTS, merger, Failing(step), space=space_for(merger))
    with pytest.raises(BadMerge, match="not these"):
        combine(CHANGES, WEIGHTS, merger, Failing(f"refuse {step}"), space=space_for(merger))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_dense_space_is_the_formula_in_single_precision(name: str) -> None:
    whole = on_matrices(name, torch.stack([change.dense() for change in CHANGES]))
    found = merged(name, rank=1.0)
    assert off(found.change, whole) < 1e-5, "float32 is told from float64 by this much"
    assert found.change.left.dtype == torch.float32 and found.energy == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_dense_space_is_cut_to_the_sum_of_the_ranks_and_says_what_that_holds(name: str) -> None:
    whole = on_matrices(name, torch.stack([change.dense() for change in CHANGES]))
    found = merged(name)
    assert found.rank == 9
    assert found.energy == pytest.approx(1 - off(found.change, whole) ** 2, abs=1e-5)
    values = torch.linalg.svdvals(whole)
    assert found.energy == pytest.approx(float(values[:9].square().sum() / values.square().sum()), rel=0.02)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_factor_space_is_another_algorithm_of_the_changes_alone(name: str) -> None:
    turn = torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    first = CHANGES[0]
    left, right = first.left @ turn * 9, torch.linalg.solve(turn, first.right) / 9
    refactored = LowRank(torch.cat([left, left], 1), torch.cat([right, right]), first.scale / 2)  # of twice the rank
    once, again = (merged(name, "factor", changes=[each, *CHANGES[1:]]) for each in (first, refactored))
    assert off(again.change, once.change.dense()) < 1e-9, "how an adapter is factored is nobody's choice"
    assert once.rank <= 9 and once.energy == pytest.approx(1)
    whole = on_matrices(name, torch.stack([change.dense() for change in CHANGES]))
    assert off(once.change, whole) > 0.05, "it is not the algorithm on the matrices"


@pytest.mark.parametrize("name", EXACT)
def test_no_dense_matrix_is_made_where_none_is_needed(name: str) -> None:
    """One matrix of this shape would be 28 GB."""
    changes = [drawn((70_000, 50_000), rank, rank) for rank in (1, 2)]
    changes = [LowRank(each.left, each.right + changes[0].right, each.scale) for each in changes]
    assert merged(name, changes=changes, weights=[0.6, 0.4]).change.shape == (70_000, 50_000)


@pytest.mark.parametrize("name", ["dare-linear", "della", "knots-dare"])
def test_what_is_drawn_is_the_seeds(name: str) -> None:
    once, again, other = (merged(name, seed=seed).change.dense() for seed in (1, 1, 2))
    assert once.equal(again) and not once.allclose(other)


def test_ranks() -> None:
    assert (merged("linear").rank, merged("cat").rank, merged("svd").rank) == (9, 9, 4)
    assert merged("linear", rank=2).rank == 2 and merged("cat", rank=2).rank == 2
    half = merged("linear", rank=0.5)
    assert half.rank < 9 and half.energy >= 0.5
    joined = merged("cat").change
    assert joined.right[:2].equal(CHANGES[0].right), "cat leaves the right factors as they are"
    assert merged("linear", changes=[CHANGES[0], CHANGES[0]], weights=[0.7, -0.7]).rank == 0, "it cancels"


@pytest.mark.parametrize("name", [*EXACT, *ELEMENTWISE])
def test_nothing_merges_to_nothing(name: str) -> None:
    unlearnt = LowRank(torch.zeros(60, 3), torch.ones(3, 50), 2.0)
    for given in (
        {"changes": [LowRank.zero((60, 50)), unlearnt]},
        {"weights": [0.0, 0.0, 0.0]},
    ):
        nothing = merged(name, **given)
        assert (nothing.rank, nothing.change.shape, nothing.energy) == (0, (60, 50), 1.0)


@pytest.mark.parametrize("name", [*EXACT, *ELEMENTWISE])
def test_a_module_that_one_lacks(name: str) -> None:
    found = merged(name, changes=[CHANGES[0], LowRank.zero((60, 50))], weights=[1.0, 1.0])
    assert found.change.dense().isfinite().all() and 0 < found.rank <= 2
    if name in ("cat", "linear", "svd", "tsv", "model-stock"):
        assert off(found.change, CHANGES[0].dense()) < 1e-6


def test_what_does_not_go_together_is_refused() -> None:
    get = extensions().get
    with pytest.raises(BadMerge, match="linear is exact in the space of the factors: its space is exact, not 'dense'"):
        space_for(get(Merger, "linear"), "dense")
    with pytest.raises(BadMerge, match="ties looks at single elements: its space is dense or factor, not 'exact'"):
        space_for(get(Merger, "ties"), "exact")
    with pytest.raises(BadMerge, match="slerp merges 2 adapters, not 3"):
        check_count(get(Merger, "slerp"), 3)
    with pytest.raises(BadMerge, match="model-stock merges at least 2 adapters, not 1"):
        check_count(get(Merger, "model-stock"), 1)
    for rank in (0, -1, 0.0, 1.5, float("nan")):
        with pytest.raises(BadMerge, match="a rank is a whole number from 1, or the share"):
            check_rank(rank)


@pytest.mark.parametrize("name", [*EXACT, *ELEMENTWISE])
def test_a_change_beyond_what_is_stored_is_refused(name: str) -> None:
    for scale, weights in ((1e308, [0.5, 0.5]), (1e39, [0.5, 0.5]), (1.0, [1.0, 1e300])):
        changes = [CHANGES[0], LowRank(CHANGES[1].left, CHANGES[1].right, scale)]
        with pytest.raises(BadMerge, match="adapter 2 of 2 changes it by .*, beyond what float32 holds"):
            merged(name, changes=changes, weights=weights)


@pytest.mark.parametrize("name", ["linear", "svd", "tsv"])
def test_what_hardly_counts_hides_nothing(name: str) -> None:
    """Rounding is measured by what each adapter brings to the sum, not by how large it is itself."""
    huge = LowRank(CHANGES[0].left, CHANGES[0].right, 1e18)
    found = merged(name, changes=[huge, CHANGES[1]], weights=[0.0, 1.0])
    assert off(found.change, CHANGES[1].dense()) < 1e-12


@pytest.mark.parametrize("size", [1e-6, 1e-9, 1e-11])
def test_what_is_small_beside_the_rest_is_kept_and_what_cancels_is_not(size: float) -> None:
    """In float64 a change of 1e-11 of the other is far above what rounding leaves."""
    small = LowRank(CHANGES[1].left, CHANGES[1].right, CHANGES[1].scale * size)
    both = merged("linear", changes=[CHANGES[0], small], weights=[1.0, 1.0]).change
    assert both.rank == CHANGES[0].rank + CHANGES[1].rank
    rest = both.dense() - CHANGES[0].to(torch.float64).dense()
    assert float((rest - small.to(torch.float64).dense()).norm() / small.to(torch.float64).dense().norm()) < 1e-3
    assert merged("linear", changes=[CHANGES[0], CHANGES[0]], weights=[1.0, -1.0]).change.rank == 0


class Broken(MergerImplementation):
    """Gives what it is told to."""

    def __init__(self, options: Tensor) -> None:
        self.answer = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return self.answer


def test_an_answer_that_can_not_be_one_is_the_plugins_fault() -> None:
    merger = Merger(name="broken", summary="Broken.", target="a:b")
    with pytest.raises(PluginError, match=r"a matrix of \(60, 50\), and Broken gave \(50, 60\)"):
        combine(CHANGES, WEIGHTS, merger, Broken(torch.zeros(50, 60)), space="dense")
    with pytest.raises(PluginError, match="Broken gave values that are not finite"):
        combine(CHANGES, WEIGHTS, merger, Broken(torch.full((60, 50), torch.nan)), space="dense")
    for wrong in (torch.nan, torch.inf, -torch.inf):
        one = torch.zeros(60, 50)
        one[59, 49] = wrong
        with pytest.raises(PluginError, match="Broken gave values that are not finite"):
            combine(CHANGES, WEIGHTS, merger, Broken(one), space="dense")
