"""TIES: trim, elect a sign, and average what agrees; and magnitude, which only trims."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin_plugins.mergers.elements import agreed, trimmed
from adapterhub_fin_plugins.mergers.options import TiesOptions, TrimOptions


class Ties(MergerImplementation):
    """TIES (Yadav et al., arXiv 2306.01708): each change trimmed to its largest elements, a sign elected, a mean taken.

    An element's sign is that of the sum of the trimmed changes, unweighted. The mean is the sum of w_k d_k over the
    changes with that sign, divided by how many they are, so that with equal weights w is the paper's lambda. A negative
    weight takes its change away where the change's own sign won; one of 0 still votes, and counts. The trim is by
    module (the paper's is over the whole model). One adapter of weight 1 comes back trimmed, and whole at density 1.
    """

    def __init__(self, options: TiesOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return agreed([trimmed(change, self.options.density) for change in changes], weights, self.options)


class Magnitude(MergerImplementation):
    """Pruning by magnitude (Han et al., arXiv 1506.02626): the sum of w_k times each change's largest elements.

    Weights mean what they do in `linear`. One adapter of weight 1 comes back trimmed, and whole at density 1.
    """

    def __init__(self, options: TrimOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        merged = torch.zeros_like(changes[0])
        for weight, change in zip(weights, changes, strict=True):
            merged += weight * trimmed(change, self.options.density)
        return merged
