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
