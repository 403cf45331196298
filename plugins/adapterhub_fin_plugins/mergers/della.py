"""Merge with DELLA: drop elements at random, small ones more often, then vote as TIES does."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import MergerImplementation
from adapterhub_fin_plugins.mergers.elements import agreed
from adapterhub_fin_plugins.mergers.options import DellaOptions


class Della(MergerImplementation):
    """Merge with DELLA (Deep et al., arXiv 2406.11617): larger elements of a row survive with a higher probability.

    The probability rises in equal steps from density - window/2, for the smallest element of a row, to
    density + window/2 for the largest. Survivors are divided by their probability, then merged by the vote and mean of
    `ties`; weights mean the same as there. A single adapter of weight 1 comes back with elements dropped.
    """

    def __init__(self, options: DellaOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        return agreed([self._drop(change, generator) for change in changes], weights, self.options)

    def _drop(self, matrix: Tensor, generator: Generator) -> Tensor:
        low, high = (self.options.density + side * self.options.window / 2 for side in (-1, 1))
        steps = torch.linspace(low, high, matrix.shape[1], dtype=matrix.dtype).expand_as(matrix)
        order = matrix.abs().argsort(dim=1, stable=True)
        probability = torch.empty_like(matrix).scatter_(1, order, steps)
        draw = torch.rand(matrix.shape, generator=generator, dtype=torch.float32)
        return matrix * (draw < probability) / probability
