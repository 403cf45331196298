"""What a list shows of a version, in plain JSON values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapterhub_fin_registry.model.events import is_yanked, tags_after


def row(
    name: str,
    number: int,
    digest: str,
    manifest: Mapping[str, Any],
    record: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    aliases: Iterable[str],
) -> dict[str, Any]:
    """The row of a version; a KeyError or a TypeError where the manifest hasn't the shape of one."""
    if not isinstance(manifest["tags"], list):  # or a text would pass for a list of its letters
        raise TypeError("tags isn't a list")
    return {
        "name": name,
        "version": number,
        "digest": digest,
        "method": manifest["method"]["name"],
        "head": manifest["head"]["name"] if manifest["head"] is not None else None,
        "base": manifest["base"]["repository"],
        "corpus": manifest["corpus"]["name"] if manifest["corpus"] is not None else None,
        "metrics": manifest["metrics"],
        "eval": evaluated(events),
        "knowledge_end": manifest["knowledge"]["end"],
        "aliases": sorted(aliases),
        "tags": tags_after(manifest["tags"], events),
        "added_at": record["added_at"],
        "yanked": is_yanked(events),
    }


def evaluated(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The last measurement of each CORPUS.SPLIT.METRIC."""
    found = {}
    for event in events:
        if event["kind"] == "evaluation":
            for metric, value in event["metrics"].items():
                found[f"{event['corpus']}.{event['split']}.{metric}"] = value
    return found
