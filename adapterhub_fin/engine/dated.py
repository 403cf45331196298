"""When what training saw could have been known, as a manifest holds it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from adapterhub_fin.interfaces import Known


def first_seen(now: datetime | None = None, of: str = "") -> Known:
    """What carries no date is bounded by the moment at which its bytes had been read: call this after that."""
    evidence = "recorded when this registry first saw the bytes" + (f" of {of}" if of else "")
    return Known(now or datetime.now(UTC), "bounded", evidence)


def knowledge_record(known: Mapping[str, Known]) -> dict[str, Any]:
    """The dated inputs, sorted, and the latest of them."""
    inputs = [
        {"input": name, "at": each.at, "kind": each.kind, "evidence": each.evidence}
        for name, each in sorted(known.items())
    ]
    return {"inputs": inputs, "end": max(each.at for each in known.values())}
