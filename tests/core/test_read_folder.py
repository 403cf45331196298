"""What a PEFT folder of others is read as: its head, its labels, and the modules that travel with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from adapterhub_fin.engine.importing import read_folder as reading
from adapterhub_fin.engine.importing.read_folder import PeftFolder, read_folder
from adapterhub_fin.errors import NotAnAdapter
from adapterhub_fin.plugin.adapter_files import bare_name, head_modules

LORA = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["query"], "task_type": "SEQ_CLS"}
PROMPT = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "task_type": "SEQ_CLS"}
A, B = "base_model.model.bert.query.lora_A.weight", "base_model.model.bert.query.lora_B.weight"
WEIGHT, BIAS = "base_model.model.classifier.weight", "base_model.model.classifier.bias"


def folder(tmp_path: Path, config: dict[str, Any], **shapes: tuple[int, ...]) -> Path:
    """A LoRA of one layer, and other tensors of these shapes, with dots for double underscores."""
    tensors = {A: torch.ones(2, 4), B: torch.ones(4, 2)} if "r" in config else {}
    tensors |= {f"base_model.model.{name.replace('__', '.')}": torch.ones(shape) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    return tmp_path


def read(tmp_path: Path, labels: list[str] | None = None, config: dict[str, Any] = LORA, **shapes: Any) -> PeftFolder:
    return read_folder(folder(tmp_path, config, **shapes), labels)


def head(found: PeftFolder) -> Any:
    assert found.head is not None
    return found.head["name"], found.head["labels"], found.head["modules_to_save"]


def test_labels_are_as_many_as_the_head_has_rows(tmp_path: Path) -> None:
    shapes: dict[str, Any] = {"classifier__weight": (3, 4), "classifier__bias": (3,)}
    assert head(read(tmp_path, **shapes)) == ("classify", ["LABEL_0", "LABEL_1", "LABEL_2"], ["classifier"])
    assert head(read(tmp_path, ["down", "flat", "up"], **shapes)) == (
        "classify",
        ["down", "flat", "up"],
        ["classifier"],
    )
    for labels in (["down", "up"], ["a", "b", "c", "d"], []):
        with pytest.raises(NotAnAdapter, match=f"{len(labels)} labels were given and the head has 3 outputs"):
            read(tmp_path, labels, **shapes)


def test_the_last_layer_counts_the_labels(tmp_path: Path) -> None:
    shapes: dict[str, Any] = {"classifier__dense__weight": (8, 8), "classifier__out_proj__weight": (2, 8)}
    assert head(read(tmp_path, **shapes)) == ("classify", ["LABEL_0", "LABEL_1"], ["classifier"])


def test_a_head_that_cannot_be_counted_needs_its_labels(tmp_path: Path) -> None:
    config = {**LORA, "modules_to_save": ["ending"]}
    with pytest.raises(NotAnAdapter, match="whose labels can't be counted here"):
        read(tmp_path, None, config, ending__weight=(5, 4))
    assert head(read(tmp_path, ["x", "y"], config, ending__weight=(5, 4))) == ("classify", ["x", "y"], ["ending"])
    with pytest.raises(NotAnAdapter, match="a classifier without its head"):
        read(tmp_path)


@pytest.mark.parametrize("rows", [reading.MADE_UP, reading.MADE_UP + 1])
def test_names_are_made_up_for_a_bounded_number_of_labels(tmp_path: Path, rows: int) -> None:
    """A tensor without elements may claim any number of rows."""
    if rows > reading.MADE_UP:
        with pytest.raises(NotAnAdapter, match=f"a head of {rows} labels: give them"):
            read(tmp_path, classifier__weight=(rows, 0))
    else:
        assert len(head(read(tmp_path, classifier__weight=(rows, 0)))[1]) == rows


def test_a_task_is_one_of_peft_s(tmp_path: Path) -> None:
    with pytest.raises(NotAnAdapter, match="for a task 'SEQ_CLASS', which PEFT doesn't have"):
        read(tmp_path, None, {**LORA, "task_type": "SEQ_CLASS"})
    without = {key: value for key, value in LORA.items() if key != "task_type"}
    assert read(tmp_path, None, without).head is None
    assert head(read(tmp_path, None, {**LORA, "task_type": "CAUSAL_LM"})) == ("causal-lm", None, [])
    assert head(read(tmp_path, None, {**LORA, "task_type": "TOKEN_CLS"})) == ("token-cls", None, [])
    prompt = {key: value for key, value in PROMPT.items() if key != "task_type"}
    with pytest.raises(NotAnAdapter, match="holds a prompt and no task_type"):
        read(tmp_path, None, prompt, prompt_embeddings=(3, 4))


@pytest.mark.parametrize(
    ("names", "config", "modules"),
    [
        (["classifier.weight", "classifier.bias"], LORA, ["classifier"]),
        (["pre_classifier.weight", "score.weight"], LORA, ["pre_classifier", "score"]),
        (["classifier.dense.weight", "classifier.out_proj.weight"], LORA, ["classifier"]),
        (["classifier.inner.classifier.weight"], LORA, ["classifier"]),
        (["classifier.lora_A.weight", "classifier.lora_B.weight"], LORA, []),
        (["classifier.weight"], {**LORA, "task_type": "CAUSAL_LM"}, []),
        (["lm_head.weight", "embed_tokens.weight"], {**LORA, "modules_to_save": ["lm_head"]}, ["lm_head"]),
        (["a.norm.weight", "b.norm.weight"], {**LORA, "modules_to_save": ["norm", "", 3]}, ["a.norm", "b.norm"]),
        (["score.weight"], {**LORA, "modules_to_save": "score"}, ["score"]),
    ],
)
def test_the_modules_that_travel(names: list[str], config: dict[str, Any], modules: list[str]) -> None:
    assert head_modules(config, dict.fromkeys(names, (1,))) == modules


def test_names_within_the_model() -> None:
    assert (
        bare_name(WEIGHT, LORA) == "classifier.weight" and bare_name("base_model.classifier.x", LORA) != "classifier.x"
    )
    assert bare_name("base_model.classifier.weight", PROMPT) == "classifier.weight"
    assert bare_name("prompt_embeddings", PROMPT) == "prompt_embeddings"
