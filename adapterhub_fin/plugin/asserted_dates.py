"""Read a date that somebody states for what carries none itself, with where it is stated."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin_registry.model.knowledge import end_of_day, format_instant, parse_instant


def asserted(knowledge_end: str | None, evidence: str | None, what: str) -> KnownAt | None:
    """Return a declared date with its evidence; a date without a time means the end of that day, in the last time zone.

    Raises BadRecipe, which begins with `what`, if one is given without the other, or if `knowledge_end` is not a date.
    """
    if knowledge_end is None and evidence is None:
        return None
    if not knowledge_end or not evidence:
        raise BadRecipe(f"{what}: knowledge_end and evidence go together: say where the date is stated")
    try:
        at = (
            end_of_day(date.fromisoformat(knowledge_end), None)
            if "T" not in knowledge_end
            else parse_instant(knowledge_end)
        )
    except ValueError as error:
        raise BadRecipe(
            f"{what}: knowledge_end {knowledge_end!r} is no date: write 2021-06-30 or 2021-06-30T14:05:00Z"
        ) from error
    return KnownAt(at=at, kind="asserted", evidence=evidence)


def written_date(value: Any) -> Any:
    """Return the text of a date or an instant that YAML has read as one; anything else as it is."""
    if isinstance(value, datetime):
        return format_instant(value)
    return value.isoformat() if isinstance(value, date) else value
