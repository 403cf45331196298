"""Adapters that share one model in memory, bare or with its head, answer as each does alone (G 25)."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
)

import adapterhub_fin as ahf

TEXTS = ["Arlo: profit rose.", "Brent: profit fell by 3 %."]
LABELS = ["negative", "neutral", "positive"]
PLANS: dict[str, Callable[[], PeftConfig]] = {
    "lora": lambda: LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
    "prompt": lambda: PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "prefix": lambda: PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
}


def saved(model: Any, tokenizer: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tied(decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Decoders that write with their input embeddings, of two architectures."""
    tokenizer, root = AutoTokenizer.from_pretrained(decoder), tmp_path_factory.mktemp("tied")
    torch.manual_seed(3)
    config = AutoConfig.from_pretrained(decoder)
    config.tie_word_embeddings = True
    size: Any = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 0.2}
    ends: Any = {"bos_token_id": 2, "eos_token_id": 3}
    return {
        "llama": saved(LlamaForCausalLM(config), tokenizer, root / "llama"),
        "gpt2": saved(GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **size, **ends)), tokenizer, root / "gpt2"),
    }


def imported(base: Any, plan: PeftConfig, name: str, folder: Path, seed: int, **options: Any) -> None:
    """An adapter that PEFT wrote, with weights of its own."""
    torch.manual_seed(seed)
    model: nn.Module = get_peft_model(base, plan)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.peft_config["default"].base_model_name_or_path = "acme/tiny"  # type: ignore[index,union-attr]
    model.save_pretrained(folder / str(seed), save_embedding_layers=False)  # type: ignore[operator]
    ahf.import_folder(folder / str(seed), name, **options)


def alone(name: str, base: Path) -> Tensor:
    return ahf.load(name, base=base).logits(TEXTS)


def writers(base: Path, kind: str, tmp_path: Path) -> dict[str, Tensor]:
    """Three adapters of one kind, with what each answers alone."""
    for seed in (1, 2, 3):
        imported(AutoModelForCausalLM.from_pretrained(base), PLANS[kind](), f"acme/w{seed}", tmp_path, seed)
    found = {f"acme/w{seed}": alone(f"acme/w{seed}", base) for seed in (1, 2, 3)}
    assert not torch.equal(*list(found.values())[:2])
    return found


@pytest.mark.parametrize(("which", "kind"), [("llama", "lora"), ("gpt2", "lora"), ("llama", "prompt")])
def test_writers_share_a_bare_backbone_whose_output_is_tied(
    tied: dict[str, Path], which: str, kind: str, tmp_path: Path
) -> None:
    expected = writers(tied[which], kind, tmp_path)
    bare, tokenizer = AutoModel.from_pretrained(tied[which]), AutoTokenizer.from_pretrained(tied[which])
    adapters = {name: ahf.load(name, base=bare, tokenizer=tokenizer) for name in expected}
    for _ in range(2):
        for name, adapter in adapters.items():
            assert torch.equal(adapter.logits(TEXTS), expected[name])
    table = bare.get_input_embeddings()
    outputs = [adapter.model.get_base_model().get_output_embeddings() for adapter in adapters.values()]  # type: ignore[operator]
    weights = {id(getattr(output, "base_layer", output).weight) for output in outputs}
    assert weights == {id(getattr(table, "base_layer", table).weight)}


def test_an_output_that_is_not_tied_is_missed_by_its_name(decoder: Path, tmp_path: Path) -> None:
    expected = writers(decoder, "lora", tmp_path)
    bare, tokenizer = AutoModel.from_pretrained(decoder), AutoTokenizer.from_pretrained(decoder)
    with pytest.raises(ahf.WrongBase, match=r"bare LlamaModel: it lacks lm_head, .* give the whole model"):
        ahf.load("acme/w1", base=bare, tokenizer=tokenizer)
    whole = AutoModelForCausalLM.from_pretrained(decoder)
    for name, logits in expected.items():
        assert torch.equal(ahf.load(name, base=whole, tokenizer=tokenizer).logits(TEXTS), logits)


@pytest.mark.parametrize(("kind", "kept"), [("lora", True), ("lora", False), ("prompt", True), ("prefix", True)])
def test_adapters_are_loaded_one_after_another_onto_the_same_writer(
    decoder: Path, kind: str, kept: bool, tmp_path: Path
) -> None:
    expected = writers(decoder, kind, tmp_path)
    whole, tokenizer = AutoModelForCausalLM.from_pretrained(decoder), AutoTokenizer.from_pretrained(decoder)
    adapters = {}
    for number, (name, logits) in enumerate(expected.items()):
        load = ahf.attach if number % 2 else lambda model, name, **options: ahf.load(name, base=model, **options)
        adapter = load(whole, name, tokenizer=tokenizer)
        assert torch.equal(adapter.logits(TEXTS), logits)
        if kept:
            adapters[name] = adapter
        else:
            del adapter
            gc.collect()
    for name, adapter in adapters.items():
        assert torch.equal(adapter.logits(TEXTS), expected[name])
        assert adapter.generate(TEXTS, max_new_tokens=4) == ahf.load(name, base=decoder).generate(
            TEXTS, max_new_tokens=4
        )
    copied = copy.deepcopy(whole)
    assert torch.equal(ahf.load("acme/w2", base=copied, tokenizer=tokenizer).logits(TEXTS), expected["acme/w2"])


def test_so_are_classifiers_and_what_embeds(encoder: Path, tmp_path: Path) -> None:
    def model() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)

    for seed in (1, 2):
        plan = LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS")
        imported(model(), plan, f"acme/c{seed}", tmp_path, seed, labels=LABELS)
    expected = {name: alone(name, encoder) for name in ("acme/c1", "acme/c2")}
    vectors = {name: ahf.load(name, base=encoder).embed(TEXTS) for name in expected}
    shared, tokenizer = model(), AutoTokenizer.from_pretrained(encoder)
    adapters = {name: ahf.load(name, base=shared, tokenizer=tokenizer) for name in ("acme/c1", "acme/c2", "acme/c1")}
    for name, adapter in adapters.items():
        assert torch.equal(adapter.logits(TEXTS), expected[name]) and (adapter.embed(TEXTS) == vectors[name]).all()


def test_what_another_trainer_wrapped_is_still_refused(decoder: Path, tmp_path: Path) -> None:
    """Its wrapper is not ours to know: it is asked for."""
    writers(decoder, "lora", tmp_path)
    whole = AutoModelForCausalLM.from_pretrained(decoder)
    theirs = get_peft_model(whole, PLANS["lora"]())
    with pytest.raises(ahf.WrongBase, match="carries adapters already: pass the PeftModel that wraps it"):
        ahf.load("acme/w1", base=whole, tokenizer=AutoTokenizer.from_pretrained(decoder))
    ahf.load("acme/w1", base=theirs, tokenizer=AutoTokenizer.from_pretrained(decoder))
