"""Model Breadcrumbs: neither the small elements nor the largest."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin_plugins.mergers.elements import between
from adapterhub_fin_plugins.mergers.options import BreadcrumbsOptions


class Breadcrumbs(MergerImplementation):
    """Model Breadcrumbs (Davari and Belilovsky, arXiv 2312.06795): the sum of w_k d_k, d_k with outliers dropped too.

    Of each change's elements the largest share `outliers` is dropped, and of the rest the largest share `density` is
    kept. Weights mean what they do in `linear`. One adapter of weight 1 comes back so masked, and whole at density 1
    without outliers.
    """

    def __init__(self, options: BreadcrumbsOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        merged = torch.zeros_like(changes[0])
        for weight, change in zip(weights, changes, strict=True):
            merged += weight * between(change, self.options.outliers, self.options.density)
        return merged
