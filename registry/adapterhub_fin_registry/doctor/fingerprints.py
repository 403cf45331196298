"""Find base fingerprints that were read from a model which the adapter had already changed.

An earlier release recorded an import's base after its first load. If the adapter changes or wraps the base, that
fingerprint fits no real base, and every later load is refused. The adapter's configuration tells whether it does.
Withdrawing a fingerprint needlessly is harmless, since the next load records it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.doctor.visit import Finding, Findings, Visit
from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.safe_read import ABSENT, read_object
from adapterhub_fin_registry.model.events import read_events, recorded_fingerprint
from adapterhub_fin_registry.model.file_rules import CONFIG

_INITIAL: Final = ("pissa", "olora", "corda", "lora_ga", "loftq")  # LoRA initializations that change the base's weights
_WRAPPING: Final = ("trainable_token_indices", "layer_replication", "kasa_config")
_TYPES: Final = ("TRAINABLE_TOKENS", "ADAPTION_PROMPT")
_HEADS: Final = frozenset({"classifier", "score", "qa_outputs", "lm_head"})  # modules that a fingerprint leaves out
_MEANS: Final = (
    "its base's fingerprint was read after the adapter was attached, and this adapter alters or wraps the base, so "
    "that the true base may be refused"
)


def fingerprints(visit: Visit) -> Findings:
    """Find versions whose recorded base may be one that the adapter had already changed."""
    for name_folder in visit.name_folders():
        for number in name_folder.numbers():
            folder = name_folder.versions_folder / str(number)
            if (event := _doubtful(folder)) is None:
                continue
            finding = Finding(
                "fingerprint",
                folder / "events" / str(event),
                _MEANS,
                "withdraw it, by an event: the next load records the base again",
            )
            reference = f"{name_folder.name}@{number}"
            yield finding, partial(visit.registry.add_event, reference, "fingerprint-withdrawn", {"reason": _MEANS})


def _doubtful(folder: Path) -> int | None:
    """Return the number of the event that recorded a version's base, if that record can't be relied on."""
    try:
        event = recorded_fingerprint(read_events(folder))
        if event is None or "read" in event:  # such an event was read before the adapter was attached
            return None
        config = read_object(folder / "files" / CONFIG)
    except (Corrupted, *ABSENT):
        return None  # another check reports damage; an adapter that isn't PEFT's has no such configuration
    return int(event["number"]) if alters_base(config) else None


def alters_base(config: Mapping[str, Any]) -> bool:
    """Return whether a PEFT adapter, by its configuration, changes weights of its base or wraps its layers."""
    start, bias, saved = config.get("init_lora_weights"), config.get("bias"), config.get("modules_to_save")
    return bool(
        (isinstance(bias, str) and bias != "none")
        or (isinstance(start, str) and start.lower().startswith(_INITIAL))
        or any(config.get(key) for key in _WRAPPING)
        or config.get("peft_type") in _TYPES
        or (isinstance(saved, list) and not _HEADS.issuperset(map(str, saved)))
    )
