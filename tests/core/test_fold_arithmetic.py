"""A change folded into a weight: by formulas on whole matrices, of which the code sees a block of rows at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adapterhub_fin.engine.folding import loss as folding_loss
from adapterhub_fin.engine.folding.loss import AGAIN, FoldedChange, Loss, blocks, distance_squared, fitted, squared
from adapterhub_fin.engine.merging.parameters import AdaptedParameter, Kind
from adapterhub_fin.errors import Refused
from adapterhub_fin.plugin.low_rank import LowRank


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def change(shape: tuple[int, int], kind: Kind = "linear", *, dora: bool = False, turned: bool = False) -> FoldedChange:
    low_rank = LowRank(drawn(shape[0], 2, seed=1), drawn(2, shape[1], seed=2), -0.7)
    size = shape[1] if kind == "embedding" else shape[0]
    return FoldedChange(
        AdaptedParameter("some.layer", kind, shape), low_rank, drawn(size, seed=3).abs() if dora else None, turned
    )


def folded(what: FoldedChange, weight: Tensor) -> Tensor:
    """The whole folded weight, from its blocks, in the form it is stored in."""
    result = torch.empty(weight.shape, dtype=torch.float64)
    for block, (exact,) in what.folded([what.rows(weight)]):
        what.rows(result)[block] = exact
    return result


@pytest.mark.parametrize("kind", ["linear", "embedding", "convolution"])
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("elements", [1, 7, 40, 2**17])
def test_a_weight_becomes_its_sum_and_dora_brings_its_rows_to_their_norms(
    kind: Kind, dora: bool, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an embedding the columns, as PEFT has it; whatever the blocks."""
    monkeypatch.setattr(folding_loss, "ELEMENTS", elements)
    what, weight = change((6, 10), kind, dora=dora), drawn(6, 10, seed=4)
    wanted = weight.double() + what.low_rank.to(torch.float64).dense()
    if dora:
        assert what.magnitude is not None
        axis = 0 if kind == "embedding" else 1
        norms = wanted.norm(dim=axis, keepdim=True)
        wanted = wanted / norms * what.magnitude.double().reshape(norms.shape)
    assert torch.allclose(folded(what, weight), wanted, rtol=1e-12)


@pytest.mark.parametrize("dora", [False, True])
def test_a_weight_that_is_stored_turned_is_folded_turned(dora: bool) -> None:
    what, weight = change((6, 10), dora=dora, turned=True), drawn(6, 10, seed=4)
    assert torch.allclose(folded(what, weight.T.contiguous()).T, folded(change((6, 10), dora=dora), weight), rtol=1e-12)


def test_a_kernel_is_folded_as_a_matrix() -> None:
    weight = drawn(6, 5, 2, seed=4)
    what = FoldedChange(AdaptedParameter("conv", "convolution", (6, 5, 2)), change((6, 10)).low_rank, None, False)
    wanted = weight.reshape(6, 10).double() + what.low_rank.to(torch.float64).dense()
    assert torch.allclose(folded(what, weight).reshape(6, 10), wanted, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_distance_is_measured_in_double_precision(dtype: torch.dtype) -> None:
    one, other = torch.full((3, 4), 4096.0, dtype=dtype), torch.full((3, 4), 2**-9, dtype=dtype)
    assert distance_squared(one, other) == 12 * (4096 - 2**-9) ** 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_blocks_cover_every_row_once(rows: int, width: int) -> None:
    matrix = torch.arange(rows * width).reshape(rows, width)
    for elements in (1, 64, 2**17):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(folding_loss, "ELEMENTS", elements)
            found = list(blocks(matrix))
        assert [place for block in found for place in range(block.start, min(block.stop, rows))] == list(range(rows))
        assert all((block.stop - block.start) * width <= max(elements, width) for block in found)


def test_distances_are_squared_and_not_rounded() -> None:
    one = torch.tensor([[1e-4, 2.0], [300.0, -4.0]], dtype=torch.float16)
    other = torch.zeros(2, 2, dtype=torch.float16)
    assert distance_squared(one, other) == pytest.approx(float(one.double().square().sum()), rel=1e-15)
    assert squared(one) == pytest.approx(90020.0, rel=1e-5)
    assert distance_squared(one, one) == 0


def test_the_loss_of_a_fold_is_what_is_written_less_what_was_meant() -> None:
    """In training the adapter saw `held`; what is meant is `held` with the change, whatever is folded into."""
    what, weight = change((6, 10)), drawn(6, 10, seed=4)
    held = weight + 0.1 * drawn(6, 10, seed=5)
    meant = held.double() + what.low_rank.to(torch.float64).dense()
    effect = float((meant - held.double()).norm())
    for into, start in (("dequantised", held), ("original", weight)):
        loss = Loss(into)  # type: ignore[arg-type]
        written = loss.fold("w", what, weight, held, torch.bfloat16)
        exact = start.double() + what.low_rank.to(torch.float64).dense()
        assert written.equal(exact.to(torch.bfloat16))
        found = loss.relative()
        for choice, each in (("dequantised", held), ("original", weight)):
            told = (each.double() + what.low_rank.to(torch.float64).dense()).to(torch.bfloat16).double()
            assert found[choice] == pytest.approx(float((told - meant).norm()) / effect, rel=1e-9)
        assert (loss.worst() or ()) == ("w", pytest.approx(found[into], rel=1e-9))
        loss.quantize_again("w", written, lambda key, tensor: tensor.float() + 0.5)
        assert loss.relative()[AGAIN] == pytest.approx(0.5 * math.sqrt(60) / effect, rel=1e-6)


def test_losses_are_of_all_weights_together_and_the_worst_is_named() -> None:
    loss, sizes, errors = Loss(None), [], []
    for name, scale in (("small", 0.01), ("large", 3.0)):
        low_rank = LowRank(drawn(6, 2, seed=1), drawn(2, 10, seed=2), scale)
        what, weight = (
            FoldedChange(AdaptedParameter(name, "linear", (6, 10)), low_rank, None, False),
            drawn(6, 10, seed=4),
        )
        written = loss.fold(name, what, weight, weight, torch.bfloat16)
        exact = weight.double() + low_rank.to(torch.float64).dense()
        sizes.append(float(low_rank.to(torch.float64).dense().norm()) ** 2)
        errors.append(float((written.double() - exact).norm()) ** 2)
    assert loss.relative() == {"rounding": pytest.approx(math.sqrt(sum(errors) / sum(sizes)), rel=1e-9)}
    assert (loss.worst() or ()) == ("small", pytest.approx(math.sqrt(errors[0] / sizes[0]), rel=1e-6))
    assert Loss(None).relative() == {} and Loss(None).worst() is None


@pytest.mark.parametrize("wrong", [7e4, float("inf"), float("nan")])
def test_what_a_type_does_not_hold_is_refused(wrong: float) -> None:
    with pytest.raises(Refused, match="w would hold"):
        fitted(torch.tensor([[1.0, wrong]], dtype=torch.float64), torch.float16, "w")
    held = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    assert fitted(held, torch.float16, "w").dtype == torch.float16 and fitted(held, torch.float64, "w") is held
