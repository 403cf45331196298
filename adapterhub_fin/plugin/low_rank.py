"""Compute with low-rank changes: exactly, without a dense matrix, and without the base.

A change is scale * left @ right, of shape (m, n) and rank at most r. Of several that share a shape, all columns lie in
the span of [left_1 .. left_K] and all rows in that of [right_1; ..; right_K]. In orthonormal bases of those two, each
change is a small square `core`, and norms, inner products and singular values are the cores'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


@dataclass(frozen=True)
class LowRank:
    """Hold scale * left @ right, a change of shape (m, n): left is (m, r), right (r, n), of one dtype; r may be 0."""

    left: Tensor
    right: Tensor
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.left.ndim != 2 or self.right.ndim != 2 or self.left.shape[1] != self.right.shape[0]:
            raise ValueError(f"factors of {tuple(self.left.shape)} and {tuple(self.right.shape)} don't multiply")

    @classmethod
    def zero(cls, shape: tuple[int, int], dtype: torch.dtype | None = None) -> LowRank:
        """Return no change, of that shape (m, n) and of rank 0; in float64 by default."""
        dtype = dtype or torch.float64
        return cls(torch.zeros(shape[0], 0, dtype=dtype), torch.zeros(0, shape[1], dtype=dtype))

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]

    @property
    def rank(self) -> int:
        """Return how many columns the factors have, which the matrix's own rank may be below."""
        return self.left.shape[1]

    def is_zero(self) -> bool:
        """Tell whether a factor is zero throughout, as that of a LoRA is which never learnt."""
        return not (self.scale and bool(self.left.any()) and bool(self.right.any()))

    def to(self, dtype: torch.dtype) -> LowRank:
        return LowRank(self.left.to(dtype), self.right.to(dtype), self.scale)

    def dense(self) -> Tensor:
        """Return the matrix itself, (m, n)."""
        return self.scale * (self.left @ self.right)

    def __mul__(self, weight: float) -> LowRank:
        return LowRank(self.left, self.right, self.scale * weight)

    __rmul__ = __mul__

    def __add__(self, other: LowRank) -> LowRank:
        return total([self, other])

    def __sub__(self, other: LowRank) -> LowRank:
        return self + other * -1.0

    def inner(self, other: LowRank) -> float:
        """Return the sum of the products of all elements: <self, other>."""
        small = (self.left.T @ other.left) * (self.right @ other.right.T)
        return self.scale * other.scale * float(small.sum())

    def norm(self) -> float:
        """Return the Frobenius norm; from the core, where the square of a small difference would have cancelled."""
        return float(torch.linalg.matrix_norm(CommonBasis.of([self]).cores[0]))

    def truncate(self, rank: int | float | None = None) -> LowRank:
        """Return the nearest change (m, n) of that rank, as `nearest` reads it: by default of the matrix's own rank."""
        span = CommonBasis.of([self])
        return span.lift(span.cores[0], rank)


def total(changes: Sequence[LowRank]) -> LowRank:
    """Add changes (m, n), their factors side by side: exact, of the summed ranks; signs and scales go to the left."""
    return LowRank(
        torch.cat([change.scale * change.left for change in changes], 1),
        torch.cat([change.right for change in changes], 0),
    )


@dataclass(frozen=True)
class CommonBasis:
    """Write changes of one shape in common orthonormal bases: change k is columns @ cores[k] @ rows.

    columns is (m, p), rows (q, n) and cores (K, p, q), with p and q at most the sum of the ranks.
    """

    columns: Tensor
    rows: Tensor
    cores: Tensor

    @classmethod
    def of(cls, changes: Sequence[LowRank]) -> CommonBasis:
        """Build the bases of changes (m, n) by two QR decompositions of the factors side by side."""
        columns, left = torch.linalg.qr(torch.cat([change.left for change in changes], 1))
        rows, right = torch.linalg.qr(torch.cat([change.right for change in changes], 0).T)
        cores, start = [], 0
        for change in changes:
            part = slice(start, start + change.rank)
            cores.append(change.scale * (left[:, part] @ right[:, part].T))
            start += change.rank
        return cls(columns, rows.T, torch.stack(cores))

    def aligned(self) -> CommonBasis:
        """Turn the bases into the changes' own: left singular vectors of [D1 .. DK], right ones of [D1; ..; DK].

        Unlike other bases these don't depend on how the changes were factored, nor does their number, the ranks of
        those two; but for signs, and rotations among vectors of equal values.
        """
        u, left, _ = torch.linalg.svd(self.cores.transpose(0, 1).flatten(1), full_matrices=False)
        _, right, v = torch.linalg.svd(self.cores.flatten(0, 1), full_matrices=False)
        u, v = u[:, : numerical_rank(left)], v[: numerical_rank(right)]
        return CommonBasis(self.columns @ u, v @ self.rows, u.T @ self.cores @ v.T)

    def lift(self, core: Tensor, rank: int | float | None = None) -> LowRank:
        """Return the change (m, n) that a core (p, q) stands for, of that rank, as `nearest` reads it."""
        return self.lifted(nearest(core, rank)[0])

    def lifted(self, core: LowRank) -> LowRank:
        """Return the change (m, n) that a core (p, q) in factors stands for."""
        return LowRank(self.columns @ core.left, core.right @ self.rows, core.scale)


def nearest(matrix: Tensor, rank: int | float | None = None, floor: float = 0.0) -> tuple[LowRank, float]:
    """Return the nearest (m, n) of a rank (Eckart and Young), its values shared evenly by the factors, and its energy.

    An int is the rank, at most; a float the share of the energy, the sum of squares, to hold with as few values as
    will do; None all that is no rounding: `floor` is a size below which a value is, where the matrix can't tell, as
    the difference of two that were nearly equal. The energy told is the share that is held.
    """
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    number = min(numerical_rank(values), int((values > floor).sum()))
    if isinstance(rank, float):
        number = min(number, rank_for(values, rank))
    elif rank is not None:
        number = min(number, rank)
    root = values[:number].sqrt()
    return LowRank(u[:, :number] * root, root[:, None] * v[:number]), energy_held(values, number)


def numerical_rank(values: Tensor) -> int:
    """Count the singular values (n,), given in falling order, that are more than what rounding leaves of a zero."""
    if len(values) == 0:
        return 0
    return int((values > 4 * len(values) * torch.finfo(values.dtype).eps * values[0]).sum())


def energy_held(values: Tensor, rank: int) -> float:
    """Return the share of the sum of squares that the first `rank` of values (n,) hold; 1 where all are zero."""
    squares = values.double().square()
    total_energy = float(squares.sum())
    return 1.0 - float(squares[rank:].sum()) / total_energy if total_energy else 1.0


def rank_for(values: Tensor, energy: float) -> int:
    """Count the singular values (n,), in falling order, that hold this share (0 to 1) of the sum of their squares."""
    squares = values.double().square().flip(0).cumsum(0).flip(0)  # from the small end, which rounding would swallow
    if len(squares) == 0 or squares[0] == 0:
        return 0
    left_out = torch.cat([squares[1:], squares.new_zeros(1)])  # by the number kept, less one
    return int((left_out > (1.0 - energy) * squares[0]).sum()) + 1
