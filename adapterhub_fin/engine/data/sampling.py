"""Order rows so that each batch has rows of similar length, which saves padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class LongestFirst(Sampler[int]):
    """Yield row indices from the longest row to the shortest: for evaluation, where the order doesn't matter."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)


class LengthGroupedBatches(Sampler[int]):
    """Yield row indices in batches of `batch_size` rows of similar length; the batches come in random order.

    Transformers' own sampler goes from the longest rows to the shortest, four times an epoch or more. So every epoch
    ends on the shortest rows, and the weights that are evaluated and saved are biased towards them.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int = 0, weights: Sequence[float] | None = None
    ) -> None:
        """Draw as many rows an epoch as there are; `weights` (rows,) say how often each beside the others."""
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch. The order depends only on it and the seed, so that a resumed run sees the same order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        group: Any = get_length_grouped_indices  # untyped, as its library is
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        rows = range(len(self.lengths)) if self.weights is None else drawn(self.weights, generator)
        grouped: list[int] = group([self.lengths[row] for row in rows], self.batch_size, generator=generator)
        indices = [rows[position] for position in grouped]
        batches = [indices[start : start + self.batch_size] for start in range(0, len(indices), self.batch_size)]
        full = len(indices) // self.batch_size  # a last, smaller batch stays last, or it would shift all boundaries
        for number in [*torch.randperm(full, generator=generator).tolist(), *range(full, len(batches))]:
            yield from batches[number]


class StagedBatches(Sampler[int]):
    """Yield the row indices of one stage of a curriculum: in each epoch those of the stage that it belongs to."""

    def __init__(self, stages: Sequence[tuple[range, LengthGroupedBatches]], passes: Sequence[int]) -> None:
        """Take each stage's rows among all rows with their order, and the stage of each epoch."""
        self.stages = stages
        self.passes = passes
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which also decides the order within the stage."""
        self.rows, self.order = self.stages[self.passes[min(epoch, len(self.passes) - 1)]]
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return (self.rows[index] for index in self.order)


def drawn(weights: Tensor, generator: torch.Generator) -> list[int]:
    """Draw as many rows as there are weights (rows,), each within one of as often as its weight says.

    One random number places a comb over the weights (systematic resampling), which varies least from epoch to epoch. A
    row of weight 0 is never drawn.
    """
    ends = torch.cumsum(weights, 0)
    teeth = (torch.arange(len(weights)) + torch.rand(1, generator=generator)) * (ends[-1] / len(weights))
    last = int(weights.nonzero()[-1])
    rows: list[int] = torch.searchsorted(ends, teeth.to(ends.dtype), right=True).clamp(max=last).tolist()
    return rows
