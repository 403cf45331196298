"""Merge with Model Breadcrumbs: drop the small elements and the largest ones."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import MergerImplementation
from adapterhub_fin_plugins.mergers.elements import between
from adapterhub_fin_plugins.mergers.options import BreadcrumbsOptions


class Breadcrumbs(MergerImplementation):
    """Merge with Model Breadcrumbs (Davari and Belilovsky, arXiv 2312.06795): the sum of w_k times the masked D_k.

    The mask of each change drops the share `outliers` of the largest elements and keeps the share `density` of the next
    largest. Weights mean the same as in `linear`. A single adapter of weight 1 comes back masked, and unchanged at
    density 1 without outliers.
    """

    def __init__(self, options: BreadcrumbsOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        merged = torch.zeros_like(changes[0])
        for weight, change in zip(weights, changes, strict=True):
            merged += weight * between(change, self.options.outliers, self.options.density)
        return merged
