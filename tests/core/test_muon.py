"""Muon and AdamW under one roof take the steps that each takes alone, and their state goes in and out whole."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.optim import AdamW, Muon
from transformers import LlamaConfig, LlamaForCausalLM

from adapterhub_fin.engine.pretraining.muon import MuonWithAdamW

RATE, DECAY = 1e-2, 0.1


def model(tied: bool) -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=30, tie_word_embeddings=tied, **shape))


def step(built: Any, optimizers: list[Any], seed: int) -> None:
    tokens = torch.randint(0, 30, (2, 9), generator=torch.Generator().manual_seed(seed))
    built(input_ids=tokens, labels=tokens).loss.backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def joined(built: Any) -> MuonWithAdamW:
    decayed = {name for name, _ in built.named_parameters() if "norm" not in name}
    return MuonWithAdamW.of(built, decayed, lr=RATE, weight_decay=DECAY)


@pytest.mark.parametrize("tied", [True, False])
def test_its_steps_are_those_of_both_alone(tied: bool) -> None:
    built = model(tied)
    apart = copy.deepcopy(built)
    named = dict(apart.named_parameters())
    matrices = [value for name, value in named.items() if "proj" in name]
    tokens = [value for name, value in named.items() if "embed" in name or "lm_head" in name]
    norms = [value for name, value in named.items() if "norm" in name]
    assert len(matrices) + len(tokens) + len(norms) == len(named) and len(tokens) == (1 if tied else 2)
    alone = [
        Muon(matrices, lr=RATE, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
        AdamW([{"params": tokens, "weight_decay": DECAY}, {"params": norms, "weight_decay": 0.0}], lr=RATE),
    ]
    together = joined(built)
    for seed in range(3):
        step(built, [together], seed)
        step(apart, alone, seed)
    for name, value in built.named_parameters():
        assert torch.equal(value, named[name]), name


def test_a_restored_state_goes_on_as_if_it_had_never_stopped() -> None:
    whole, half = model(True), model(True)
    one, two = joined(whole), joined(half)
    for seed in range(2):
        step(whole, [one], seed)
        step(half, [two], seed)
    other = copy.deepcopy(half)
    restored = joined(other)
    restored.load_state_dict(copy.deepcopy(two.state_dict()))
    for seed in range(2, 4):
        step(whole, [one], seed)
        step(other, [restored], seed)
    for (name, value), (_, again) in zip(whole.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(value, again), name
