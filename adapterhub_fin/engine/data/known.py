"""Record when the inputs of training could have been known, as a manifest stores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from adapterhub_fin.plugin.interfaces import BoundedNow, KnownAt


def bounded_now(of: str = "") -> BoundedNow:
    """Return the knowledge end of undated data: this moment. Call it after the data was read."""
    return BoundedNow.of("recorded when this registry first saw the bytes" + (f" of {of}" if of else ""))


def knowledge_record(inputs: Mapping[str, KnownAt], bound: datetime) -> dict[str, Any]:
    """Return a manifest's `knowledge`: the inputs, sorted by name, and the latest of their dates as the end.

    Undated inputs count as known no earlier than `bound`, the registry's `bounded_now`. So a clock that is a little
    slow does no harm.
    """
    dated = {
        name: replace(knowledge, at=max(knowledge.at, bound)) if isinstance(knowledge, BoundedNow) else knowledge
        for name, knowledge in inputs.items()
    }
    records = [
        {"input": name, "at": knowledge.at, "kind": knowledge.kind, "evidence": knowledge.evidence}
        for name, knowledge in sorted(dated.items())
    ]
    return {"inputs": records, "end": max(knowledge.at for knowledge in dated.values())}
