"""Refuse an answer that is not finite: its first label would be given with the score nan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from adapterhub_fin.errors import NotFinite


def check_finite(answers: Tensor, whose: str, what: str, numbers: Sequence[int] | None = None) -> None:
    """Raise NotFinite naming the first row, (rows, values), that holds NaN or infinity, by its number in `numbers`."""
    wrong = (~torch.isfinite(answers)).flatten(1).any(1).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise _not_finite(whose, f"{what} {first if numbers is None else numbers[first]}")


def _not_finite(whose: str, what: str) -> NotFinite:
    return NotFinite(
        f"{whose} answers {what} with NaN or infinity: its weights or its base's are not finite, or overflow in the "
        "type that the base was loaded in; look at the weights, or load the base in float32"
    )


class FiniteScores(LogitsProcessor):
    """Stop a text whose next token can't be chosen: the largest score of a row is NaN or infinite."""

    def __init__(self, whose: str) -> None:
        self.whose = whose

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        largest = scores.amax(-1)
        if not torch.isfinite(largest).all():
            raise _not_finite(self.whose, f"prompt {int((~torch.isfinite(largest)).nonzero()[0])} of a batch")
        return scores
