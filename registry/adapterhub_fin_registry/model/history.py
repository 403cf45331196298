"""Check, write and read the history of a training run: loss, learning rate and gradient norm by step, and validation.

It is the file `history.json` beside the event that records it, so it is no part of the version's identity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.errors import BadEvent, Corrupted
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.safe_read import ABSENT, SMALL, parse_object, read_small
from adapterhub_fin_registry.model.event_files import HISTORY, check_file, entry
from adapterhub_fin_registry.model.events import read_events

KIND: Final = "history"
TABLES: Final = ("training", "validation")

Column = Sequence[float | int | None]  # None where the number was NaN, infinite or not measured
History = Mapping[str, Mapping[str, Column]]  # `training` and `validation`, each its columns by name, of one length


def encode_history(history: History) -> bytes:
    """Return the bytes of a history's file.

    Raises BadEvent for anything but the tables `training` and `validation`, each with a column `step` and columns of
    finite numbers or None, all of one length.
    """
    if set(history) != set(TABLES):
        raise BadEvent(f"a history holds the tables {' and '.join(TABLES)}, and this one {', '.join(sorted(history))}")
    for table, columns in history.items():
        if "step" not in columns or len({len(column) for column in columns.values()}) != 1:
            raise BadEvent(f"the table {table} of the history needs a column 'step', and columns of one length")
        if wrong := sorted(name for name, column in columns.items() if not all(map(_is_entry, column))):
            raise BadEvent(f"the column {wrong[0]!r} of the history's table {table} holds more than finite numbers")
    data = canonical({table: {name: list(column) for name, column in history[table].items()} for table in TABLES})
    if len(data) > SMALL:
        raise BadEvent(f"the history has {len(data):,} bytes, and {SMALL:,} at most can be stored: record fewer steps")
    return data


def read_history(folder: Path) -> dict[str, dict[str, list[Any]]] | None:
    """Return the history in a version's folder, the newest if there are several; None if there is none.

    Raises Corrupted if it is missing, or differs from what its event says.
    """
    numbers = [event["number"] for event in read_events(folder) if event["kind"] == KIND]
    return _read(folder / "events" / str(numbers[-1])) if numbers else None


def number_of(folder: Path, data: bytes) -> int | None:
    """Return the number of the event that records a history with exactly these bytes; None if there is none.

    Raises Corrupted if an event can't be read.
    """
    body = entry(data)
    same = [event["number"] for event in read_events(folder) if event["kind"] == KIND and event.items() >= body.items()]
    return next((number for number in same if _holds(folder / "events" / str(number) / HISTORY, data)), None)


def _read(event: Path) -> dict[str, dict[str, list[Any]]]:
    path = event / HISTORY
    check_file(path, parse_object(read_small(event / "event.json"), event / "event.json"))
    history: dict[str, dict[str, list[Any]]] = parse_object(read_small(path), path)
    return history


def _holds(path: Path, data: bytes) -> bool:
    try:
        return read_small(path) == data
    except (Corrupted, *ABSENT):
        return False  # so that it is written once more


def _is_entry(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value))
