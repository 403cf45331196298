"""KnOTS: TIES and DARE on the changes' right factors in one common basis of the left."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin.plugin.low_rank import numerical_rank
from adapterhub_fin_plugins.mergers.elements import agreed, dropped, trimmed
from adapterhub_fin_plugins.mergers.options import KnotsDareOptions, TiesOptions
from adapterhub_fin_plugins.mergers.sums import weighted_sum


class KnotsTies(MergerImplementation):
    """KnOTS with TIES (Stoica et al., arXiv 2410.19735): `ties` on factors that stand in one basis.

    With [D_1 .. D_K] = U S [V_1 .. V_K], a thin SVD, the merge is U times the `ties` of the matrices S V_k, each
    (R, n), where R is the rank: exact, for it has no more than that. Weights mean what they do in `ties`. One adapter
    of weight 1 comes back trimmed in its own singular basis, and whole at density 1.
    """

    def __init__(self, options: TiesOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        basis, factors = _aligned(changes)
        if not basis.shape[1]:
            return torch.zeros_like(changes[0])
        return basis @ agreed([trimmed(each, self.options.density) for each in factors], weights, self.options)


class KnotsDare(MergerImplementation):
    """KnOTS with DARE (Stoica et al., arXiv 2410.19735): `dare-ties` on factors that stand in one basis.

    The basis is that of `knots-ties`; without `vote` it is `dare-linear` on the factors. Weights mean what they do in
    those two. One adapter of weight 1 comes back with elements of its factor dropped, and whole at density 1.
    """

    def __init__(self, options: KnotsDareOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        basis, factors = _aligned(changes)
        if not basis.shape[1]:
            return torch.zeros_like(changes[0])
        left = torch.stack([dropped(each, self.options, generator) for each in factors])
        return basis @ (agreed(list(left), weights, self.options) if self.options.vote else weighted_sum(left, weights))


def _aligned(changes: Tensor) -> tuple[Tensor, Tensor]:
    """The left singular vectors of [D_1 .. D_K], (m, R), and each change's coordinates in them, (K, R, n).

    Their signs are open, which no step after this one depends on, and any rotation among vectors of equal values, on
    which all of them do.
    """
    u, values, _ = torch.linalg.svd(changes.transpose(0, 1).flatten(1), full_matrices=False)
    basis = u[:, : numerical_rank(values)]
    return basis, basis.T @ changes
