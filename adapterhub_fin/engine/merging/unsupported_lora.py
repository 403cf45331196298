"""List the LoRA options under which an adapter is not a plain low-rank sum, so that it can't be merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adapterhub_fin.errors import BadMerge
from adapterhub_fin.plugin.base_changes import CHANGES_BASE

# By the key of adapter_config.json: why the adapter is no matrix that is added to a weight.
OTHERWISE = {
    "use_dora": "DoRA rescales every row by a norm of the base's weights, which an adapter does not hold",
    "alora_invocation_tokens": "aLoRA changes only the tokens behind its invocation",
    "arrow_config": "Arrow chooses among several adapters for every token",
    "kasa_config": "KaSA takes a part out of the base's weights",
    "layer_replication": "it repeats layers of the base, so that its model is another one",
    "megatron_config": "its layers are split over devices",
    "monteclora_config": "MonteCLoRA samples its weights",
    "target_parameters": "it adapts parameters of experts, which are no matrices",
    "trainable_token_indices": "it replaces rows of the base's embedding",
    "use_bdlora": "BD-LoRA's factors are block-diagonal",
    "use_qalora": "QALoRA pools a layer's input before it multiplies",
    "velora_config": "VeLoRA computes with compressed inputs",
    "ensure_weight_tying": "it ties layers of the base to each other",
}
MEND_DORA = "train lora without that, or fold it into its base with ahf export --layout merged"
MEND = "train lora without that, or fold it into its base with PEFT's merge_and_unload"


def check_plain(config: Mapping[str, Any], called: str, *, base_at_hand: bool = False) -> None:
    """Raise BadMerge where a LoRA's configuration says that it is more than low-rank matrices added to weights.

    DoRA is allowed if the base's weights are at hand, since it needs their norms.
    """
    for key, reason in not_plain(config, base_at_hand=base_at_hand):
        mend = MEND_DORA if key == "use_dora" else MEND
        raise BadMerge(f"{called} can't be merged: it sets {key}, and {reason}; {mend}")


def why_not_plain(config: Mapping[str, Any]) -> str | None:
    """Return why a PEFT configuration is not of low-rank matrices that are added to weights; None where it may be."""
    return next((f"it sets {key}, and {reason}" for key, reason in not_plain(config)), None)


def not_plain(config: Mapping[str, Any], *, base_at_hand: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each setting by which a LoRA is more than low-rank matrices added to weights, and the reason."""
    for key, reason in OTHERWISE.items():
        if config.get(key) and not (key == "use_dora" and base_at_hand):
            yield key, reason
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(CHANGES_BASE):
        yield (
            f"init_lora_weights to {start}",
            "that start changes the base's weights, so that its factors fit no other base",
        )
    if config.get("bias", "none") != "none":
        yield f"bias to {config['bias']}", "the base's own biases were trained"
