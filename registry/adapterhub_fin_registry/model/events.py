"""Check and read the events of a version: a numbered list in its folder, each event of a known kind."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.errors import BadEvent, BadInstant, Corrupted
from adapterhub_fin_registry.io.canonical_json import json_object
from adapterhub_fin_registry.io.safe_read import ABSENT, numbers, read_object
from adapterhub_fin_registry.model.knowledge import parse_instant

KINDS: Final = (
    "evaluation",
    "tag",
    "untag",
    "yank",
    "unyank",
    "publication",
    "fingerprint-verified",
    "fingerprint-withdrawn",
    "history",
    "baseline",
    "forgetting",
)
_OURS: Final = frozenset({"kind", "at", "by", "number"})


def check_event(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an event's body as it will be stored.

    Raises BadEvent if the kind is unknown, or if the body isn't JSON, sets a key of the registry or lacks what its kind
    requires.
    """
    if kind not in KINDS:
        raise BadEvent(f"{kind!r} is not a kind of event: use one of {', '.join(KINDS)}")
    try:
        copy = json_object(body)
    except ValueError as error:
        raise BadEvent(f"the body of the {kind} event is not JSON, {error}: give an object of plain values") from error
    if reserved := sorted(_OURS & copy.keys()):
        raise BadEvent(f"the body of the {kind} event holds {reserved[0]!r}, which the registry sets: leave it out")
    if kind in ("tag", "untag") and not (isinstance(copy.get("tag"), str) and copy["tag"]):
        raise BadEvent(f'the {kind} event names no tag: give {{"tag": "production"}}')
    if kind == "evaluation" and not _is_evaluation(copy):
        raise BadEvent(
            "the evaluation event lacks what search needs: give corpus and split as text, and numbers as metrics"
        )
    if kind == "evaluation" and copy.get("name") is not None:
        check_rows_name(copy["name"])
    if kind == "baseline" and not _is_baseline(copy):
        raise BadEvent("the baseline event lacks its model or verdict as text, or numbers as metrics: give all three")
    if kind == "forgetting" and not _is_forgetting(copy):
        raise BadEvent(
            "the forgetting event lacks corpus, split or metric as text, or before, after or change as a number: give "
            "all of them"
        )
    if kind == "history" and not _is_file(copy):
        raise BadEvent("the history event lacks sha256 and size, which the registry writes: use add_history")
    if kind == "evaluation" and copy.get("outcomes") is not None and not _is_file(copy["outcomes"]):
        raise BadEvent("the outcomes lack sha256 and size, which the registry writes: pass add_event the file")
    return copy


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Return every event of the version in a folder, oldest first.

    Each event is its body with `number`, `kind`, `at` and `by`. Raises Corrupted if one can't be read.
    """
    parent = folder / "events"
    return [{**_read(parent / str(number) / "event.json"), "number": number} for number in numbers(parent)]


@dataclass(frozen=True)
class Yank:
    """Hold when a version was withdrawn, by the clock of who did it, and why."""

    at: datetime
    reason: str | None


def yanks(events: Iterable[Mapping[str, Any]]) -> list[tuple[datetime, Yank | None]]:
    """Return when a version was yanked and unyanked (None), in the order of the events' numbers.

    Raises Corrupted if one has no date.
    """
    changes: list[tuple[datetime, Yank | None]] = []
    for event in events:
        if event["kind"] in ("yank", "unyank"):
            try:
                at = parse_instant(event["at"])
            except BadInstant as error:
                raise Corrupted(f"a {event['kind']} event has no date ({error}): restore it from a copy") from error
            reason = event.get("reason")
            changes.append((at, Yank(at, None if reason is None else str(reason)) if event["kind"] == "yank" else None))
    return changes


def is_yanked(events: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the last yank or unyank among the events is a yank."""
    return [event["kind"] for event in events if event["kind"] in ("yank", "unyank")][-1:] == ["yank"]


def recorded_fingerprint(events: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the event that recorded the base's fingerprint; None if there is none.

    It is the first `fingerprint-verified` event since the last `fingerprint-withdrawn`.
    """
    recorded = None
    for event in events:
        if event["kind"] == "fingerprint-verified" and recorded is None:
            recorded = event
        elif event["kind"] == "fingerprint-withdrawn":
            recorded = None
    return recorded


def tags_after(tags: Iterable[str], events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the manifest's tags as changed by the tag and untag events, sorted."""
    current = set(tags)
    for event in events:
        if event["kind"] == "tag":
            current.add(event["tag"])
        elif event["kind"] == "untag":
            current.discard(event["tag"])
    return sorted(current)


def _read(path: Path) -> dict[str, Any]:
    try:
        event = read_object(path)
    except ABSENT as error:
        raise Corrupted(f"{path} is missing: restore it from a copy") from error
    if not all(isinstance(event.get(key), str) for key in ("kind", "at", "by")):
        raise Corrupted(f"{path} is not an event: restore it from a copy")
    if event["kind"] in KINDS:  # a newer release may have written other kinds, which are ignored here
        try:
            check_event(event["kind"], {key: value for key, value in event.items() if key not in _OURS})
        except BadEvent as error:
            raise Corrupted(f"{path} is not an event: restore it from a copy") from error
    return event


def check_rows_name(name: Any) -> None:
    """Raise BadEvent for what can't be the name of an evaluation's rows, of which search makes a field."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise BadEvent(f"rows can't be called {name!r}: give letters, digits, _ and -, such as desk-2024")


def measured_rows(event: Mapping[str, Any]) -> str:
    """Return what an evaluation calls the rows that it measured: its `name`, else the corpus."""
    return str(event.get("name") or event["corpus"])


def _is_evaluation(body: dict[str, Any]) -> bool:
    return _has_texts(body, "corpus", "split") and _has_metrics(body)


def _is_baseline(body: dict[str, Any]) -> bool:
    return _has_texts(body, "model", "verdict") and _has_metrics(body)


def _is_file(recorded: Any) -> bool:
    if not isinstance(recorded, dict):
        return False
    return isinstance(recorded.get("sha256"), str) and isinstance(recorded.get("size"), int)


def _is_forgetting(body: dict[str, Any]) -> bool:
    numbers = all(_is_number(body.get(name)) for name in ("before", "after", "change"))
    return numbers and _has_texts(body, "corpus", "split", "metric")


def _has_texts(body: dict[str, Any], *keys: str) -> bool:
    return all(isinstance(body.get(key), str) and body[key] for key in keys)


def _has_metrics(body: dict[str, Any]) -> bool:
    metrics = body.get("metrics")
    return isinstance(metrics, dict) and bool(metrics) and all(_is_number(value) for value in metrics.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
