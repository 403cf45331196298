"""Merge into the geometric median of the adapters' changes, which one outlier can't pull away."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import BadMerge, MergerImplementation
from adapterhub_fin_bias_only.options import GeometricMedianOptions


class GeometricMedian(MergerImplementation):
    """Find the change M with the least sum of w_k |D_k - M| (Weiszfeld 1937); a mean minimizes squared distances.

    Weights are divided by their sum. `merge` raises BadMerge for a negative weight, because then the sum has no
    minimum. Rotations don't change distances, so the description says `commutes="both"`:
    the engine merges small cores, exactly.
    """

    def __init__(self, options: GeometricMedianOptions) -> None:
        self.steps = options.steps

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        """Return the median (m, n) of changes (K, m, n). Raises BadMerge for a negative weight."""
        if bool((weights < 0).any()):
            raise BadMerge("geometric-median supports no negative weights; use linear")
        share = weights / weights.sum()
        median: Tensor = torch.tensordot(share, changes, 1)
        smallest = 1e-6 * torch.linalg.matrix_norm(changes).max()  # a median that is one of the changes has distance 0
        if not bool(smallest):
            return median
        for _ in range(self.steps):
            inverse = share / torch.linalg.matrix_norm(changes - median).clamp(min=smallest)
            median = torch.tensordot(inverse / inverse.sum(), changes, 1)
        return median
