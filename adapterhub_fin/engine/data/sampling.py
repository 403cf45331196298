"""Batches of rows of like length, which spares padding, in an order that is drawn anew each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class LongestFirst(Sampler[int]):
    """Indices from the longest row to the shortest: for evaluation, where order is free and padding is what costs."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)


class LengthGroupedBatches(Sampler[int]):
    """Indices whose consecutive runs of `batch_size` are of like length; the runs come in random order.

    Transformers' own sampler goes from the longest rows to the shortest, four times an epoch or more, so that every
    epoch ends on the shortest and the weights that are evaluated and kept lean towards them.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int = 0) -> None:
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of this epoch: it follows from seed and epoch alone, so that a resumed run sees the same."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        group: Any = get_length_grouped_indices  # untyped, as its library is
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        indices: list[int] = group(self.lengths, self.batch_size, generator=generator)
        batches = [indices[start : start + self.batch_size] for start in range(0, len(indices), self.batch_size)]
        whole = len(indices) // self.batch_size  # a last, smaller batch stays last, or it would shift all boundaries
        for place in [*torch.randperm(whole, generator=generator).tolist(), *range(whole, len(batches))]:
            yield from batches[place]
