"""Fold changes into weights, in float64 and rounded once, and measure the error of what is written.

Weights are folded a block of rows at a time. Besides the mapped weight and the result, no more than a block is in
memory.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from adapterhub_fin.engine.merging.parameters import AdaptedParameter
from adapterhub_fin.errors import Unsupported
from adapterhub_fin.plugin.low_rank import LowRank

Into = Literal["dequantised", "original"]
AGAIN = "four bits again"
ELEMENTS = 2**17  # of a block: one megabyte in float64, which fits a processor's cache


@dataclass(frozen=True)
class FoldedChange:
    """Represent a change to one parameter: W + left right, with the rows then rescaled to DoRA's norms, if any."""

    parameter: AdaptedParameter
    low_rank: LowRank
    magnitude: Tensor | None  # DoRA's norm of each row, or of each column of an embedding
    transposed: bool  # whether the weight is stored as (in, out), as GPT-2's are

    def rows(self, weight: Tensor) -> Tensor:
        """Return a stored weight as the matrix (m, n) whose rows DoRA rescales; it shares the weight's memory."""
        matrix = weight.reshape(len(weight), -1)
        return matrix.T if self.transposed or self._by_columns else matrix

    @property
    def _by_columns(self) -> bool:
        return self.parameter.kind == "embedding" and self.magnitude is not None

    def folded(self, weights: list[Tensor]) -> Iterator[tuple[slice, list[Tensor]]]:
        """Yield each block of rows, and what several matrices (m, n) become there: float64 tensors (rows, n)."""
        change = self.low_rank
        left, right = (change.right.T, change.left.T) if self._by_columns else (change.left, change.right)
        left, right = left.double(), right.double()
        for block in blocks(weights[0]):
            exact = [torch.addmm(weight[block].double(), left[block], right, alpha=change.scale) for weight in weights]
            if self.magnitude is not None:
                size = self.magnitude[block].double()
                exact = [matrix * (size / torch.linalg.vector_norm(matrix, dim=1))[:, None] for matrix in exact]
            yield block, exact


def blocks(matrix: Tensor) -> Iterator[slice]:
    """Yield slices of rows, each of about ELEMENTS elements."""
    height = max(1, ELEMENTS // max(1, matrix.shape[1]))
    for start in range(0, matrix.shape[0], height):
        yield slice(start, start + height)


def distance_squared(one: Tensor, other: Tensor) -> float:
    """Return the squared Frobenius norm of the difference of two (rows, columns), in float64, a block at a time."""
    return sum(squared(one[block].double() - other[block].double()) for block in blocks(one))


def squared(block: Tensor) -> float:
    """Return the sum of squares of a block of any shape, in float64."""
    flat = block.double().reshape(-1)
    return float(torch.dot(flat, flat))


class Loss:
    """Accumulate the squared norms of all changes, and the squared error of each choice of what to fold into."""

    def __init__(self, into: Into | None) -> None:
        """Measure rounding alone, or for an adapter trained on a quantized base, `into` and its alternative."""
        self.written = into or "rounding"
        self.choices = ("dequantised", "original") if into else ("rounding",)
        self.effects: dict[str, float] = {}
        self.errors: dict[str, dict[str, float]] = {}

    def fold(
        self, key: str, change: FoldedChange, weight: Tensor, trained_weight: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Return the folded weight, in the shape of `weight`, rounded once to its dtype.

        `weight` is the stored one, and `trained_weight` the one that the adapter was trained on; the target is
        `trained_weight` with the change. Raises Unsupported where the dtype can't hold the result.
        """
        folded = torch.empty(weight.shape, dtype=dtype)
        target, trained_on = change.rows(folded), change.rows(trained_weight)
        matrices = [trained_on, change.rows(weight)][: len(self.choices)]
        effect, errors = 0.0, dict.fromkeys(self.choices, 0.0)
        for block, exact in change.folded(matrices):
            effect += squared(exact[0] - trained_on[block].double())
            for choice, values in zip(self.choices, exact, strict=True):
                if choice == self.written:
                    target[block] = rounded = fitted(values, dtype, key)
                else:
                    rounded = values.to(dtype)
                errors[choice] += squared(rounded.double() - exact[0])
        self.effects[key], self.errors[key] = effect, errors
        return folded

    def quantize_again(self, key: str, folded: Tensor, through: Callable[[str, Tensor], Tensor]) -> None:
        """Measure the error that quantizing a folded weight, of any shape, to four bits again would add."""
        back = through(key, folded)
        self.errors[key][AGAIN] = distance_squared(back.reshape(len(back), -1), folded.reshape(len(folded), -1))

    def relative(self) -> Mapping[str, float]:
        """Return for each choice the norm of all errors over the norm of all changes."""
        size = math.sqrt(sum(self.effects.values()))
        totals: dict[str, float] = defaultdict(float)
        for errors in self.errors.values():
            for choice, error in errors.items():
                totals[choice] += error
        return {choice: math.sqrt(total) / size if size else 0.0 for choice, total in totals.items()}

    def worst(self) -> tuple[str, float] | None:
        """Return the weight that loses the largest share of its change as it is written, and that share."""
        shares = [
            (math.sqrt(self.errors[key][self.written] / effect), key) for key, effect in self.effects.items() if effect
        ]
        return max(shares)[::-1] if shares else None


def fitted(exact: Tensor, dtype: torch.dtype, key: str) -> Tensor:
    """Return a parameter's values in a dtype and its shape. Raises Unsupported where the dtype can't hold them."""
    if exact.dtype == dtype:
        return exact
    if not bool(exact.isfinite().all()):
        raise Unsupported(f"{key} would hold NaN or infinite values: check the base's weights and the adapter's alpha")
    rounded = exact.to(dtype)
    if not bool(rounded.isfinite().all()):
        name = str(dtype).removeprefix("torch.")
        raise Unsupported(
            f"{key} would hold {float(exact.abs().max()):.3g}, and {name} ends at "
            f"{torch.finfo(dtype).max:.3g}: name a base in bfloat16 or float32 with --base (base=...)"
        )
    return rounded
