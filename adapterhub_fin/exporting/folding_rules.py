"""List what keeps a version from being folded into its base, which engines without adapters need."""

from __future__ import annotations

from collections.abc import Iterator

from adapterhub_fin.engine.merging.unsupported_lora import not_plain
from adapterhub_fin.exporting.finding import Finding, StoredAdapter

WRITES = "CAUSAL_LM"


def cannot_fold(stored: StoredAdapter) -> Iterator[Finding]:
    """Yield a finding for a method that adds no low-rank matrices, and for each setting that makes a LoRA another."""
    if stored.kind not in ("LORA", "ADALORA") and not stored.is_low_rank:
        kind = stored.kind if stored.config else "of a method without PEFT"
        says = f"it is {kind}, which adds no low-rank matrices to the base's weights"
        yield Finding("refused", "type", "peft_type", says, "answer with ahf.load, or train lora")
        return
    for key, reason in not_plain(stored.config, base_at_hand=True):
        yield Finding("refused", "variant", key.split()[0], f"it sets {key}, and {reason}", "train lora without that")


def writes_text(stored: StoredAdapter, reader: str) -> Iterator[Finding]:
    """Yield a finding for a language model, and for a task that no head here answers."""
    task = stored.config.get("task_type")
    if task == WRITES:
        says = f"{reader} answers a text in one pass, and this writes one token after another"
        do = "export it with --layout merged for vLLM, SGLang or Transformers, or with --layout vllm beside its base"
        yield Finding("refused", "task", "task_type", says, do)
    elif task not in ("SEQ_CLS", "FEATURE_EXTRACTION", None):
        says = f"{reader} answers a text with labels, a number or a vector, and this is for {task}"
        yield Finding("refused", "task", "task_type", says, "load it with PEFT")
