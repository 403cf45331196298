"""The mergers' contract is worth what it catches: each merger here breaks one promise, and the test of it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from adapterhub_fin import Merger, hookimpl, register
from adapterhub_fin.plugin import manager as discovery
from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin.testing import MergerContract


class Sums(MergerImplementation):
    """Keeps every promise; those below break one each."""

    def __init__(self, options: Any) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return (weights[:, None, None] * changes).sum(0)


class Writes(Sums):
    """Weighs the changes in place."""

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return changes.mul_(weights[:, None, None]).sum(0)


class Unseeded(Sums):
    """Drops elements by torch's global generator."""

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return super().merge(changes, weights, generator) * (torch.rand(changes.shape[1:]) > 0.5)


class Widens(Sums):
    """Answers in float64, whatever came."""

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return super().merge(changes, weights, generator).double()


class Transposes(Sums):
    """Answers in another shape."""

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return super().merge(changes, weights, generator).T


class Divides(Sums):
    """Divides by the size of each change, of which there is none in a module that an adapter lacks."""

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return super().merge(changes / changes.norm(dim=(1, 2), keepdim=True), weights, generator)


class Adds(Sums):
    """Adds what nobody learnt."""

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return super().merge(changes, weights, generator) + 1


class Trims(Sums):
    """Looks at single elements, and claims that it commutes with rotations."""

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return super().merge(changes * (changes.abs() > 0.5), weights, generator)


class Orders(Sums):
    """Takes the first alone, and is said to be symmetric."""

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return changes[0].clone()


class Unversioned(Sums):
    """Says that its algorithm has version 0."""

    version = 0


BROKEN = (Sums, Writes, Unseeded, Widens, Transposes, Divides, Adds, Trims, Orders, Unversioned)


class Saboteurs:
    """Every broken merger, by the name of its class."""

    @hookimpl
    def ahf_mergers(self) -> list[Merger]:
        return [
            Merger(
                name=f"broken-{each.__name__.lower()}",
                summary="Breaks one promise.",
                target=f"{__name__}:{each.__name__}",
                commutes="both" if each in (Sums, Trims) else "none",
            )
            for each in BROKEN
        ]


@pytest.fixture(scope="module", autouse=True)
def _saboteurs() -> Iterator[None]:
    before = list(discovery._registered)
    register(Saboteurs())
    yield
    discovery._registered[:], discovery._current = before, None


PROMISES = [
    ("writes", "test_leaves_its_input_alone", {}, "were written to"),
    ("unseeded", "test_draws_from_the_generator_alone", {}, "global generator"),
    ("widens", "test_answers_in_the_shape_and_dtype_of_the_changes", {"dtype": "float32"}, "in torch.float32 gave"),
    ("transposes", "test_answers_in_the_shape_and_dtype_of_the_changes", {"dtype": "float64"}, "gave \\(11, 13\\)"),
    ("divides", "test_an_adapter_may_lack_the_module", {}, "not finite"),
    ("adds", "test_nothing_merges_to_nothing", {}, "must merge to zeros"),
    ("adds", "test_one_adapter_comes_back_where_it_says_so", {}, "came back changed"),
    ("trims", "test_commutes_as_it_says", {}, "commutes with rotations"),
    ("trims", "test_the_engine_merges_factors_as_it_merges_matrices", {}, "differs from merging the matrices"),
    ("orders", "test_order_does_not_matter", {}, "order mattered"),
    ("unversioned", "test_states_the_version_of_its_algorithm", {}, "integer from 1"),
]


@pytest.mark.parametrize(("broken", "promise", "given", "said"), PROMISES)
def test_a_broken_promise_is_caught(broken: str, promise: str, given: dict[str, str], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        getattr(_contract(broken), promise)(**given)


@pytest.mark.parametrize("promise", sorted({promise for _, promise, _, _ in PROMISES}))
def test_a_kept_one_is_not(promise: str) -> None:
    given = {"dtype": "float32"} if "dtype" in promise else {}
    getattr(_contract("sums"), promise)(**given)


def _contract(broken: str) -> MergerContract:
    contract: MergerContract = type("Contract", (MergerContract,), {"name": f"broken-{broken}", "symmetric": True})()
    return contract
