"""Merge with TIES: trim, elect a sign, average the elements that have it; or with magnitude, which only trims."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import MergerImplementation
from adapterhub_fin_plugins.mergers.elements import agreed, trimmed
from adapterhub_fin_plugins.mergers.options import TiesOptions, TrimOptions


class Ties(MergerImplementation):
    """Merge with TIES (Yadav et al., arXiv 2306.01708): trim each change, elect a sign for each element, average.

    An element's sign is that of the unweighted sum of the trimmed changes. The mean is the sum of w_k d_k over the
    changes with that sign, divided by their count, so that equal weights w are the paper's lambda. A negative weight
    subtracts its change where the change's own sign won; a change of weight 0 still votes and counts. The trim is by
    module, the paper's over the full model. A single adapter of weight 1 comes back trimmed, or unchanged at density 1.
    """

    def __init__(self, options: TiesOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return agreed([trimmed(change, self.options.density) for change in changes], weights, self.options)


class Magnitude(MergerImplementation):
    """Prune by magnitude (Han et al., arXiv 1506.02626): the sum of w_k times each change's largest elements.

    Weights mean the same as in `linear`. A single adapter of weight 1 comes back trimmed, and unchanged at density 1.
    """

    def __init__(self, options: TrimOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        merged = torch.zeros_like(changes[0])
        for weight, change in zip(weights, changes, strict=True):
            merged += weight * trimmed(change, self.options.density)
        return merged
