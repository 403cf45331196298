"""Say from an adapter's configuration what it changes of the base that it is put on.

Most adapters stand beside the base's weights. These don't: PEFT writes into the base itself, for every adapter on it.
Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Starts of LoRA that take their part out of the base's weights, and what makes that part again when PEFT loads them.
FROM_WEIGHTS = ("pissa", "olora")
FROM_DATA = ("corda", "lora_ga", "loftq")
CHANGES_BASE = (*FROM_WEIGHTS, *FROM_DATA)
# Options of LoRA that make no difference to other adapters on the model, and values that are PEFT's defaults.
APART = frozenset(
    [
        *("peft_type", "task_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision"),
        *("inference_mode", "r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
        *("fan_in_fan_out", "init_lora_weights", "lora_bias"),
    ]
)
APART_VALUES = {"bias": "none", "megatron_core": "megatron.core", "qalora_group_size": 16}
CONVERT = (
    "save it with PeftModel.save_pretrained(path_initial_model_for_weight_conversion=...), which makes it plain LoRA"
)


def changes_biases(config: Mapping[str, Any]) -> str | None:
    """Return how a configuration says that the base's biases are trained, such as `bias: all`; None if they aren't."""
    bias = config.get("bias")
    return f"bias: {bias}" if isinstance(bias, str) and bias != "none" else None


def changes_weights(config: Mapping[str, Any]) -> str | None:
    """Return what makes PEFT rewrite the weights that a LoRA is put on, such as `init_lora_weights: pissa`."""
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(CHANGES_BASE):
        return f"init_lora_weights: {start}"
    return "kasa_config" if config.get("kasa_config") else None


def computes_with_weights(config: Mapping[str, Any]) -> bool:
    """Tell whether PEFT needs the base's values to build the adapter's tensors, and not their shapes alone."""
    variants = ("velora_config", "monteclora_config")
    return changes_weights(config) is not None or any(config.get(variant) for variant in variants)


def changes_base(config: Mapping[str, Any]) -> str | None:
    """Return what of a configuration changes the base itself, for every adapter on it; None if nothing does."""
    layers = "layer_replication" if config.get("layer_replication") else None
    return changes_weights(config) or changes_biases(config) or layers


def stands_apart(config: Mapping[str, Any]) -> bool:
    """Tell whether PEFT puts an adapter on a model in the same way whatever other adapters are there.

    True of plain LoRA alone. What this list of PEFT's options doesn't know counts as False.
    """
    unusual = (key for key, value in config.items() if value and key not in APART and value != APART_VALUES.get(key))
    start = config.get("init_lora_weights")
    return config.get("peft_type") == "LORA" and start in (True, False, "gaussian", "orthogonal") and not any(unusual)


def unrepeatable(config: Mapping[str, Any]) -> str | None:
    """Return why no load can give the base the weights that the adapter was trained beside; None where each does."""
    start = config.get("init_lora_weights")
    if not isinstance(start, str):
        return None
    if start.lower().startswith(FROM_DATA):
        made = "what training data or a quantization gave"
    elif start.lower().startswith("pissa_niter"):
        made = "a decomposition that is drawn at random"
    else:
        return None
    return f"init_lora_weights {start} takes {made} out of the base's weights, and no load can do it again: {CONVERT}"
