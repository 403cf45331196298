"""Fold weights, and measure meanwhile how far what is written is from what the adapter computes with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from adapterhub_fin.engine.folding.arithmetic import FoldedChange, distance_squared, squared
from adapterhub_fin.errors import Unsupported

Into = Literal["dequantised", "original"]
AGAIN = "four bits again"


class Loss:
    """Squared norms of each weight's change, and of how far from what was meant each choice of what to write is."""

    def __init__(self, into: Into | None) -> None:
        """`into` is what to fold into for an adapter that was trained on a quantized base; None for any other."""
        self.written = into or "rounding"
        self.choices = ("dequantised", "original") if into else ("rounding",)
        self.effects: dict[str, float] = {}
        self.errors: dict[str, dict[str, float]] = {}

    def fold(self, key: str, change: FoldedChange, weight: Tensor, held: Tensor, dtype: torch.dtype) -> Tensor:
        """The folded weight, rounded once to its dtype.

        `weight` is as it is stored, `held` as the adapter saw it in training: what is meant is `held` with the change.
        Raises Refused where the dtype does not hold what is written.
        """
        folded = torch.empty(weight.shape, dtype=dtype)
        target, trained_on = change.rows(folded), change.rows(held)
        matrices = [trained_on, change.rows(weight)][: len(self.choices)]
        effect, errors = 0.0, dict.fromkeys(self.choices, 0.0)
        for block, exact in change.folded(matrices):
            effect += squared(exact[0] - trained_on[block].double())
            for choice, each in zip(self.choices, exact, strict=True):
                if choice == self.written:
                    target[block] = rounded = fitted(each, dtype, key)
                else:
                    rounded = each.to(dtype)
                errors[choice] += squared(rounded.double() - exact[0])
        self.effects[key], self.errors[key] = effect, errors
        return folded

    def quantize_again(self, key: str, folded: Tensor, through: Callable[[str, Tensor], Tensor]) -> None:
        """Measure what would be lost if a folded weight were put into four bits once more."""
        back = through(key, folded)
        self.errors[key][AGAIN] = distance_squared(back.reshape(len(back), -1), folded.reshape(len(folded), -1))

    def relative(self) -> Mapping[str, float]:
        """By choice: the norm of all distances over the norm of all changes."""
        size = math.sqrt(sum(self.effects.values()))
        totals: dict[str, float] = defaultdict(float)
        for errors in self.errors.values():
            for choice, error in errors.items():
                totals[choice] += error
        return {choice: math.sqrt(total) / size if size else 0.0 for choice, total in totals.items()}

    def worst(self) -> tuple[str, float] | None:
        """The weight that loses most of its change as it is written, and how much."""
        found = [
            (math.sqrt(self.errors[key][self.written] / effect), key) for key, effect in self.effects.items() if effect
        ]
        return max(found)[::-1] if found else None


def fitted(exact: Tensor, dtype: torch.dtype, key: str) -> Tensor:
    """The values of a parameter in a dtype; Refused where it does not reach so far."""
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
