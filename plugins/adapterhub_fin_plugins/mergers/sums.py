"""Merge by the weighted sum of the changes: exactly, as concatenated factors, or at a smaller rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import LowRank, MergerImplementation, NoOptions, total


def weighted_sum(changes: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of w_k D_k, (m, n), for changes (K, m, n) and weights (K,)."""
    merged: Tensor = torch.tensordot(weights, changes, 1)
    return merged


class Linear(MergerImplementation):
    """Merge by task arithmetic (Ilharco et al., arXiv 2212.04089): exactly the sum of w_k D_k.

    Weights may have any sign and any sum; a negative weight subtracts what its adapter learned. A single adapter of
    weight 1 comes back.
    """

    def __init__(self, options: NoOptions) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return weighted_sum(changes, weights)


class Cat(Linear):
    """Merge into the same sum as concatenated factors, [w_1 B_1 .. w_K B_K] [A_1; ..; A_K]; its rank is the ranks' sum.

    Only the scales are computed, as in PEFT's `cat`. Weights mean the same as in `linear`.
    """

    def join(self, changes: Sequence[LowRank], weights: Sequence[float]) -> LowRank:
        return total([change * weight for change, weight in zip(changes, weights, strict=True) if weight])


class Svd(Linear):
    """Merge into the nearest change of a smaller rank (Eckart and Young 1936), by default the adapters' largest rank.

    Weights mean the same as in `linear`. A single adapter of weight 1 comes back, unless a smaller rank is set.
    """

    def rank(self, ranks: Sequence[int]) -> int:
        return max(1, *ranks)
