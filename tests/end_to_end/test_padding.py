"""A row's answer is the same alone and in every batch, whatever the base's files say of padding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.testing import tiny_corpus, tiny_decoder
from adapterhub_fin.testing.tiny import SHAPE

PAD, UNKNOWN, BEGIN, END = range(4)  # of the tiny tokenizer
TEXTS = [
    "Arlo: profit rose.",
    "No.",
    "Gant: profit fell, and a longer sentence follows.",
    "!",
    "Nyx [SEP]",
    "[UNK] a [PAD]",
]
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 0.2}
GEMMA = {**SHAPE, "num_key_value_heads": 1, "head_dim": 16, "layer_types": ["full_attention"] * 2, "vocab_size": 260}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "image_size": 28,
}
BASES: dict[str, dict[str, Any]] = {
    "llama": {**SHAPE, "num_key_value_heads": 1},
    "qwen2": {**SHAPE, "num_key_value_heads": 1},
    "mistral": {**SHAPE, "num_key_value_heads": 1, "head_dim": 16},
    "gpt2": GPT,
    "gpt_neox": SHAPE,
    "bert": SHAPE,
    "roberta": {**SHAPE, "max_position_embeddings": 132},
    "gemma3": {"text_config": GEMMA, "vision_config": VISION, "mm_tokens_per_image": 4},
}
# What config.json says, and what the tokenizer pads with; None where it says nothing, -1 and 999 where no row is.
SAID = [(None, None), (END, PAD), (UNKNOWN, PAD), (PAD, END), (None, END), (PAD, UNKNOWN), (PAD, None), (PAD, 999)]
CASES = [("llama", each) for each in (*SAID, (-1, PAD))]
CASES += [(kind, each) for kind in ("qwen2", "mistral", "gpt2", "gpt_neox", "gemma3") for each in (SAID[1], SAID[3])]
CASES += [(kind, SAID[1]) for kind in ("bert", "roberta")]


def _base(folder: Path, kind: str, config_pad: int | None, tokenizer_pad: int | None) -> Path:
    """Save a small base whose two files say so."""
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_decoder(folder))
    config = AutoConfig.for_model(kind, **BASES[kind])
    text = config.get_text_config()
    text.vocab_size = len(tokenizer)
    for each in (config, text):
        each.pad_token_id = None if config_pad == -1 else config_pad
    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    model.config.get_text_config().pad_token_id = config_pad  # -1 as older Llamas have it, with which none is built
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    tokenizer._pad_token_id = None
    tokenizer.pad_token = None if tokenizer_pad is None else "[NEW]"
    if tokenizer_pad == 999:
        tokenizer.add_special_tokens({"pad_token": "[NEW]"})
    elif tokenizer_pad is not None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(tokenizer_pad)
    tokenizer.save_pretrained(folder)
    return folder


def _adapter(base: Path, registry: ahf.Registry) -> str:
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    adapted: Any = get_peft_model(plain, LoraConfig(r=4, task_type="SEQ_CLS", target_modules="all-linear"))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return ahf.save(adapted, "t/tone", base=base, labels=["a", "b", "c"], registry=registry).reference


def _spread(adapter: Adapter, texts: list[str]) -> float:
    """The furthest that a row of a batch is from the same row alone."""
    alone = torch.cat([adapter.logits([text]) for text in texts])
    return float((adapter.logits(texts) - alone).abs().max())


@pytest.mark.parametrize(("kind", "said"), CASES, ids=str)
def test_a_row_is_answered_alike_alone_and_in_a_batch(kind: str, said: tuple[Any, Any], tmp_path: Path) -> None:
    registry = ahf.Registry(tmp_path / "home")
    base = _base(tmp_path / "base", kind, *said)
    adapter = ahf.load(_adapter(base, registry), base=base, registry=registry)
    assert _spread(adapter, TEXTS) < 1e-4
    assert len({tuple(row) for row in adapter.logits(TEXTS[:4]).tolist()}) == 4, "texts that are answered alike"


@pytest.fixture(scope="module")
def disagreeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ahf.Registry]]:
    """A Llama whose files disagree, and a version on it."""
    root = tmp_path_factory.mktemp("padding")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        registry = ahf.Registry(root / "home")
        base = _base(root / "base", "llama", END, PAD)
        _adapter(base, registry)
        yield base, registry


WORDS = st.sampled_from([*TEXTS, "a", "[PAD]", "[SEP]", "[UNK] [SEP]", "[SEP][PAD]"])


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=6),
    size=st.integers(1, 6),
)
def test_no_division_into_batches_changes_an_answer(
    disagreeing: tuple[Path, ahf.Registry], texts: list[str], size: int
) -> None:
    adapter = _loaded(*disagreeing)
    alone = torch.cat([adapter.logits([text]) for text in texts])
    assert torch.allclose(adapter.logits(texts, batch_size=size), alone, atol=1e-4, rtol=0)


@cache
def _loaded(base: Path, registry: ahf.Registry) -> Adapter:
    return ahf.load("t/tone", base=base, registry=registry)


def test_a_model_of_the_caller_keeps_what_it_takes_for_padding(disagreeing: tuple[Path, ahf.Registry]) -> None:
    base, registry = disagreeing
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    assert model.config.pad_token_id == END
    adapter = ahf.attach(model, "t/tone", tokenizer=AutoTokenizer.from_pretrained(base), registry=registry)
    expected = _loaded(base, registry).logits(TEXTS)
    assert torch.allclose(adapter.logits(TEXTS), expected, atol=1e-5)
    assert model.config.pad_token_id == END


def test_adapters_that_share_a_backbone_pad_each_in_its_own_way(disagreeing: tuple[Path, ahf.Registry]) -> None:
    base, registry = disagreeing
    backbone = AutoModel.from_pretrained(base)
    other = AutoTokenizer.from_pretrained(base)
    other.pad_token = "[UNK]"
    tokenizers = [AutoTokenizer.from_pretrained(base), other]
    adapters = [ahf.load("t/tone", base=backbone, tokenizer=each, registry=registry) for each in tokenizers]
    for adapter in (*adapters, adapters[0]):
        assert _spread(adapter, TEXTS[:4]) < 1e-4
    assert torch.allclose(adapters[0].logits(TEXTS[:4]), adapters[1].logits(TEXTS[:4]), atol=1e-5)
    assert backbone.config.pad_token_id == END


def test_training_and_its_metrics_read_no_padding_either(disagreeing: tuple[Path, ahf.Registry]) -> None:
    base, registry = disagreeing
    recipe: dict[str, Any] = {
        "name": "t/trained",
        "base": {"path": str(base)},
        "method": {"name": "lora", "rank": 4},
        "head": "regress",
        "corpus": {"name": tiny_corpus()},
        "training": {"epochs": 1, "batch_size": 8, "max_length": 32, "learning_rate": 1e-2},
    }
    run = ahf.train(recipe, registry=registry)
    alone = ahf.evaluate(run.reference, base=base, batch_size=1, record=False, resamples=10, registry=registry)
    assert alone.metrics == pytest.approx(run.metrics, abs=1e-4)
    assert torch.allclose(
        run.adapter.logits(TEXTS), ahf.load(run.reference, base=base, registry=registry).logits(TEXTS)
    )
