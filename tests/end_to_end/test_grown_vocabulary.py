"""Adapters of a grown vocabulary, as PEFT, Unsloth and LLaMA-Factory write them, answer as they do by plain PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf

CONFIG = "adapter_config.json"
INPUTS = {"input_ids": torch.tensor([[5, 262, 9], [7, 8, 263]]), "attention_mask": torch.ones(2, 3, dtype=torch.long)}
GROWN = 264  # the tiny decoder has 260
LORA: dict[str, Any] = {"task_type": "CAUSAL_LM", "r": 2, "init_lora_weights": False}
NEW = [260, 261, 262, 263]
# As each writes it: LoRA beside whole embeddings, modules_to_save, LoRA on both, rows that are trained one by one.
WAYS: dict[str, dict[str, Any]] = {
    "peft auto": {**LORA, "target_modules": ["q_proj"]},
    "unsloth": {**LORA, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "adapted": {**LORA, "target_modules": ["q_proj", "embed_tokens", "lm_head"]},
}


def model_of(folder: Path, rows: int | None = None) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder)
    if rows is not None:
        torch.manual_seed(7)
        model.resize_token_embeddings(rows, mean_resizing=False)
    return model.eval()


def logits(model: Any) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model.eval()(**INPUTS).logits
    return found


@pytest.fixture(params=list(WAYS))
def trained(request: pytest.FixtureRequest, decoder: Path) -> Any:
    """A PEFT model on a resized base, whose new rows and adapter are random."""
    torch.manual_seed(1)
    model = get_peft_model(model_of(decoder, GROWN), LoraConfig(**WAYS[request.param]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return model.eval()


@pytest.fixture
def theirs(trained: Any, tmp_path: Path) -> Path:
    """The folder that PEFT writes of it, which names its base by an id."""
    trained.save_pretrained(tmp_path / "theirs", save_embedding_layers=_whole(trained))
    path = tmp_path / "theirs" / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "acme/tiny"}))
    return tmp_path / "theirs"


def _whole(model: Any) -> bool:
    return not model.peft_config["default"].modules_to_save


def answers(name: str, decoder: Path, **options: Any) -> Tensor:
    adapter = ahf.load(name, tokenizer=AutoTokenizer.from_pretrained(decoder), **options)
    return logits(adapter.model)


def test_an_import_loads_twice_on_the_plain_base_and_on_the_resized_one(
    theirs: Path, decoder: Path, trained: Any
) -> None:
    expected = logits(PeftModel.from_pretrained(model_of(decoder, GROWN), theirs))
    assert torch.equal(expected, logits(trained))
    ahf.import_folder(theirs, "acme/grown")
    for load in (
        lambda: answers("acme/grown", decoder, base=decoder),
        lambda: answers("acme/grown", decoder, base=model_of(decoder, GROWN)),
        lambda: answers("acme/grown", decoder, base=decoder),
    ):
        assert torch.equal(load(), expected)


def test_what_is_saved_brings_the_new_rows(trained: Any, decoder: Path) -> None:
    expected = logits(trained)
    ahf.save(trained, "acme/grown", base=decoder)
    assert torch.equal(logits(trained), expected)
    for base in (decoder, model_of(decoder, GROWN)):
        assert torch.equal(answers("acme/grown", decoder, base=base), expected)


def test_a_model_that_is_given_is_never_resized(theirs: Path, decoder: Path) -> None:
    ahf.import_folder(theirs, "acme/grown")
    base = model_of(decoder)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    with pytest.raises(ahf.WrongBase, match="trained with 264 tokens, and the base has 260.*resize_token_embeddings"):
        answers("acme/grown", decoder, base=base)
    assert base.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


def test_a_base_is_never_shrunk(theirs: Path, decoder: Path) -> None:
    ahf.import_folder(theirs, "acme/grown")
    with pytest.raises(ahf.WrongTensors, match=r"of another shape"):
        answers("acme/grown", decoder, base=model_of(decoder, 300))


@pytest.mark.parametrize("change", ["rows", "values"])
def test_rows_that_changed_without_peft_s_knowing_are_stored(change: str, decoder: Path) -> None:
    model = model_of(decoder)
    if change == "rows":
        model.resize_token_embeddings(GROWN, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[9] += 0.5
    plain: Any = get_peft_model(model, LoraConfig(**WAYS["peft auto"])).eval()
    ids = {"input_ids": torch.tensor([[5, 9, 6]])}
    with torch.inference_mode():
        expected = plain(**ids).logits
    version = ahf.save(plain, "acme/changed", base=decoder)
    adapter = ahf.load("acme/changed", base=decoder)
    with torch.inference_mode():
        assert torch.equal(adapter.model(**ids).logits, expected)
    assert any("embed_tokens" in name for name in load_file(version.files / "adapter_model.safetensors"))


def test_nothing_is_stored_of_an_unchanged_vocabulary(decoder: Path) -> None:
    version = ahf.save(get_peft_model(model_of(decoder), LoraConfig(**WAYS["peft auto"])), "acme/small", base=decoder)
    stored = load_file(version.files / "adapter_model.safetensors")
    assert not any("embed_tokens" in name or "lm_head" in name for name in stored)


def test_rows_trained_one_by_one(decoder: Path) -> None:
    options = {**LORA, "target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": NEW, "lm_head": NEW}}
    torch.manual_seed(1)
    model: Any = get_peft_model(model_of(decoder, GROWN), LoraConfig(**options)).eval()
    expected = logits(model)
    ahf.save(model, "acme/rows", base=decoder)
    for base in (decoder, model_of(decoder, GROWN)):
        assert torch.equal(answers("acme/rows", decoder, base=base), expected)


@pytest.mark.parametrize("first", ["plain", "resized"])
def test_rows_trained_one_by_one_load_on_either_base_after_an_import(first: str, decoder: Path, tmp_path: Path) -> None:
    """Whichever base the first load records, the other one is it too (G 19)."""
    options = {**LORA, "target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": NEW, "lm_head": NEW}}
    torch.manual_seed(1)
    model: Any = get_peft_model(model_of(decoder, GROWN), LoraConfig(**options)).eval()
    expected = logits(model)
    model.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    path = tmp_path / "theirs" / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "acme/tiny"}))
    ahf.import_folder(tmp_path / "theirs", "acme/rows")
    order = ["plain", "plain", "resized"] if first == "plain" else ["resized", "plain", "resized"]
    for kind in order:
        base = decoder if kind == "plain" else model_of(decoder, GROWN)
        assert torch.equal(answers("acme/rows", decoder, base=base), expected)
    with pytest.raises(ahf.WrongBase, match="vocabulary of 300"):
        answers("acme/rows", decoder, base=model_of(decoder, 300))
    other = model_of(decoder, GROWN)
    with torch.no_grad():
        other.get_input_embeddings().weight[9] += 0.5
    with pytest.raises(ahf.WrongBase, match="row 9"):
        answers("acme/rows", decoder, base=other)
