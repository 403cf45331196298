"""DARE: drop elements at random and rescale the rest, then sum, or vote as TIES does."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin_plugins.mergers.elements import agreed, dropped
from adapterhub_fin_plugins.mergers.options import DareTiesOptions, DropOptions


class DareLinear(MergerImplementation):
    """DARE (Yu et al., arXiv 2311.03099): the sum of w_k d_k, where d_k is D_k with elements dropped at random.

    Each element survives with the chance `density` and is divided by it, so that the mean over draws is the weighted
    sum. Weights mean what they do in `linear`. One adapter of weight 1 comes back with elements dropped, and whole at
    density 1. The default is the drop rate of 0.2 that the authors merge with.
    """

    def __init__(self, options: DropOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        merged = torch.zeros_like(changes[0])
        for weight, change in zip(weights, changes, strict=True):
            merged += weight * dropped(change, self.options, generator)
        return merged


class DareTies(MergerImplementation):
    """DARE, then TIES (arXiv 2311.03099): elements dropped as in `dare-linear`, then the vote and mean of `ties`.

    Weights mean what they do in `ties`. One adapter of weight 1 comes back with elements dropped, and whole at density
    1.
    """

    def __init__(self, options: DareTiesOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return agreed([dropped(change, self.options, generator) for change in changes], weights, self.options)
