"""The real corpus and real adapters that others trained; skipped, visibly, where they are not at hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.corpus import read_corpus
from adapterhub_fin.recipe.choices import CorpusChoice


@pytest.mark.parametrize(
    ("agreement", "rows", "notes"),
    [(50, 4836, {"repeated": 6, "conflicting": 4}), ("all", 2259, {"repeated": 5, "conflicting": 0})],
)
def test_phrasebank_as_it_is(shared: Path, agreement: Any, rows: int, notes: dict[str, int]) -> None:
    """4,846 and 2,264 lines, latin-1 and UTF-8; the same sentence twice would leak into the test part."""
    path = str(shared / "data" / "financial_phrasebank")
    choice = CorpusChoice.model_validate({"name": "phrasebank", "path": path, "agreement": agreement})
    found = read_corpus(choice, "classify")
    assert sum(len(part) for part in found.splits.values()) == rows and dict(found.notes) == notes
    texts = [text for part in found.splits.values() for text in part["text"]]
    assert len(set(texts)) == len(texts) and not any("\ufffd" in text for text in texts)
    assert {known.kind for known in found.known.values()} == {"bounded"}


def test_a_real_classifier_is_imported_and_answers_as_in_plain_peft(shared: Path) -> None:
    """deepbiolab/gpt2-cls-lora: Conv1D layers, fan_in_fan_out, its head in modules_to_save, an older configuration."""
    folder = shared / "data" / "adapters" / "deepbiolab__gpt2-cls-lora"
    taken = ahf.import_folder(folder, "real/gpt2-cls")
    manifest = taken.version.manifest
    assert manifest.base.repository == "gpt2" and manifest.base.fingerprint == "declared"
    assert (
        manifest.method.options["rank"] == 8
        and manifest.head is not None
        and manifest.head.modules_to_save == ("score",)
    )
    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "gpt2_tokenizer")
    tokenizer.pad_token = "<|endoftext|>"
    torch.manual_seed(0)
    labels = len(manifest.head.labels or ())
    base = GPT2ForSequenceClassification(GPT2Config(num_labels=labels, pad_token_id=tokenizer.pad_token_id)).eval()
    plain = PeftModel.from_pretrained(copy.deepcopy(base), str(folder)).eval()
    texts = ["Revenue rose.", "Revenue fell."]
    adapter = ahf.attach(base, "real/gpt2-cls", tokenizer=tokenizer)
    with torch.inference_mode():
        expected = plain(**tokenizer(texts, return_tensors="pt")).logits
    assert torch.equal(adapter.logits(texts), expected)


@pytest.mark.parametrize("name", ["abrhaley__gpt2-tigrinya-lora", "trl__kto-anthropic-hh"])
def test_a_real_language_model_adapter_answers_as_in_plain_peft(shared: Path, name: str) -> None:
    folder = shared / "data" / "adapters" / name
    taken = ahf.import_folder(folder, "real/causal")
    assert taken.version.manifest.head is not None and taken.version.manifest.head.name == "causal-lm"
    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "gpt2_tokenizer")
    tokenizer.pad_token = "<|endoftext|>"
    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config()).eval()
    plain = PeftModel.from_pretrained(copy.deepcopy(base), str(folder)).eval()
    adapter = ahf.attach(base, "real/causal", tokenizer=tokenizer)
    batch = tokenizer(["Revenue rose in the third quarter."], return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(adapter.model(**batch).logits, plain(**batch).logits)
    assert adapter.predict(["Revenue rose."])[0].tokens > 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sdtrklse__distilbert-lora-bin", "is a pickle.*save_pretrained"),
        ("lfs_pointer", "git lfs pull"),
        ("not_peft_mlx", "no peft_type.*mlx"),
    ],
)
def test_what_is_no_adapter_is_told_apart(shared: Path, name: str, said: str) -> None:
    with pytest.raises(ahf.NotAnAdapter, match=said):
        ahf.import_folder(shared / "data" / "adapters" / name, "real/none")
    assert ahf.Registry().names() == []


def test_the_tiny_trained_llama_is_a_base(shared: Path) -> None:
    run = ahf.train(
        name="real/stories",
        base={"path": str(shared / "models" / "stories260K")},
        method={"name": "lora", "rank": 4},
        corpus={"name": "headlines", "rows": 200},
        training={"epochs": 1, "max_length": 64},
    )
    assert torch.equal(ahf.load("real/stories").logits(["Orders rose."]), run.adapter.logits(["Orders rose."]))
