"""Merge with DARE: drop elements at random, rescale the rest, then sum them or vote as TIES does."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import MergerImplementation
from adapterhub_fin_plugins.mergers.elements import agreed, dropped
from adapterhub_fin_plugins.mergers.options import DareTiesOptions, DropOptions


class DareLinear(MergerImplementation):
    """Merge with DARE (Yu et al., arXiv 2311.03099): the sum of w_k d_k, where d_k is D_k with random elements dropped.

    Each element survives with probability `density` and is divided by it, so that the expected merge is the weighted
    sum. Weights mean the same as in `linear`. A single adapter of weight 1 comes back with elements dropped, and
    unchanged at density 1. The default is the authors' drop rate of 0.2.
    """

    def __init__(self, options: DropOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        merged = torch.zeros_like(changes[0])
        for weight, change in zip(weights, changes, strict=True):
            merged += weight * dropped(change, self.options, generator)
        return merged


class DareTies(MergerImplementation):
    """Merge with DARE and TIES (arXiv 2311.03099): drop elements as `dare-linear`, then vote and average as `ties`.

    Weights mean the same as in `ties`. A single adapter of weight 1 comes back with elements dropped, and unchanged at
    density 1.
    """

    def __init__(self, options: DareTiesOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return agreed([dropped(change, self.options, generator) for change in changes], weights, self.options)
