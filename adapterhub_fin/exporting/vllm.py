"""List what vLLM refuses in a LoRA, by its code as of 0.22.

Each rule names its file in https://github.com/vllm-project/vllm/tree/main/vllm/lora.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapterhub_fin.exporting import lora
from adapterhub_fin.exporting.finding import Finding, StoredAdapter, counted, some

ENGINE = "vLLM"
# config/lora.py: MaxLoRARanks, and 16 by default.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
RANK = 16
# lora/utils.py, is_base_embedding_weights: the base's own weights, which PEFT saves with a resized vocabulary.
SKIPPED = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")


def rules(stored: StoredAdapter, max_rank: int | None) -> list[Finding]:
    """Return every finding on a version; `max_rank` is the server's --max-lora-rank."""
    not_lora = list(lora.not_lora(stored, ENGINE))
    if not_lora:
        return not_lora
    return [
        *_features(stored),
        *lora.experts(stored, ENGINE, "vllm 41384, 41754"),
        *_names(stored),
        *_rank(stored, RANK if max_rank is None else max_rank),
        *lora.patterns(stored, ENGINE),
        *lora.variants(stored, ENGINE),
        *_layers(stored),
    ]


def _features(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply lora/peft_helper.py: PEFTHelper._validate_features and validate_legal; rsLoRA is served."""
    if modules := stored.config.get("modules_to_save"):
        says = f"vLLM takes no modules_to_save ({some(sorted(map(str, modules)))})"
        do = f"export it with --without-head if its head is not needed, or {lora.MERGE}"
        yield Finding("refused", "modules", "modules_to_save", says, do)
    if stored.config.get("use_dora"):
        yield Finding("refused", "dora", "use_dora", "vLLM does not compute DoRA", lora.MERGE)
    for key, usual in (("bias", "none"), ("lora_bias", False)):
        if stored.config.get(key, usual) not in (usual, None):
            yield Finding("refused", "bias", key, "vLLM takes no adapter with biases of its own", lora.MERGE)


def _names(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply lora/utils.py: parse_fine_tuned_lora_name, which fails for every name of another form."""
    unknown = [name for name in lora.others(stored) if not name.endswith(SKIPPED)]
    if unknown:
        says = f"vLLM fails on tensors that are not LoRA factors: {counted(unknown)}"
        yield Finding("refused", "names", unknown[0], says, f"export it with --without-head, or {lora.MERGE}")


def _rank(stored: StoredAdapter, most: int) -> Iterator[Finding]:
    """Apply lora/peft_helper.py: validate_legal; and lora/worker_manager.py before it."""
    rank = lora.largest_rank(stored)
    if rank > most:
        enough = next((limit for limit in RANKS if limit >= rank), None)
        do = f"start vLLM with --max-lora-rank {enough}" if enough else lora.MERGE
        yield Finding("refused", "rank", "r", f"rank {rank} is above the server's {most}", do)


def _layers(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply lora/lora_model.py: check_unexpected_modules, against the layers of vLLM's own class of the base."""
    if not (layers := lora.modules(stored)):
        return
    says = f"vLLM must support LoRA on {', '.join(layers)} in its own class of the base"
    do = "find the base's class with a LoRA mark in vLLM's list of supported models"
    yield Finding("unsure", "layers", "target_modules", says, do)
