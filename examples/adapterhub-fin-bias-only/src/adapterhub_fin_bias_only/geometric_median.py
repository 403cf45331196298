"""A merger: the geometric median of the adapters' changes, which one adapter that is off can't pull away."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.errors import BadMerge
from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin_bias_only.options import GeometricMedianOptions


class GeometricMedian(MergerImplementation):
    """The change with the least sum of w_k |D_k - M| (Weiszfeld 1937): distances, not their squares as for a mean.

    Weights count over their sum; negative ones are refused, for there the sum has no least. Distances are the same in
    any orthonormal bases, so the description says `commutes="both"`: the engine merges small cores, exactly.
    """

    def __init__(self, options: GeometricMedianOptions) -> None:
        self.steps = options.steps

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        if bool((weights < 0).any()):
            raise BadMerge("geometric-median takes no negative weights; linear does")
        share = weights / weights.sum()
        median: Tensor = torch.tensordot(share, changes, 1)
        near = 1e-6 * torch.linalg.matrix_norm(changes).max()  # a median that is one of the changes has distance 0
        if not bool(near):
            return median
        for _ in range(self.steps):
            pull = share / torch.linalg.matrix_norm(changes - median).clamp(min=near)
            median = torch.tensordot(pull / pull.sum(), changes, 1)
        return median
