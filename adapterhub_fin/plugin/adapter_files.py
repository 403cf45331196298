"""Name the files that PEFT writes, and the modules that the tensors in them belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub_fin_registry.model.file_rules import CONFIG as CONFIG
from adapterhub_fin_registry.model.file_rules import WEIGHTS as WEIGHTS

PICKLE = "adapter_model.bin"  # before safetensors
PREFIX = "base_model.model."
# The last layer of the classifiers that Transformers has, whose rows are the labels.
OUTPUTS = ("classifier.weight", "score.weight", "classifier.out_proj.weight", "classification_head.out_proj.weight")
ROWS = frozenset({*OUTPUTS, *(name.removesuffix("weight") + "bias" for name in OUTPUTS)})


def bare_name(name: str, config: Mapping[str, Any]) -> str:
    """Return a stored tensor's name within the model: PEFT wraps the model once more, but for a prompt."""
    return name.removeprefix("base_model." if is_prompt(config) else PREFIX)


def is_prompt(config: Mapping[str, Any]) -> bool:
    """Tell whether a configuration is of PEFT's prompt methods, which put vectors before every text."""
    return "num_virtual_tokens" in config


def head_modules(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the modules that modules_to_save names and whose whole weights stand in the file.

    A name means every module that ends with it, as PEFT has it: DistilBERT's `pre_classifier` is a `classifier` too.
    """
    configured = config.get("modules_to_save")
    endings = {name for name in configured if isinstance(name, str) and name} if isinstance(configured, list) else set()
    endings |= {"classifier", "score"} if config.get("task_type") == "SEQ_CLS" else set()
    last = tuple(endings)
    modules: set[str] = set()
    for name in shapes:
        bare = bare_name(name, config)
        if "lora_" in bare:
            continue
        parts = bare.split(".")
        owners = (".".join(parts[:end]) for end in range(1, len(parts)))
        modules.update(next(([module] for module in owners if module.endswith(last)), ()))
    return sorted(modules)
