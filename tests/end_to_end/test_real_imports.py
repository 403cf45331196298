"""Import or refuse real adapters as docs/how-to/import_adapters.md says; skipped where none is at hand."""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers import (
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)

import adapterhub_fin as ahf

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "import_adapters.md"
CONFIG = "adapter_config.json"
FLUX = (
    *("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"),
    *("to_add_out", "to_qkv_mlp_proj", "linear_in", "linear_out"),
)


def test_the_real_adapters(shared: Path) -> None:
    rows = [row(folder) for folder in sorted((shared / "data" / "adapters").iterdir())]
    assert len(rows) == 6
    documented(["| adapter | becomes |", "|---|---|", *rows])


def row(folder: Path) -> str:
    try:
        return f"| {folder.name} | {imported(folder)} |"
    except ahf.NotAnAdapter as error:
        refused = f"refused: {reason(error, folder)}"
        if "pickle" not in refused:
            return f"| {folder.name} | {refused} |"
        return f"| {folder.name} | {refused}; with `--allow-pickle` {imported(folder, allow_pickle=True)} |"


def imported(folder: Path, **options: Any) -> str:
    taken = ahf.import_folder(folder, "real/adapter", **options)
    manifest = taken.version.manifest
    assert manifest.head is not None and not taken.warnings
    modules = (
        f", its {' and '.join(manifest.head.modules_to_save)} stored whole" if manifest.head.modules_to_save else ""
    )
    labels = f" of {len(manifest.head.labels)} labels" if manifest.head.labels else ""
    rank = manifest.method.options["rank"]
    return f"{manifest.method.name} of rank {rank} on {manifest.base.repository}, {manifest.head.name}{labels}{modules}"


def reason(error: Exception, folder: Path) -> str:
    """Why, without the path and without what to do."""
    said = str(error).replace(str(folder), "").strip("/ ").partition(": ")[0]
    return said + ")" * (said.count("(") - said.count(")"))


def test_the_real_configurations(shared: Path, decoder: Path, tmp_path: Path) -> None:
    """As they lie they have no weights; with those that PEFT makes of them they are imported and, where the base is
    one of Transformers, loaded."""
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    found: Counter[tuple[str, str, bool]] = Counter()
    for path in sorted((shared / "data" / "adapter_configs").rglob(CONFIG)):
        with pytest.raises(ahf.NotAnAdapter, match="a configuration and no weights"):
            ahf.import_folder(path.parent, "real/config")
        kind = json.loads(path.read_text())["peft_type"]
        images = "image-gen" in path.parts
        base = diffusion() if images else llama(path)
        folder = with_weights(path, base, tmp_path)
        taken = ahf.import_folder(folder, "real/config")
        assert (taken.version.files / CONFIG).read_bytes() == path.read_bytes() and not taken.repairs
        if not images:
            ahf.attach(llama(path), taken.version.reference, tokenizer=tokenizer)
        found[kind, taken.version.manifest.method.name, images] += 1
        shutil.rmtree(folder)
    assert sum(found.values()) == 103
    kinds = sorted({(kind, method) for kind, method, _ in found})
    rows = [
        f"| {kind} | `{method}` | {found[kind, method, False]} | {found[kind, method, True]} |"
        for kind, method in kinds
    ]
    documented(["| PEFT type | method | for Llama | for FLUX.2 |", "|---|---|---|---|", *rows])


def llama(path: Path) -> LlamaForCausalLM:
    """A Llama that is wide enough for every rank and block of these configurations, and as deep as each wants."""
    config = json.loads(path.read_text())
    kind, width = config["peft_type"], config.get("token_dim") or 256
    shape = {"hidden_size": width, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 4}
    vocabulary = 128_300 if kind == "TRAINABLE_TOKENS" else 512
    layers = 30 if kind == "ADAPTION_PROMPT" else 1
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, num_hidden_layers=layers, **shape)).eval()


def diffusion() -> nn.Module:
    """One block with the layers that the configurations of FLUX.2 name; Transformers has no such model."""
    block = nn.ModuleDict({name: nn.Linear(256, 256) for name in FLUX})
    block["to_out"] = nn.ModuleList([nn.Linear(256, 256)])
    for name in ("norm_q", "norm_k"):
        block[name] = nn.LayerNorm(256)
    return nn.ModuleDict({"attn": block})


def with_weights(path: Path, base: nn.Module, tmp_path: Path) -> Path:
    """The configuration, byte for byte, beside the weights that PEFT makes of it."""
    folder = tmp_path / "folder"
    get_peft_model(base, PeftConfig.from_pretrained(str(path.parent))).save_pretrained(  # type: ignore[arg-type]
        folder, save_embedding_layers=False
    )
    shutil.copyfile(path, folder / CONFIG)
    return folder


def documented(table: list[str]) -> None:
    text = "\n".join(table)
    assert text in DOCS.read_text(encoding="utf-8"), f"docs/how-to/import_adapters.md lacks this table:\n{text}"


def test_the_pickled_classifier_answers_as_in_plain_peft(shared: Path) -> None:
    """sdtrklse/distilbert-lora-bin: saved on a GPU by an old PEFT, both layers of its head under one name."""
    folder = shared / "data" / "adapters" / "sdtrklse__distilbert-lora-bin"
    taken = ahf.import_folder(folder, "real/distilbert", allow_pickle=True)
    head = taken.version.manifest.head
    assert head is not None and head.modules_to_save == ("classifier", "pre_classifier") and head.labels is not None
    torch.manual_seed(0)
    base = DistilBertForSequenceClassification(DistilBertConfig(num_labels=len(head.labels))).eval()
    plain = PeftModel.from_pretrained(copy.deepcopy(base), str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "gpt2_tokenizer")
    tokenizer.pad_token, tokenizer.model_max_length = "!", 64
    small = {"input_ids": torch.arange(5, 21)[None], "attention_mask": torch.ones(1, 16, dtype=torch.long)}
    adapter = ahf.attach(base, "real/distilbert", tokenizer=tokenizer)
    with torch.inference_mode():
        assert torch.equal(adapter.model(**small).logits, plain(**small).logits)
