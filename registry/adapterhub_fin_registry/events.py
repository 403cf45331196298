"""What happens to a version after it was stored: a numbered list beside it, each entry of a known kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.canonical import json_object
from adapterhub_fin_registry.errors import BadEvent, Corrupted
from adapterhub_fin_registry.numbered import numbers
from adapterhub_fin_registry.reading import read_object

KINDS: Final = ("evaluation", "tag", "untag", "yank", "unyank", "publication", "pin-verified")


def check_event(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body as it will be stored, once it has what its kind requires."""
    if kind not in KINDS:
        raise BadEvent(f"{kind!r} isn't a kind of event: use one of {', '.join(KINDS)}.")
    try:
        copy = json_object(body)
    except ValueError as error:
        raise BadEvent(f"The body of the {kind} event isn't JSON, {error}: give an object of plain values.") from error
    if kind in ("tag", "untag") and not (isinstance(copy.get("tag"), str) and copy["tag"]):
        raise BadEvent(f'The {kind} event names no tag: give {{"tag": "production"}}.')
    if kind == "evaluation" and not _is_evaluation(copy):
        raise BadEvent(
            "The evaluation event lacks what search needs: give corpus and split as text, and metrics as numbers."
        )
    return copy


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Every event of the version in a folder, oldest first, each with its number, kind, at, by and body."""
    parent = folder / "events"
    return [{"number": number, **_read(parent / str(number) / "event.json")} for number in numbers(parent)]


def _read(path: Path) -> dict[str, Any]:
    try:
        event = read_object(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Corrupted(f"{path} is missing: restore it from a copy.") from error
    if not all(isinstance(event.get(key), str) for key in ("kind", "at", "by")):
        raise Corrupted(f"{path} isn't an event: restore it from a copy.")
    if event["kind"] not in KINDS:  # written by a newer release, whose kinds mean nothing here
        return event
    try:
        event["body"] = check_event(event["kind"], event.get("body", {}))
    except BadEvent as error:
        raise Corrupted(f"{path} isn't an event: restore it from a copy.") from error
    return event


def _is_evaluation(body: dict[str, Any]) -> bool:
    metrics = body.get("metrics")
    return (
        all(isinstance(body.get(key), str) and body[key] for key in ("corpus", "split"))
        and isinstance(metrics, dict)
        and bool(metrics)
        and all(_is_number(value) for value in metrics.values())
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
