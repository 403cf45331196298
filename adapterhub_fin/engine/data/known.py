"""When what training saw could have been known, as a manifest holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from adapterhub_fin.plugin.interfaces import BoundedNow, KnownAt


def bounded_now(of: str = "") -> BoundedNow:
    """What carries no date is bounded by the moment at which its bytes had been read: call this after that."""
    return BoundedNow.of("recorded when this registry first saw the bytes" + (f" of {of}" if of else ""))


def knowledge_record(known: Mapping[str, KnownAt], bound: datetime) -> dict[str, Any]:
    """Return the dated inputs, sorted, and the latest of them; what carries no date is not before `bound`.

    `bound` is the registry's `bounded_now`, by which a clock that is a little behind does no harm.
    """
    dated = {
        name: replace(each, at=max(each.at, bound)) if isinstance(each, BoundedNow) else each
        for name, each in known.items()
    }
    inputs = [
        {"input": name, "at": each.at, "kind": each.kind, "evidence": each.evidence}
        for name, each in sorted(dated.items())
    ]
    return {"inputs": inputs, "end": max(each.at for each in dated.values())}
