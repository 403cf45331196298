"""Mergers that work on singular values and vectors."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin.plugin.low_rank import numerical_rank
from adapterhub_fin.plugin.options import NoOptions
from adapterhub_fin_plugins.mergers.options import TsvOptions
from adapterhub_fin_plugins.mergers.sums import weighted_sum


class Tsv(MergerImplementation):
    """TSV-M (Gargiulo et al., arXiv 2412.00081): the sum, once the adapters' singular vectors stand at right angles.

    With D_k = U_k S_k V_k', the merge is U diag(w_1 S_1, .., w_K S_K) V', where U is the matrix with orthonormal
    columns that is nearest to [U_1 .. U_K] (Procrustes), and V that to [V_1 .. V_K]; directions that are one in several
    adapters are shared between them. A weight scales its adapter's values, of any sign; one of 0 is left out. The
    paper keeps of full matrices a K-th of the values, so that all K fit; changes of low rank fit as they are. One
    adapter of weight 1 comes back.
    """

    def __init__(self, options: TsvOptions) -> None:
        self.keep = options.keep

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        u, values, v = torch.linalg.svd(changes, full_matrices=False)
        kept = [
            # 0.07 * 100 is a little more than 7 to a computer
            math.ceil(self.keep * numerical_rank(each) - 1e-9) if w else 0
            for each, w in zip(values, weights, strict=True)
        ]
        left = _orthonormal(torch.cat([each[:, :count] for each, count in zip(u, kept, strict=True)], 1))
        right = _orthonormal(torch.cat([each[:count] for each, count in zip(v, kept, strict=True)], 0).T)
        scaled = [w * each[:count] for w, each, count in zip(weights, values, kept, strict=True)]
        return (left * torch.cat(scaled)) @ right.T


class Iso(MergerImplementation):
    """Iso-C (Marczak et al., arXiv 2502.04959): the weighted sum with all its singular values made their mean.

    Of U S V', the sum of w_k D_k, it keeps U and V and gives each direction the mean of S: weak ones, which are often
    single adapters' own, count as much as the common ones. The mean is over the values that are not zero; over a full
    matrix, as in the paper, the zeros of low rank would count too. Weights mean what they do in `linear`. One adapter
    comes back with its spectrum flattened, which is the point.
    """

    def __init__(self, options: NoOptions) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        u, values, v = torch.linalg.svd(weighted_sum(changes, weights), full_matrices=False)
        rank = numerical_rank(values)
        flat: Tensor = (values[:rank].sum() / max(rank, 1)) * (u[:, :rank] @ v[:rank])
        return flat


def _orthonormal(columns: Tensor) -> Tensor:
    """The nearest matrix with orthonormal columns, (m, r); of columns that depend on others, a partial isometry."""
    u, values, v = torch.linalg.svd(columns, full_matrices=False)
    rank = numerical_rank(values)
    nearest: Tensor = u[:, :rank] @ v[:rank]
    return nearest
