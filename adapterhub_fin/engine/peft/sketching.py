"""Compute leading singular values of a dense matrix by a randomised range finder (Halko et al., arXiv 0909.4061)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.plugin.low_rank import LowRank, nearest, numerical_rank

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor
else:
    torch = Lazy("torch")

OVERSAMPLING = 16  # columns of the sketch beyond the rank
POWER_ITERATIONS = 3  # they sharpen the sketch if the singular values fall slowly, as those of a trimmed matrix do
WIDEST = 0.25  # of the smaller side: a wider sketch costs as much as a full decomposition


def sketched(matrix: Tensor, rank: int | float, generator: Generator) -> tuple[LowRank, float]:
    """Return a low-rank approximation of a matrix of shape (m, n), and the share of the matrix's energy in it.

    `rank` is a number of singular values, or as a float the share of the energy to keep, as for `low_rank.nearest`. The
    approximation is a projection of the matrix, so that the share is exact however good the sketch was. To keep a share
    it may need a value more than the optimum. If only a wide sketch would do, the full decomposition is computed.
    """
    smaller = min(matrix.shape)
    total = float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) ** 2
    if not total or (isinstance(rank, float) and rank >= 1):
        return nearest(matrix, rank)
    width = OVERSAMPLING + (rank if isinstance(rank, int) else OVERSAMPLING)
    while width <= WIDEST * smaller:
        q = _range(matrix, width, generator)
        u, values, v = torch.linalg.svd(q.T @ matrix, full_matrices=False)
        energy = values.double().square().cumsum(0) / total
        count = rank if isinstance(rank, int) else int((energy < rank).sum()) + 1
        if count <= width - OVERSAMPLING:
            count = min(count, numerical_rank(values))
            root = values[:count].sqrt()
            return LowRank(q @ (u[:, :count] * root), root[:, None] * v[:count]), min(1.0, float(energy[count - 1]))
        width *= 2
    return nearest(matrix, rank)


def _range(matrix: Tensor, width: int, generator: Generator) -> Tensor:
    """Return orthonormal columns, of shape (m, width), near the span of the leading left singular vectors."""
    draw = torch.randn(matrix.shape[1], width, generator=generator, dtype=torch.float32)
    q: Tensor = torch.linalg.qr(matrix @ draw.to(matrix.dtype))[0]
    for _ in range(POWER_ITERATIONS):
        q = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ q)[0])[0]
    return q
