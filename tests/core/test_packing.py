"""Blocks hold every token once, and a document in a block is computed as if it stood alone."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, ModernBertConfig, ModernBertForMaskedLM

from adapterhub_fin.engine.pretraining.block_trainer import BlockOrder
from adapterhub_fin.engine.pretraining.document_masks import document_masks
from adapterhub_fin.engine.pretraining.examples import CausalExamples, MaskedExamples, collate
from adapterhub_fin.engine.pretraining.packing import NOTHING, Blocks

CASES = int(os.environ.get("AHF_CASES") or 60)
VOCABULARY, PAD, MASK = 40, 0, 1
DOCUMENTS = st.lists(st.integers(1, 30), min_size=1, max_size=12)


def documents(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.integers(2, VOCABULARY, length).astype(np.uint16) for length in lengths]


@settings(max_examples=CASES, deadline=None)
@given(lengths=DOCUMENTS, block=st.integers(2, 20), packing=st.booleans())
def test_every_token_stands_in_one_block_and_all_but_the_first_of_a_document_are_predicted_once(
    lengths: list[int], block: int, packing: bool
) -> None:
    texts = documents(lengths)
    blocks = Blocks(texts, block, packing=packing, pad=PAD)
    held = [blocks[number] for number in range(len(blocks))]
    assert np.array_equal(np.concatenate([each.tokens[: each.length] for each in held]), np.concatenate(texts))
    following = np.concatenate([each.following[: each.length] for each in held])
    expected = np.concatenate([[*text[1:].astype(int), NOTHING] for text in texts])
    assert np.array_equal(following, expected)
    assert (following != NOTHING).sum() == blocks.predicted
    assert all((each.following[each.length :] == NOTHING).all() for each in held), "padding predicts nothing"
    assert all(len(each.tokens) == block for each in held)
    with pytest.raises(IndexError):
        blocks[len(blocks)]


@settings(max_examples=CASES, deadline=None)
@given(lengths=DOCUMENTS, block=st.integers(2, 20), packing=st.booleans())
def test_positions_begin_at_zero_in_each_document_and_at_each_edge(
    lengths: list[int], block: int, packing: bool
) -> None:
    blocks = Blocks(documents(lengths), block, packing=packing, pad=PAD)
    ends = set(np.cumsum(lengths).tolist())
    at = 0
    for number in range(len(blocks)):
        each = blocks[number]
        for index in range(each.length):
            begins = index == 0 or at + index in ends
            assert each.positions[index] == (0 if begins else each.positions[index - 1] + 1)
        assert each.length == block or each.positions[each.length] == 0, "padding is a document of its own"
        at += each.length


def model(kind: str, attention: str) -> Any:
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": PAD,
        "attn_implementation": attention,
    }
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=1)).eval()
    # A window shorter than the documents, so that its mask does something.
    special = {f"{name}_token_id": MASK for name in ("bos", "eos", "cls", "sep")}
    return ModernBertForMaskedLM(ModernBertConfig(**shape, **special, local_attention=6)).eval()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["llama", "modernbert"])
@torch.no_grad()
def test_a_document_in_a_block_has_the_logits_that_it_has_alone(kind: str, attention: str) -> None:
    lengths, block = [5, 1, 9, 14, 2, 2, 20, 7], 24
    texts, built = documents(lengths), model(kind, attention)
    blocks = Blocks(texts, block, pad=PAD)
    batch = collate([CausalExamples(blocks)[number] for number in range(len(blocks))])
    tokens, positions = batch["input_ids"], batch["position_ids"]
    apart: dict[str, Any] = {"use_cache": False}
    if kind == "modernbert":
        apart = {"attention_mask": document_masks(built.config, positions, torch.zeros(*tokens.shape, 1))}
    together = built(input_ids=tokens, position_ids=positions, **apart).logits
    crossing = 0
    for row in range(len(blocks)):
        starts = [*torch.where(positions[row] == 0)[0].tolist(), block]
        crossing += len(starts) - 2
        for start, stop in pairwise(starts):
            alone = built(input_ids=tokens[row : row + 1, start:stop]).logits[0]
            assert torch.allclose(alone, together[row, start:stop], atol=1e-5), (row, start)
    assert crossing >= 6, "there are documents to keep apart"


@settings(max_examples=CASES, deadline=None)
@given(lengths=DOCUMENTS, epoch=st.integers(0, 3), seed=st.integers(0, 9), share=st.sampled_from([0.15, 0.3, 0.6]))
def test_masks_depend_on_seed_epoch_and_block_alone_and_never_take_a_special_token(
    lengths: list[int], epoch: int, seed: int, share: float
) -> None:
    blocks = Blocks(documents(lengths), 16, pad=PAD)
    examples = MaskedExamples(blocks, share, MASK, (PAD, MASK, 2), VOCABULARY, seed)
    for index in range(len(blocks)):
        example, again = (examples[epoch * len(blocks) + index] for _ in range(2))
        assert all(np.array_equal(example[name], again[name]) for name in example)
        block, asked = blocks[index], example["labels"] != -100
        open_ = ~np.isin(block.tokens, (PAD, MASK, 2)) & (np.arange(16) < block.length)
        assert asked.sum() == (max(1, round(share * open_.sum())) if open_.any() else 0)
        assert not (asked & ~open_).any()
        assert np.array_equal(example["labels"][asked], block.tokens[asked])
        assert np.array_equal(example["input_ids"][~asked], block.tokens[~asked])


def test_another_epoch_masks_other_tokens() -> None:
    blocks = Blocks(documents([200]), 64, pad=PAD)
    examples = MaskedExamples(blocks, 0.3, MASK, (PAD, MASK), VOCABULARY, 0)
    first, second = (examples[epoch * len(blocks)]["labels"] for epoch in (0, 1))
    assert not np.array_equal(first, second)


def test_an_epoch_has_each_block_once_in_an_order_of_its_own() -> None:
    orders = []
    for epoch in (0, 1):
        order = BlockOrder(50, seed=3)
        order.set_epoch(epoch)
        assert list(order) == list(order), "a resumed run sees the same"
        orders.append([number - epoch * 50 for number in order])
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]) == list(range(50))
