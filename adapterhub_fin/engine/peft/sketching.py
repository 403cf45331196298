"""The leading singular values of a dense matrix, by a randomised range finder (Halko et al., arXiv 0909.4061)."""

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
POWER_ITERATIONS = 3  # passes that sharpen it where the values fall slowly, as those of a trimmed matrix do
WIDEST = 0.25  # of the smaller side: a wider sketch costs as much as every singular value


def sketched(matrix: Tensor, rank: int | float, generator: Generator) -> tuple[LowRank, float]:
    """A matrix of a rank near to this one, as `low_rank.nearest` reads the rank, and the energy that it truly holds.

    What is found is a projection of the matrix, so that its energy over the matrix's own is what it holds, however
    good the sketch was: a float is a share that is held, with perhaps a value more than the fewest. Where only a wide
    sketch would do, all singular values are taken.
    """
    smaller = min(matrix.shape)
    whole = float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) ** 2
    if not whole or (isinstance(rank, float) and rank >= 1):
        return nearest(matrix, rank)
    width = OVERSAMPLING + (rank if isinstance(rank, int) else OVERSAMPLING)
    while width <= WIDEST * smaller:
        q = _range(matrix, width, generator)
        u, values, v = torch.linalg.svd(q.T @ matrix, full_matrices=False)
        held = values.double().square().cumsum(0) / whole
        kept = rank if isinstance(rank, int) else int((held < rank).sum()) + 1
        if kept <= width - OVERSAMPLING:
            kept = min(kept, numerical_rank(values))
            root = values[:kept].sqrt()
            return LowRank(q @ (u[:, :kept] * root), root[:, None] * v[:kept]), min(1.0, float(held[kept - 1]))
        width *= 2
    return nearest(matrix, rank)


def _range(matrix: Tensor, width: int, generator: Generator) -> Tensor:
    """Orthonormal columns, (m, width), near the span of the matrix's leading left singular vectors."""
    draw = torch.randn(matrix.shape[1], width, generator=generator, dtype=torch.float32)
    q: Tensor = torch.linalg.qr(matrix @ draw.to(matrix.dtype))[0]
    for _ in range(POWER_ITERATIONS):
        q = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ q)[0])[0]
    return q
