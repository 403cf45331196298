"""List what Transformers' own `model.load_adapter(folder)` refuses or ignores; PEFT's `PeftModel` takes more.

The rules follow transformers/integrations/peft.py of 5.23 and peft/mapping.py of 0.21; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapterhub_fin.exporting.finding import Finding, StoredAdapter, some

# inject_adapter_in_model refuses types that are not layers in the model, and those that share weights across layers.
PROMPTS = frozenset(
    {
        *("ADAPTION_PROMPT", "CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING"),
        *("P_TUNING", "PREFIX_TUNING", "PROMPT_TUNING", "SHADOW"),
    }
)
SHARED = frozenset({"FROD", "PVERA", "TINYLORA", "UNILORA", "VBLORA", "VERA"})
PLAIN = "load it with PeftModel.from_pretrained, or with ahf.load"


def rules(stored: StoredAdapter, max_rank: int | None) -> list[Finding]:
    """Return every finding on a version; ranks have no limit here."""
    return [*_type(stored), *_variants(stored), *_head(stored)]


def _type(stored: StoredAdapter) -> Iterator[Finding]:
    if stored.kind in PROMPTS:
        says = f"load_adapter takes types that are layers in the model, and {stored.kind} is not"
        yield Finding("refused", "type", "peft_type", says, PLAIN)
    elif stored.kind in SHARED:
        says = f"load_adapter takes no type that shares weights across layers, as {stored.kind} does"
        yield Finding("refused", "type", "peft_type", says, PLAIN)


def _variants(stored: StoredAdapter) -> Iterator[Finding]:
    """Report two faults that running load_adapter showed: tensors that it draws or sizes by itself."""
    if stored.config.get("use_dora"):
        says = "load_adapter ignores DoRA's magnitudes, and predicts with those of an untrained adapter"
        yield Finding("wrong", "dora", "use_dora", says, PLAIN)
    if stored.kind == "ADALORA" and stored.config.get("rank_pattern"):
        says = "load_adapter gives every layer the initial rank, and the file holds pruned layers"
        yield Finding("refused", "rank", "rank_pattern", says, PLAIN)


def _head(stored: StoredAdapter) -> Iterator[Finding]:
    """Report modules_to_save: they load where the model has modules of their names, and are else ignored silently."""
    if modules := stored.config.get("modules_to_save"):
        labels = f" with num_labels={len(stored.labels)}" if stored.labels else ""
        says = f"its modules_to_save ({some(sorted(map(str, modules)))}) load only where the model has them"
        do = f"load it onto the class it was trained on (task {stored.config.get('task_type')}){labels}"
        yield Finding("unsure", "head", "modules_to_save", says, do)
