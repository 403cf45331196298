"""Read what vLLM and SGLang both look at in a LoRA: its configuration, and its tensors' names."""

from __future__ import annotations

import math
from collections.abc import Iterator

from adapterhub_fin.engine.peft.lora_config import lora_scale
from adapterhub_fin.exporting.finding import Finding, StoredAdapter, counted
from adapterhub_fin.plugin.base_changes import CHANGES_BASE

REQUIRED = ("r", "lora_alpha", "target_modules")
FACTORS = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")
# LoRA options that change what it computes, and that no released engine reads.
VARIANTS = ("alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora", "arrow_config")
MERGE = "fold it into its base (ahf export --layout merged) and serve the whole model"


def module_of(name: str) -> str:
    """Return the layer that a factor belongs to, relative to the model."""
    for ending in FACTORS:
        if name.endswith(ending):
            return name.removesuffix(ending).removeprefix("base_model.model.")
    return name.removeprefix("base_model.model.").rpartition(".")[0]


def is_factor(name: str) -> bool:
    """Return whether a tensor is one of LoRA's two factors."""
    return name.endswith(FACTORS)


def others(stored: StoredAdapter) -> list[str]:
    """Return the tensors that are not LoRA factors: heads, biases, magnitudes, trained tokens."""
    return sorted(name for name in stored.tensors if not is_factor(name))


def modules(stored: StoredAdapter) -> list[str]:
    """Return the last names of the adapted layers, such as q_proj."""
    factors = [name for name in stored.tensors if is_factor(name) and not is_of_experts(name)]
    return sorted({module_of(name).rpartition(".")[2] for name in factors})


def largest_rank(stored: StoredAdapter) -> int:
    """Return the largest rank of any layer."""
    ranks = [
        shape[0]
        for name, shape in stored.tensors.items()
        if name.endswith((".lora_A.weight", "_embedding_A")) and not is_of_experts(name)  # those stack their ranks
    ]
    stated = stored.config.get("r")
    return max([*ranks, stated if isinstance(stated, int) else 0])


def is_of_experts(name: str) -> bool:
    """Return whether a tensor is a factor of a parameter that holds all experts of a layer (PEFT's target_parameters).

    PEFT names the first such parameter by the module of the experts, and each further one by a wrapper inside it.
    """
    return is_factor(name) and (".base_layer.lora_" in name or module_of(name).endswith("experts"))


def experts(stored: StoredAdapter, engine: str, source: str) -> Iterator[Finding]:
    """Yield a finding for LoRA on fused experts, under names for which an engine finds no layer."""
    factors = sorted(name for name in stored.tensors if is_of_experts(name))
    if stored.config.get("target_parameters") or factors:
        what = counted(factors) if factors else "what target_parameters names"
        says = f"{engine} silently ignores LoRA on fused experts in most of its classes: {what} ({source})"
        yield Finding("wrong", "experts", "target_parameters", says, MERGE)


def not_lora(stored: StoredAdapter, engine: str) -> Iterator[Finding]:
    """Yield a finding for an adapter of another type, or for a configuration without its scale."""
    if stored.kind != "LORA":
        do = "train lora for this engine" if stored.kind != "ADALORA" else "train lora, or " + MERGE
        yield Finding("refused", "type", "peft_type", f"{engine} serves LORA, and this is {stored.kind}", do)
        return
    for key in REQUIRED:
        if key not in stored.config:
            yield Finding(
                "refused", "config", key, f"{engine} needs {key}, which is missing", "save it with PEFT again"
            )


def patterns(stored: StoredAdapter, engine: str) -> Iterator[Finding]:
    """Yield a finding for layers whose scale is not the one alpha / rank by which an engine scales every layer."""
    config = stored.config
    keys = [key for key in ("rank_pattern", "alpha_pattern") if config.get(key)]
    if not keys:
        return
    layers = {module_of(name) for name in stored.tensors if is_factor(name)}
    try:
        plain = lora_scale({**config, "rank_pattern": None, "alpha_pattern": None}, "")
        other = [layer for layer in layers if not math.isclose(lora_scale(config, layer), plain)]
    except ValueError as error:
        yield Finding("wrong", "scale", keys[-1], f"PEFT can't use it: {error}", "save it again")
        return
    if other:
        says = f"{engine} scales every layer by {plain:.4g}, whatever {keys[-1]} says of {len(other)} layers"
        yield Finding("wrong", "scale", keys[-1], says, MERGE)


def variants(stored: StoredAdapter, engine: str) -> Iterator[Finding]:
    """Yield findings for options that change how a LoRA computes, and that the engine ignores."""
    for key in VARIANTS:
        if stored.config.get(key):
            yield Finding("wrong", "variant", key, f"{engine} does not compute {key}, and would ignore it", MERGE)
    start = stored.config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(CHANGES_BASE):
        says = f"the initialization {start} changed the base's weights, and {engine} serves the original base"
        do = "convert it to plain LoRA: PeftModel.save_pretrained with path_initial_model_for_weight_conversion"
        yield Finding("wrong", "base", "init_lora_weights", says, do)
