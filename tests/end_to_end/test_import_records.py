"""The manifest of an import says what its folder says; what that leaves open is left out, and no default of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AdaLoraConfig,
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
)
from safetensors.torch import save_file

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.provenance import method_record_for
from adapterhub_fin.plugin.peft_method import plain


def options(config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """What the manifest records of a folder with this configuration, taken in by `ahf import`."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file({"base_model.model.lin.lora_A.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    found: dict[str, Any] = ahf.import_folder(folder, "acme/theirs").version.manifest.method.options
    return found


PROMPT = {"num_virtual_tokens": 7, "task_type": "CAUSAL_LM"}
TEXT = {
    "prompt_tuning_init": "TEXT",
    "prompt_tuning_init_text": "Say whether it is true.",
    "tokenizer_name_or_path": "a",
}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PromptTuningConfig(**PROMPT, **TEXT), {"tokens": 7, "init": "text", "text": "Say whether it is true."}),
        (PromptTuningConfig(**PROMPT), {"tokens": 7, "init": "random"}),
        (PromptTuningConfig(**PROMPT, prompt_tuning_init="SAMPLE_VOCAB"), {"tokens": 7, "init": "vocabulary"}),
        (
            PromptEncoderConfig(
                **PROMPT,
                encoder_reparameterization_type="LSTM",
                encoder_hidden_size=9,
                encoder_num_layers=3,
                encoder_dropout=0.25,
            ),
            {"tokens": 7, "network": "lstm", "hidden": 9, "layers": 3, "dropout": 0.25},
        ),
        (
            PrefixTuningConfig(**PROMPT, prefix_projection=True, encoder_hidden_size=5),
            {"tokens": 7, "projection": True, "hidden": 5},
        ),
        (PrefixTuningConfig(**PROMPT), {"tokens": 7, "projection": False}),
        (
            LoraConfig(target_modules=["q", "a"], r=3, lora_alpha=5, init_lora_weights="gaussian"),
            {"rank": 3, "alpha": 5, "dropout": 0.0, "rslora": False, "dora": False, "targets": ["a", "q"]}
            | {"init": "gaussian"},
        ),
        (
            LoraConfig(target_modules=".*q", r=3, init_lora_weights=False, use_rslora=True),
            {"rank": 3, "alpha": 8, "dropout": 0.0, "rslora": True, "dora": False},
        ),
        (
            AdaLoraConfig(target_modules=["q"], init_r=9, target_r=5, tinit=20, tfinal=50, deltaT=4, total_step=100),
            {"initial_rank": 9, "target_rank": 5, "alpha": 8, "dropout": 0.0, "interval": 4, "orthogonality": 0.5}
            | {"targets": ["q"], "warmup": 0.2, "settle": 0.5},
        ),
    ],
)  # fmt: skip
def test_what_the_folder_says_is_recorded(config: Any, expected: dict[str, Any], tmp_path: Path) -> None:
    found = options(plain(config.to_dict()), tmp_path)
    found = {key: list(value) if key == "targets" else value for key, value in found.items()}
    assert found == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"peft_type": "LORA", "r": 4, "target_modules": ["q"]}, {"rank": 4, "targets": ["q"]}),
        ({"peft_type": "LORA"}, {}),
        ({"peft_type": "PROMPT_TUNING", **PROMPT}, {"tokens": 7}),
        ({"peft_type": "P_TUNING", **PROMPT}, {"tokens": 7}),
        ({"peft_type": "PREFIX_TUNING", **PROMPT}, {"tokens": 7}),
        ({"peft_type": "ADALORA", "init_r": 12, "total_step": None}, {"initial_rank": 12}),
        ({"peft_type": "IA3", "target_modules": ["q"], "feedforward_modules": []}, None),
    ],
)
def test_what_the_folder_leaves_open_is_left_out(
    config: dict[str, Any], expected: dict[str, Any] | None, tmp_path: Path
) -> None:
    found = {key: list(value) if key == "targets" else value for key, value in options(config, tmp_path).items()}
    wanted = expected if expected is not None else {k: v for k, v in config.items() if k != "peft_type"}
    assert found == wanted


def test_every_real_configuration_is_recorded_as_it_is(shared: Path) -> None:
    """Each recorded option is the folder's own, by PEFT's name for it, or it is not there."""
    paths = sorted((shared / "data" / "adapter_configs").rglob("adapter_config.json"))
    assert len(paths) > 40
    theirs = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "rslora": "use_rslora", "dora": "use_dora"}
    theirs |= {
        "initial_rank": "init_r",
        "target_rank": "target_r",
        "interval": "deltaT",
        "tokens": "num_virtual_tokens",
    }
    theirs |= {"orthogonality": "orth_reg_weight", "projection": "prefix_projection", "hidden": "encoder_hidden_size"}
    theirs |= {"layers": "encoder_num_layers", "text": "prompt_tuning_init_text", "targets": "target_modules"}
    for path in paths:
        config = json.loads(path.read_text())
        record = method_record_for(config)
        for name, value in record["options"].items():
            if name in ("init", "network", "warmup", "settle"):
                continue
            key = name if record["name"].startswith("peft:") else theirs[name]
            if key == "lora_dropout" and "lora_dropout" not in config:
                key = "encoder_dropout"
            said = sorted(config[key]) if key == "target_modules" and isinstance(config[key], list) else config[key]
            got = sorted(value) if isinstance(value, list) and key == "target_modules" else value
            assert got == said, (path, name)
