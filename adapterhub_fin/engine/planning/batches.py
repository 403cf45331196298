"""The batches that a run will make, told from the lengths of its examples: order is drawn from the seed alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.training.distributed import world_size
from adapterhub_fin.plugin.examples import lengths

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import PreparedRun

Rows = Sequence[Mapping[str, Any]]
EPOCHS = 3  # looked at: the longest row is in every epoch, and what shares its batch differs little


def training_parts(draft: PreparedRun, epoch: int) -> list[list[int]]:
    """Indices of the training examples of an epoch, as they go through the model together in one process."""
    from adapterhub_fin.engine.data.sampling import LengthGroupedBatches

    training, rows = draft.recipe.training, draft.examples["train"]
    order = LengthGroupedBatches(lengths(rows), training.batch_size, training.seed)
    order.set_epoch(epoch)
    return _cut(list(order), training.batch_size // (training.accumulate * world_size()))


def answer_batches(draft: PreparedRun, split: str) -> list[list[int]]:
    """The same for an evaluation of the validation or the test part."""
    from adapterhub_fin.engine.data.sampling import LongestFirst

    training = draft.recipe.training
    size = 2 * (training.batch_size // (training.accumulate * world_size()))
    return _cut(list(LongestFirst(lengths(draft.examples[split]))), size)


def longest_part(draft: PreparedRun) -> Rows:
    """The training examples that go through the model together and take most memory."""
    rows = draft.examples["train"]
    epochs = range(min(EPOCHS, math.ceil(draft.recipe.training.epochs)))
    return _longest(rows, [batch for epoch in epochs for batch in training_parts(draft, epoch)])


def longest_answer(draft: PreparedRun) -> Rows:
    """The same of the evaluations."""
    found = [_longest(draft.examples[split], answer_batches(draft, split)) for split in ("validation", "test")]
    return max(found, key=_padded)


def training_tokens(draft: PreparedRun) -> int:
    """Tokens of an epoch in one process, padding included."""
    rows = draft.examples["train"]
    return sum(_padded([rows[i] for i in batch]) for batch in training_parts(draft, 0))


def answer_tokens(draft: PreparedRun, split: str) -> int:
    """Tokens of one evaluation of a part, padding included."""
    return sum(_padded([draft.examples[split][i] for i in batch]) for batch in answer_batches(draft, split))


def _longest(rows: Rows, batches: Sequence[Sequence[int]]) -> Rows:
    return max(([rows[i] for i in batch] for batch in batches), key=_padded)


def _padded(rows: Rows) -> int:
    return len(rows) * max(lengths(rows))


def _cut(order: Sequence[int], size: int) -> list[list[int]]:
    return [list(order[start : start + size]) for start in range(0, len(order), size)]
