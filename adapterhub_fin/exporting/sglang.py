"""List what SGLang refuses in a LoRA, and what it silently ignores.

Each rule names its file in https://github.com/sgl-project/sglang/tree/main/python/sglang/srt/lora.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapterhub_fin.exporting import lora
from adapterhub_fin.exporting.finding import Finding, Level, StoredAdapter, counted, some

ENGINE = "SGLang"
# utils.py: the layers whose sizes get_default_hidden_dim knows, by PEFT's names.
LAYERS = frozenset(
    {
        *("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj"),
        *("embed_tokens", "lm_head", "q_a_proj", "kv_a_proj_with_mqa", "q_b_proj", "kv_b_proj"),
    }
)


def rules(stored: StoredAdapter, max_rank: int | None) -> list[Finding]:
    """Return every finding on a version; `max_rank` is the server's --max-lora-rank, by default the adapter's own."""
    not_lora = list(lora.not_lora(stored, ENGINE))
    if not_lora:
        return not_lora
    return [
        *_config(stored),
        *lora.experts(stored, ENGINE, "sglang 27381"),
        *_added_tokens(stored),
        *_rank(stored, max_rank),
        *_scale(stored),
        *lora.patterns(stored, ENGINE),
        *lora.variants(stored, ENGINE),
        *_left_out(stored),
        *_layers(stored),
    ]


def _config(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply lora_manager.py: validate_new_adapter; and utils.py: get_normalized_target_modules."""
    if stored.config.get("use_dora"):
        yield Finding("refused", "dora", "use_dora", "SGLang does not compute DoRA", lora.MERGE)
    targets = stored.config.get("target_modules")
    if not isinstance(targets, list) and targets not in ("all", "all-linear"):
        names = ", ".join(lora.modules(stored))
        says = "SGLang reads a list of layers, or all-linear"
        yield Finding("refused", "targets", "target_modules", says, f"write the list into the configuration: {names}")


def _added_tokens(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply lora_config.py and lora_manager.py: a token beyond the base's vocabulary is refused."""
    beyond = [token for token, number in stored.added_tokens.items() if number >= (stored.vocabulary or 0)]
    if beyond:
        level: Level = "unsure" if stored.vocabulary is None else "refused"
        says = f"SGLang takes no adapter that adds tokens to the vocabulary ({some(sorted(beyond))})"
        do = "remove added_tokens.json if the base has them already, or " + lora.MERGE
        yield Finding(level, "vocabulary", "added_tokens.json", says, do)


def _rank(stored: StoredAdapter, most: int | None) -> Iterator[Finding]:
    """Apply mem_pool.py: can_support."""
    rank = lora.largest_rank(stored)
    if most is not None and rank > most:
        do = f"start SGLang with --max-lora-rank {rank}"
        yield Finding("refused", "rank", "r", f"rank {rank} is above the server's {most}", do)


def _scale(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply lora.py: LoRAAdapter.scaling, which is lora_alpha / r in every case (sglang 40835)."""
    if stored.config.get("use_rslora"):
        rank = stored.config.get("r")
        says = f"SGLang scales by lora_alpha / r, and rsLoRA by lora_alpha / sqrt(r): too weak by sqrt({rank})"
        do = "set use_rslora to false and lora_alpha to lora_alpha * sqrt(r) in a copy of the folder"
        yield Finding("wrong", "scale", "use_rslora", says, do)


def _left_out(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply lora.py: initialize_weights, which keeps factors of layers and embeddings and ignores other tensors."""
    if unread := lora.others(stored):
        says = f"SGLang ignores tensors that are not LoRA factors: {counted(unread)}"
        yield Finding("wrong", "names", unread[0], says, lora.MERGE)


def _layers(stored: StoredAdapter) -> Iterator[Finding]:
    """Apply utils.py: get_hidden_dim, which fails where the base's class and the default give no sizes of a layer."""
    if unknown := sorted(set(lora.modules(stored)) - LAYERS):
        says = f"SGLang knows the sizes of {', '.join(unknown)} only where its class of the base gives them"
        yield Finding(
            "unsure", "layers", "target_modules", says, "try it, or train q_proj, k_proj, v_proj and the like"
        )
