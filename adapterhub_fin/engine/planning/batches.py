"""Compute the batches that a run will make, from the lengths of its examples and the seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.training.arguments import part_size, passes
from adapterhub_fin.plugin.examples import lengths, texts_in

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import PreparedRun

Rows = Sequence[Mapping[str, Any]]
EPOCHS = 3  # to look at: the longest row is in every epoch, and the rest of its batch differs little


def training_parts(prepared: PreparedRun, epoch: int) -> list[list[int]]:
    """Return the indices of an epoch's training examples, grouped as they pass through the model in one process."""
    from adapterhub_fin.engine.data.sampling import LengthGroupedBatches

    training, rows = prepared.recipe.training, prepared.examples["train"]
    order = LengthGroupedBatches(lengths(rows), training.batch_size, training.seed)
    order.set_epoch(epoch)
    return _cut(list(order), part_size(training))


def answer_batches(prepared: PreparedRun, split: str) -> list[list[int]]:
    """Return the indices of a split's examples, grouped as an evaluation passes them through the model."""
    from adapterhub_fin.engine.data.sampling import LongestFirst

    training = prepared.recipe.training
    size = 2 * part_size(training)
    return _cut(list(LongestFirst(lengths(prepared.examples[split]))), size)


def longest_part(prepared: PreparedRun) -> Rows:
    """Return the training examples of the part that takes the most memory."""
    rows = prepared.examples["train"]
    epochs = range(min(EPOCHS, math.ceil(passes(prepared.recipe.training, len(rows)))))
    return _longest(rows, [batch for epoch in epochs for batch in training_parts(prepared, epoch)])


def longest_answer(prepared: PreparedRun) -> Rows:
    """Return the examples of the evaluation batch that takes the most memory."""
    longest = [_longest(prepared.examples[split], answer_batches(prepared, split)) for split in ("validation", "test")]
    return max(longest, key=_padded)


def training_tokens(prepared: PreparedRun) -> int:
    """Return the tokens of an epoch in one process, including padding."""
    rows = prepared.examples["train"]
    return sum(_padded([rows[i] for i in batch]) for batch in training_parts(prepared, 0))


def answer_tokens(prepared: PreparedRun, split: str) -> int:
    """Return the tokens of one evaluation of a split, including padding."""
    return sum(_padded([prepared.examples[split][i] for i in batch]) for batch in answer_batches(prepared, split))


def _longest(rows: Rows, batches: Sequence[Sequence[int]]) -> Rows:
    return max(([rows[i] for i in batch] for batch in batches), key=_padded)


def _padded(rows: Rows) -> int:
    return sum(len(texts_in(row)) for row in rows) * max(lengths(rows))


def _cut(order: Sequence[int], size: int) -> list[list[int]]:
    return [list(order[start : start + size]) for start in range(0, len(order), size)]
