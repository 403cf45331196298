"""`ahf.save(tokenizer=...)` stores a tokenizer that the base does not have, and every load reads with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf

TEXTS = ["Arlo: profit rose.", "Brent: <new> fell."]


def classifier(encoder: Path) -> Any:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    return get_peft_model(model, LoraConfig("SEQ_CLS", target_modules=["query"], init_lora_weights=False)).eval()


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(**tokenizer(TEXTS, return_tensors="pt", padding=True)).logits
    return found


@pytest.mark.parametrize("change", ["none", "lower case", "no marks"])
def test_a_load_reads_as_the_tokenizer_that_was_given(change: str, encoder: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(encoder)
    if change == "lower case":
        from tokenizers import normalizers

        tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    elif change == "no marks":
        tokenizer.backend_tokenizer.post_processor = None
    model = classifier(encoder)
    expected = logits(model, tokenizer)
    version = ahf.save(model, "acme/read", base=encoder, tokenizer=tokenizer)
    assert (version.files / "tokenizer").is_dir() == (change != "none")
    for _ in range(2):
        assert torch.allclose(ahf.load("acme/read", base=encoder).logits(TEXTS), expected, atol=1e-6)


def test_a_base_whose_tokenizer_changed_between_two_saves_is_read_again(encoder: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(encoder, tmp_path / "base"))
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    first = ahf.save(classifier(base), "acme/one", base=base, tokenizer=tokenizer)
    file = base / "tokenizer.json"
    file.write_text(file.read_text().replace('"normalizer":null', '"normalizer": null'))  # the same one
    file.write_text(file.read_text().replace('"normalizer": null', '"normalizer": {"type": "Lowercase"}'))
    second = ahf.save(classifier(base), "acme/two", base=base, tokenizer=tokenizer)
    assert [(each.files / "tokenizer").is_dir() for each in (first, second)] == [False, True]
    lowered: Any = AutoTokenizer.from_pretrained(base)
    third = ahf.save(classifier(base), "acme/three", base=base, tokenizer=lowered)
    assert not (third.files / "tokenizer").is_dir()


def test_what_is_no_tokenizer_is_refused_before_anything_is_stored(encoder: Path) -> None:
    for wrong, error, said in (
        ({"input_ids": []}, ahf.BadRecipe, "tokenizer is a dict: give a tokenizer of Transformers"),
        (unpadded(encoder), ahf.WrongBase, "no token to pad with"),
    ):
        with pytest.raises(error, match=said):
            ahf.save(classifier(encoder), "acme/wrong", base=encoder, tokenizer=wrong)
    assert ahf.Registry().names() == []


def unpadded(encoder: Path) -> Any:
    tokenizer: Any = AutoTokenizer.from_pretrained(encoder)
    tokenizer.pad_token = tokenizer.eos_token = tokenizer.unk_token = None
    return tokenizer
