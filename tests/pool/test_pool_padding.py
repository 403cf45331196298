"""A pool answers a row alike alone and in every batch, whatever the base's files say of padding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.testing import tiny_decoder, tiny_encoder
from adapterhub_fin_registry import Version

PAD, UNKNOWN, BEGIN, END = range(4)  # of the tiny tokenizer
CLASSES: dict[str, Any] = {"llama": AutoModelForCausalLM, "bert": AutoModel}
TEXTS = ["Arlo: profit rose.", "No.", "Gant: profit fell, and a longer sentence follows.", "Nyx [SEP]", "[UNK] a [PAD]"]


def base_of(folder: Path, kind: str, config_pad: int | None, tokenizer_pad: str | None, side: str) -> Path:
    """Save a small base whose two files say so of padding; `[NEW]` is a token that it has no row for."""
    (tiny_decoder if kind == "llama" else tiny_encoder)(folder)
    model, tokenizer = CLASSES[kind].from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model.config.pad_token_id = config_pad
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(parameter.numel()))
    model.save_pretrained(folder)
    if tokenizer_pad == "[NEW]":
        tokenizer.add_special_tokens({"pad_token": tokenizer_pad})
    else:
        tokenizer._pad_token_id, tokenizer.pad_token = None, tokenizer_pad
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"  # save_pretrained leaves out a side that was set after loading
    path.write_text(json.dumps({**json.loads(path.read_text()), "padding_side": side}))
    assert AutoTokenizer.from_pretrained(folder).padding_side == side
    return folder


@pytest.mark.parametrize("given", ["folder", "folder, tokenizer", "model", "model, tokenizer"])
@pytest.mark.parametrize(
    ("kind", "config_pad", "tokenizer_pad", "side"),
    [
        ("llama", END, "[PAD]", "right"),
        ("llama", None, "[SEP]", "left"),
        ("llama", PAD, None, "right"),
        ("llama", PAD, "[NEW]", "left"),
        ("llama", PAD, "[UNK]", "right"),
        ("bert", PAD, "[PAD]", "left"),  # its positions are absolute
        ("bert", END, "[UNK]", "left"),
    ],
)
def test_a_row_is_answered_alike_alone_and_in_a_batch(
    given: str,
    kind: str,
    config_pad: int | None,
    tokenizer_pad: str | None,
    side: str,
    save_adapter: Callable[..., Version],
    tmp_path: Path,
) -> None:
    base, registry = base_of(tmp_path / "base", kind, config_pad, tokenizer_pad, side), ahf.Registry(tmp_path / "home")
    for name in ("t/a", "t/b"):
        save_adapter(name, base, registry)
    model: Any = base if given.startswith("folder") else CLASSES[kind].from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base) if given.endswith("tokenizer") else None
    pool = ahf.pool(model, tokenizer=tokenizer, registry=registry)
    rows = [(text, name) for text in TEXTS for name in ("t/a", "t/b")]
    mixed = torch.stack(pool.logits(rows))
    alone = torch.stack([pool.logits([row])[0] for row in rows])
    assert float((mixed - alone).abs().max()) < 1e-4
    apart = ahf.load("t/a", base=base, registry=registry).logits(TEXTS)
    assert float((mixed[::2] - apart).abs().max()) < 1e-4
    vectors = pool.embed(rows).vectors
    single = [pool.embed([row]).vectors[0] for row in rows]
    assert max(float(abs(one - other).max()) for one, other in zip(vectors, single, strict=True)) < 1e-4
