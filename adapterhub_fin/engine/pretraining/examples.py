"""Turn blocks into examples: the next token everywhere, or tokens that are masked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterhub_fin.engine.pretraining.packing import NOTHING, Blocks
from adapterhub_fin.plugin.examples import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

NO_BLOCK = -1  # the number of an example without a token
MASK, RANDOM = 0.8, 0.9  # of the tokens to fill in, 80 % are masked, 10 % become another, 10 % stay (arXiv 1810.04805)


@dataclass(frozen=True)
class CausalExamples:
    """Give each block with the next token as the label of each; labels are not shifted again.

    The number of an example counts on from epoch to epoch: `number % len(blocks)` is its block; NO_BLOCK is one without
    a token.
    """

    blocks: Blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        block = self.blocks.padding if number == NO_BLOCK else self.blocks[number % len(self.blocks)]
        labels = np.where(block.following == NOTHING, IGNORED, block.following)
        return {"input_ids": block.tokens, "position_ids": block.positions, "labels": labels}


@dataclass(frozen=True)
class MaskedExamples:
    """Give each block with a share of its tokens to fill in, drawn anew in each epoch.

    What is drawn depends on the seed, the epoch and the block alone, so that a resumed run sees the same: the number of
    an example is `epoch * len(blocks) + block`.
    """

    blocks: Blocks
    share: float
    mask: int  # the id of the mask token
    special: Collection[int]  # ids that are never filled in
    vocabulary: int
    seed: int

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        epoch, index = divmod(number, len(self.blocks)) if number != NO_BLOCK else (0, 0)
        block = self.blocks.padding if number == NO_BLOCK else self.blocks[index]
        draw = np.random.default_rng((self.seed, epoch, index))
        tokens, labels = block.tokens.copy(), np.full(self.blocks.block, IGNORED, np.int64)
        open_ = np.flatnonzero(~np.isin(block.tokens[: block.length], list(self.special)))
        if len(open_):
            chosen = np.sort(draw.choice(open_, max(1, round(self.share * len(open_))), replace=False))
            labels[chosen] = block.tokens[chosen]
            way = draw.random(len(chosen))
            tokens[chosen[way < MASK]] = self.mask
            other = chosen[(way >= MASK) & (way < RANDOM)]
            tokens[other] = draw.integers(0, self.vocabulary, len(other))
        return {"input_ids": tokens, "position_ids": block.positions, "labels": labels}


def collate(examples: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Return a batch of examples of one length, each field (blocks, block)."""
    import torch

    names: Any = examples[0]
    return {name: torch.from_numpy(np.stack([example[name] for example in examples])) for name in names}
