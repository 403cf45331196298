"""Read the files that stand beside events: a run's history, and the outcomes by row of an evaluation.

The event records the size and the SHA-256 of its file, so that a file that was altered is never read as what was
stored. Neither is part of the version.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.canonical_json import digest_of
from adapterhub_fin_registry.io.safe_read import ABSENT, NotRegularError, hash_file, is_there, unreadable
from adapterhub_fin_registry.model.events import read_events

HISTORY: Final = "history.json"
OUTCOMES: Final = "outcomes.parquet"


def entry(data: bytes) -> dict[str, Any]:
    """Return what an event records of a file with these bytes."""
    return {"sha256": digest_of(data).removeprefix("sha256:"), "size": len(data)}


def file_of(event: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the name of the file beside an event and what the event records of it; None if there is none."""
    if event["kind"] == "history":
        return HISTORY, event
    if event["kind"] == "evaluation" and event.get("outcomes") is not None:
        return OUTCOMES, event["outcomes"]
    return None


def check_file(path: Path, recorded: Mapping[str, Any]) -> None:
    """Raise Corrupted if the file beside an event is missing, or differs from what the event records."""
    try:
        size, sha256 = hash_file(path)
    except ABSENT as error:
        raise Corrupted(f"{path} is missing: restore it from a copy") from error
    except NotRegularError as error:
        raise Corrupted(f"{path} isn't a plain file: restore it from a copy") from error
    except OSError as error:
        raise unreadable(path, error) from error
    if (size, sha256) != (recorded["size"], recorded["sha256"]):
        raise Corrupted(f"{path} has other bytes than its event says: restore it from a copy")


def outcomes_file(folder: Path, number: int | None = None) -> Path | None:
    """Return the outcomes of an evaluation of the version in a folder, checked; None where it has none.

    They are those of the event with this number, or of the newest evaluation that has some. Raises Corrupted if they
    are missing or altered.
    """
    for event in reversed(read_events(folder)):
        beside = file_of(event)
        if beside is None or beside[0] != OUTCOMES or number not in (None, event["number"]):
            continue
        path = folder / "events" / str(event["number"]) / OUTCOMES
        check_file(path, beside[1])
        return path
    return None


def damaged_files(folder: Path) -> dict[Path, str]:
    """Return the files beside the events of a version that can't be read, each with the reason.

    Raises Corrupted if an event can't be read.
    """
    problems = {}
    for event in read_events(folder):
        parent, beside = folder / "events" / str(event["number"]), file_of(event)
        if beside is not None:
            try:
                check_file(parent / beside[0], beside[1])
            except Corrupted as error:
                problems[parent / beside[0]] = str(error)
        elif event["kind"] == "evaluation" and is_there(path := parent / OUTCOMES):
            problems[path] = f"{path} is named by no event: a repair was interrupted"
    return problems
