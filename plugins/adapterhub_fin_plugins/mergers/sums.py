"""The weighted sum of the changes, in three forms: as it is, with the factors side by side, and of a small rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin.plugin.low_rank import LowRank, total
from adapterhub_fin.plugin.options import NoOptions


def weighted_sum(changes: Tensor, weights: Tensor) -> Tensor:
    """The sum of w_k D_k, of changes (K, m, n)."""
    merged: Tensor = torch.tensordot(weights, changes, 1)
    return merged


class Linear(MergerImplementation):
    """Task arithmetic (Ilharco et al., arXiv 2212.04089): the sum of w_k D_k, exactly.

    A weight scales its change, of any sign and any sum: a negative one takes away what the adapter learnt. One adapter
    of weight 1 comes back.
    """

    def __init__(self, options: NoOptions) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return weighted_sum(changes, weights)


class Cat(Linear):
    """The same sum with the factors side by side, [w_1 B_1 .. w_K B_K] [A_1; ..; A_K], of the sum of the ranks.

    Nothing is computed but the scales, as in PEFT's `cat`; weights mean what they do in `linear`.
    """

    def join(self, changes: Sequence[LowRank], weights: Sequence[float]) -> LowRank:
        return total([change * weight for change, weight in zip(changes, weights, strict=True) if weight])


class Svd(Linear):
    """The nearest change to that sum of a smaller rank (Eckart and Young 1936), by default the adapters' largest.

    Weights mean what they do in `linear`. One adapter of weight 1 comes back where no smaller rank is asked for.
    """

    def rank(self, ranks: Sequence[int]) -> int:
        return max(1, *ranks)
