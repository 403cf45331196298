"""How a merge is settled before its matrices are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from adapterhub_fin.engine.merging.plan import MergePlan, MergeSettings, _left_out
from adapterhub_fin.engine.merging.weights import Weights
from adapterhub_fin.errors import BadMerge
from adapterhub_fin.plugin.low_rank import LowRank


def settings(using: str = "dare-linear", seed: int = 0, rank: Any = None, **options: Any) -> MergeSettings:
    return MergeSettings.of(using, options, None, rank, seed)


def changes() -> list[LowRank]:
    generator = torch.Generator().manual_seed(0)
    return [LowRank(torch.randn(12, 3, generator=generator), torch.randn(3, 9, generator=generator)) for _ in range(2)]


def drawn(name: str, seed: int) -> Tensor:
    return settings(seed=seed).combine(changes(), (1.0, 1.0), name).change.dense()


def test_draws_follow_from_the_seed_and_the_parameter_s_name() -> None:
    """Whatever else is merged before it, and on every machine."""
    first = drawn("a.weight", 0)
    drawn("b.weight", 0)
    assert drawn("a.weight", 0).equal(first)
    assert not drawn("b.weight", 0).allclose(first) and not drawn("a.weight", 1).allclose(first)


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_a_seed_is_one_that_a_manifest_records(seed: int) -> None:
    with pytest.raises(BadMerge, match=f"the seed {seed} is not a whole number from 0"):
        settings(seed=seed)
    assert settings(seed=2**63 - 1).seed == 2**63 - 1 and settings(seed=0).seed == 0


@pytest.mark.parametrize("rank", [0, -1, 0.0, 1.5, -0.1, 2**63])
def test_a_rank_is_checked_before_anything_is_read(rank: Any) -> None:
    with pytest.raises(BadMerge, match="a rank is a whole number from 1, or the share"):
        settings(rank=rank)


def test_what_goes_wrong_names_its_parameter() -> None:
    huge = [LowRank(torch.full((2, 1), 1e30), torch.full((1, 2), 1e30))] * 2
    with pytest.raises(BadMerge, match="a.weight: adapter 1 of 2 changes it by"):
        settings().combine(huge, (1.0, 1.0), "a.weight")


@pytest.mark.parametrize(
    ("dtypes", "widest"),
    [
        ([torch.float16], torch.float32),
        ([torch.bfloat16, torch.float16], torch.float32),
        ([torch.float32, torch.float64], torch.float64),
        ([], torch.float32),
    ],
)
def test_a_merge_is_stored_in_the_widest_type_and_float32_at_least(
    dtypes: list[torch.dtype], widest: torch.dtype
) -> None:
    parents: Any = [SimpleNamespace(changes=SimpleNamespace(dtypes=(each,))) for each in dtypes]
    head: Any = SimpleNamespace(origin=None)
    assert MergePlan(parents, settings(), Weights((1.0,)), {}, head, []).dtype == widest


def test_weights_that_no_head_takes_are_said_to_be_left_out() -> None:
    """Of a merge that takes one adapter's head, what the others bring."""
    parents: Any = [
        SimpleNamespace(called=called, changes=SimpleNamespace(modules_to_save=modules))
        for called, modules in (("a/1", ("classifier",)), ("a/2", ("score", "classifier", "pooler")), ("a/3", ()))
    ]
    head: Any = SimpleNamespace(modules_to_save=("classifier", "norm"))
    assert _left_out(parents, head) == ["a/2: its weights of pooler, score are left out"]
