"""Fold a change into a weight: in float64, a block of rows at a time, rounded once.

Nothing larger than a block is held beside the weight itself, which is mapped from its file, and what becomes of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from adapterhub_fin.engine.merging.parameters import AdaptedParameter
from adapterhub_fin.plugin.low_rank import LowRank

ELEMENTS = 2**17  # of a block: a megabyte of float64, which a processor's cache holds


@dataclass(frozen=True)
class FoldedChange:
    """What becomes of one parameter: W + left right, and of DoRA its rows then brought to given norms."""

    place: AdaptedParameter
    low_rank: LowRank
    magnitude: Tensor | None  # of each row, or of each column of an embedding
    transposed: bool  # whether the weight is stored as (in, out), as GPT-2's are

    def rows(self, weight: Tensor) -> Tensor:
        """A stored weight as the matrix whose rows are scaled together, sharing its memory."""
        matrix = weight.reshape(len(weight), -1)
        return matrix.T if self.transposed or self._by_columns else matrix

    @property
    def _by_columns(self) -> bool:
        return self.place.kind == "embedding" and self.magnitude is not None

    def folded(self, weights: list[Tensor]) -> Iterator[tuple[slice, list[Tensor]]]:
        """Blocks of rows, and what each of several matrices (m, n) becomes there, in float64."""
        change = self.low_rank
        left, right = (change.right.T, change.left.T) if self._by_columns else (change.left, change.right)
        left, right = left.double(), right.double()
        for block in blocks(weights[0]):
            exact = [torch.addmm(each[block].double(), left[block], right, alpha=change.scale) for each in weights]
            if self.magnitude is not None:
                size = self.magnitude[block].double()
                exact = [each * (size / torch.linalg.vector_norm(each, dim=1))[:, None] for each in exact]
            yield block, exact


def blocks(matrix: Tensor) -> Iterator[slice]:
    """Slices of rows, each of about so many elements."""
    height = max(1, ELEMENTS // max(1, matrix.shape[1]))
    for start in range(0, matrix.shape[0], height):
        yield slice(start, start + height)


def distance_squared(one: Tensor, other: Tensor) -> float:
    """The squared Frobenius norm of the difference of two matrices, in float64, a block at a time."""
    return sum(squared(one[block].double() - other[block].double()) for block in blocks(one))


def squared(block: Tensor) -> float:
    """The sum of a block's squares."""
    flat = block.double().reshape(-1)
    return float(torch.dot(flat, flat))
