"""Merge with KnOTS: apply TIES or DARE to factors of the changes in a common basis."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import MergerImplementation, numerical_rank
from adapterhub_fin_plugins.mergers.elements import agreed, dropped, trimmed
from adapterhub_fin_plugins.mergers.options import KnotsDareOptions, TiesOptions
from adapterhub_fin_plugins.mergers.sums import weighted_sum


class KnotsTies(MergerImplementation):
    """Merge with KnOTS and TIES (Stoica et al., arXiv 2410.19735): `ties` on factors in a common basis.

    With the thin SVD [D_1 .. D_K] = U S [V_1 .. V_K] of rank R, the merge is U times the `ties` of the matrices S V_k,
    each (R, n). It has rank R at most, so the result is exact. Weights mean the same as in `ties`. A single adapter of
    weight 1 comes back trimmed in its own singular basis, and unchanged at density 1.
    """

    def __init__(self, options: TiesOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        basis, factors = _aligned(changes)
        if not basis.shape[1]:
            return torch.zeros_like(changes[0])
        return basis @ agreed([trimmed(factor, self.options.density) for factor in factors], weights, self.options)


class KnotsDare(MergerImplementation):
    """Merge with KnOTS and DARE (Stoica et al., arXiv 2410.19735): `dare-ties` on factors in a common basis.

    The basis is that of `knots-ties`; without `vote` the factors are merged as by `dare-linear`. Weights mean the same
    as in those two. A single adapter of weight 1 comes back with elements of its factor dropped, and unchanged at
    density 1.
    """

    def __init__(self, options: KnotsDareOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        basis, factors = _aligned(changes)
        if not basis.shape[1]:
            return torch.zeros_like(changes[0])
        survivors = torch.stack([dropped(factor, self.options, generator) for factor in factors])
        return basis @ (
            agreed(list(survivors), weights, self.options) if self.options.vote else weighted_sum(survivors, weights)
        )


def _aligned(changes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the left singular vectors (m, R) of [D_1 .. D_K], and each change's coordinates in them, (K, R, n).

    An SVD leaves two things open: the signs of the vectors, which later steps don't depend on, and rotations among
    vectors of equal singular values, which they do depend on.
    """
    u, values, _ = torch.linalg.svd(changes.transpose(0, 1).flatten(1), full_matrices=False)
    basis = u[:, : numerical_rank(values)]
    return basis, basis.T @ changes
