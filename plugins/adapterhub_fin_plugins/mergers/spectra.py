"""Merge by singular values and vectors: TSV-M and Iso-C."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import MergerImplementation, NoOptions, numerical_rank
from adapterhub_fin_plugins.mergers.options import TsvOptions
from adapterhub_fin_plugins.mergers.sums import weighted_sum


class Tsv(MergerImplementation):
    """Merge with TSV-M (Gargiulo et al., arXiv 2412.00081): the sum with the adapters' singular vectors orthogonalized.

    With D_k = U_k S_k V_k', the merge is U diag(w_1 S_1, .., w_K S_K) V', where U is the matrix with orthonormal
    columns nearest to [U_1 .. U_K] (Procrustes), and V the one nearest to [V_1 .. V_K]; a direction that several
    adapters have is shared between them. A weight scales its adapter's values and may be negative; an adapter of weight
    0 is left out. The paper keeps 1/K of the values of full matrices, so that all K fit; low-rank changes fit as they
    are. A single adapter of weight 1 comes back.
    """

    def __init__(self, options: TsvOptions) -> None:
        self.keep = options.keep

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        u, values, v = torch.linalg.svd(changes, full_matrices=False)
        ranks = [
            # 0.07 * 100 is slightly more than 7 in floating point
            math.ceil(self.keep * numerical_rank(spectrum) - 1e-9) if weight else 0
            for spectrum, weight in zip(values, weights, strict=True)
        ]
        left = _orthonormal(torch.cat([vectors[:, :rank] for vectors, rank in zip(u, ranks, strict=True)], 1))
        right = _orthonormal(torch.cat([vectors[:rank] for vectors, rank in zip(v, ranks, strict=True)], 0).T)
        scaled = [w * spectrum[:rank] for w, spectrum, rank in zip(weights, values, ranks, strict=True)]
        return (left * torch.cat(scaled)) @ right.T


class Iso(MergerImplementation):
    """Merge with Iso-C (Marczak et al., arXiv 2502.04959): the weighted sum with all singular values set to their mean.

    Of U S V', the sum of w_k D_k, it keeps U and V and gives each direction the mean of S, so that weak directions,
    which are often specific to one adapter, count as much as common ones. The mean is over the nonzero values; the
    paper averages over full matrices, which here would count the zeros of low rank too. Weights mean the same as in
    `linear`. A single adapter comes back with a flat spectrum.
    """

    def __init__(self, options: NoOptions) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        u, values, v = torch.linalg.svd(weighted_sum(changes, weights), full_matrices=False)
        rank = numerical_rank(values)
        flat: Tensor = (values[:rank].sum() / max(rank, 1)) * (u[:, :rank] @ v[:rank])
        return flat


def _orthonormal(columns: Tensor) -> Tensor:
    """Return the nearest matrix (m, r) with orthonormal columns, or a partial isometry for dependent columns."""
    u, values, v = torch.linalg.svd(columns, full_matrices=False)
    rank = numerical_rank(values)
    nearest: Tensor = u[:, :rank] @ v[:rank]
    return nearest
