"""From texts to arrays of tokens: a vocabulary that is learned from them, and blocks of one length to train on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from gpt import END, PAD, START
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor

SPECIAL = ["<|pad|>", "<|start|>", "<|end|>"]  # their ids are PAD, START and END


def train_tokenizer(texts: Sequence[str], vocab: int) -> Tokenizer:
    """Learn a vocabulary: every byte, then whatever pair of tokens occurs most often as a token of its own (BPE)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    start = SPECIAL[START]
    tokenizer.post_processor = processors.TemplateProcessing(f"{start} $A", special_tokens=[(start, START)])
    return tokenizer


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each text, START before them and END after them."""
    return [[*encoding.ids, END] for encoding in tokenizer.encode_batch(texts)]


def packed(tokenizer: Tokenizer, texts: Sequence[str], context: int) -> Tensor:
    """Join all texts and cut them into blocks (blocks, context + 1), so that no place in them is empty.

    A block begins with the last token of the one before, so that each token is predicted once. What is left at the end,
    shorter than a block, is dropped. Raises ValueError if the texts don't fill one block.
    """
    ids = torch.tensor([token for text in encoded(tokenizer, texts) for token in text])
    if len(ids) <= context:
        raise ValueError(f"{len(ids)} tokens don't fill a block of {context}: train on more text, or in shorter blocks")
    return ids.unfold(0, context + 1, context)


def padded(tokenizer: Tokenizer, texts: Sequence[str], context: int) -> Tensor:
    """Give each text a row (texts, context + 1), cut off there or filled up with PAD, which no loss counts."""
    rows = torch.full((len(texts), context + 1), PAD)
    for row, ids in zip(rows, encoded(tokenizer, texts), strict=True):
        row[: len(ids)] = torch.tensor(ids[: context + 1])
    return rows
