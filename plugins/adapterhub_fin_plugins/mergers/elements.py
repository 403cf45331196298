"""The steps that mergers of single elements share: which elements survive, whose sign holds, what is averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

if TYPE_CHECKING:
    from adapterhub_fin_plugins.mergers.options import DropOptions, VoteOptions

ROWS = 256  # voted on at a time, so that no step holds the whole stack again


def trimmed(matrix: Tensor, density: float) -> Tensor:
    """The matrix with that share of its elements, the largest; of equals all are kept, and one element always."""
    return matrix * (matrix.abs() >= _size_of(matrix, density))


def between(matrix: Tensor, outliers: float, density: float) -> Tensor:
    """The matrix with a share of its elements, the largest once a share of outliers above them is dropped."""
    size = matrix.abs()
    kept = size >= _size_of(matrix, outliers + density)
    if round(outliers * matrix.numel()):
        kept &= size < _size_of(matrix, outliers)
    return matrix * kept


def _size_of(matrix: Tensor, share: float) -> Tensor:
    """The magnitude of the smallest of that share of the elements, the largest ones; of one at least."""
    count = min(max(1, round(share * matrix.numel())), matrix.numel())
    return matrix.abs().flatten().kthvalue(matrix.numel() - count + 1).values


def dropped(matrix: Tensor, options: DropOptions, generator: Generator) -> Tensor:
    """DARE (Yu et al., arXiv 2311.03099): each element survives with the chance `density`; survivors are rescaled."""
    # Not bernoulli_, whose draws are MKL's where there is one, and others elsewhere.
    survives = torch.rand(matrix.shape, generator=generator, dtype=torch.float32) < options.density
    survivors = matrix * survives
    if options.rescale == "density":
        return survivors / options.density
    if options.rescale == "l1" and (left := survivors.abs().sum()) > 0:
        return survivors * (matrix.abs().sum() / left)
    return survivors


def agreed(changes: Sequence[Tensor], weights: Tensor, options: VoteOptions) -> Tensor:
    """TIES's last two steps: elect a sign for each element, and average the changes that have it.

    The vote is the sign of the sum of the elements, unweighted; where it is even, the element stays zero. The mean is
    the sum of w_k d_k over the changes with that sign, divided by their count.
    """
    merged = torch.empty_like(changes[0])
    for start in range(0, len(merged), ROWS):
        rows = slice(start, start + ROWS)
        merged[rows] = _agreed(torch.stack([change[rows] for change in changes]), weights[:, None, None], options)
    return merged


def _agreed(changes: Tensor, weights: Tensor, options: VoteOptions) -> Tensor:
    """The same of some rows, (K, rows, n), with weights (K, 1, 1)."""
    weighs = options.convention == "mergekit"
    votes = weights * changes if weighs else changes
    elected = (votes if options.elect == "total" else votes.sign()).sum(0).sign()
    holds = votes.sign() == elected
    count = (weights * holds if weighs else holds).sum(0)
    nothing = 8 * torch.finfo(weights.dtype).eps * weights.abs().sum()  # what weights leave that cancel each other
    return (weights * changes * holds).sum(0) / torch.where(count.abs() <= nothing, 1, count)
