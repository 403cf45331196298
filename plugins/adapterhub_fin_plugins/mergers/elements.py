"""Share the steps of elementwise mergers: trim and drop elements, elect a sign, average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

if TYPE_CHECKING:
    from adapterhub_fin_plugins.mergers.options import DropOptions, VoteOptions

ROWS = 256  # rows voted on at a time, so that no step copies the entire stack


def trimmed(matrix: Tensor, density: float) -> Tensor:
    """Return the matrix with only the share `density` of its largest elements: at least one, and all equal ones."""
    return matrix * (matrix.abs() >= _size_of(matrix, density))


def between(matrix: Tensor, outliers: float, density: float) -> Tensor:
    """Return the matrix with the share `density` of its elements that are largest after the share `outliers`."""
    size = matrix.abs()
    mask = size >= _size_of(matrix, outliers + density)
    if round(outliers * matrix.numel()):
        mask &= size < _size_of(matrix, outliers)
    return matrix * mask


def _size_of(matrix: Tensor, share: float) -> Tensor:
    """Return the smallest magnitude among the share of the largest elements, which has at least one element."""
    count = min(max(1, round(share * matrix.numel())), matrix.numel())
    return matrix.abs().flatten().kthvalue(matrix.numel() - count + 1).values


def dropped(matrix: Tensor, options: DropOptions, generator: Generator) -> Tensor:
    """Drop elements as DARE does (arXiv 2311.03099): each survives with probability `density` and is rescaled."""
    # Not bernoulli_, whose draws differ between machines with and without MKL.
    survives = torch.rand(matrix.shape, generator=generator, dtype=torch.float32) < options.density
    survivors = matrix * survives
    if options.rescale == "density":
        return survivors / options.density
    if options.rescale == "l1" and (left := survivors.abs().sum()) > 0:
        return survivors * (matrix.abs().sum() / left)
    return survivors


def agreed(changes: Sequence[Tensor], weights: Tensor, options: VoteOptions) -> Tensor:
    """Elect a sign for each element and average the changes that have it: the last two steps of TIES.

    `changes` are K tensors (m, n) and `weights` is (K,). The elected sign is that of the unweighted sum of the
    elements; if the sum is zero, the merged element is zero. The mean is the sum of w_k d_k over the changes with that
    sign, divided by their count.
    """
    merged = torch.empty_like(changes[0])
    for start in range(0, len(merged), ROWS):
        rows = slice(start, start + ROWS)
        merged[rows] = _agreed(torch.stack([change[rows] for change in changes]), weights[:, None, None], options)
    return merged


def _agreed(changes: Tensor, weights: Tensor, options: VoteOptions) -> Tensor:
    """Merge some rows, (K, rows, n), with weights (K, 1, 1)."""
    weighted = options.convention == "mergekit"
    votes = weights * changes if weighted else changes
    elected = (votes if options.elect == "total" else votes.sign()).sum(0).sign()
    holds = votes.sign() == elected
    count = (weights * holds if weighted else holds).sum(0)
    negligible = 8 * torch.finfo(weights.dtype).eps * weights.abs().sum()  # rounding left by weights that cancel
    return (weights * changes * holds).sum(0) / torch.where(count.abs() <= negligible, 1, count)
