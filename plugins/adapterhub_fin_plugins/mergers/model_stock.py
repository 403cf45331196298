"""Merge with Model Stock: scale the mean by how much the changes agree."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import MergerImplementation, NoOptions
from adapterhub_fin_plugins.mergers.directions import shares
from adapterhub_fin_plugins.mergers.sums import weighted_sum


class ModelStock(MergerImplementation):
    """Merge with Model Stock (Jang et al., arXiv 2403.19522): t times the mean, with t = K c / (1 + (K - 1) c).

    c is the mean cosine of the angles between pairs of the K changes. Equal changes give t = 1. If c is 0 or below, as
    for unrelated changes, t is 0 and the module stays as in the base. Weights are divided by their sum for the mean and
    don't count in t. An adapter with weight 0 or without a change of the module is left out; if only one adapter is
    left, its change comes back. `merge` raises BadMerge for a negative weight.
    """

    def __init__(self, options: NoOptions) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        share = shares(weights, "model-stock")
        lengths = torch.linalg.vector_norm(changes, dim=(1, 2))
        stock = (lengths > 0) & (share > 0)
        count = int(stock.sum())
        if not count:
            return torch.zeros_like(changes[0])
        mean = weighted_sum(changes[stock], share[stock] / share[stock].sum())
        if count == 1:
            return mean
        directions = changes[stock].flatten(1) / lengths[stock][:, None]
        cosine = float((directions @ directions.T).triu(1).sum()) / (count * (count - 1) / 2)
        return mean * (count * cosine / (1 + (count - 1) * cosine) if cosine > 0 else 0.0)
