"""Show a list of versions as a table in a notebook, and briefly elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COLUMNS = ("version", "aliases", "method", "head", "corpus", "knowledge end", "metrics")
NAMED = 3  # versions that a repr names


class VersionRows(list[dict[str, Any]]):
    """Hold what a list shows of some versions: a list of dicts, which a notebook shows as a table."""

    def __repr__(self) -> str:
        return f"<{named(self)}>"

    def _repr_html_(self) -> str:
        return rows_table(counted(self), self)


def rows_table(title: str, rows: Sequence[dict[str, Any]], total: int | None = None) -> str:
    """Return the HTML table of some versions' rows, one row a version."""
    from adapterhub_fin_registry.io.html_table import html_table

    if not any(row.get("eval") for row in rows):
        return html_table(title, [_cells(row) for row in rows], COLUMNS, total)
    cells = [(*_cells(row), row.get("eval")) for row in rows]
    return html_table(title, cells, (*COLUMNS, "evaluations"), total)


def named(rows: Sequence[dict[str, Any]]) -> str:
    """Return how many rows there are, and the first of them."""
    names = ", ".join(f"{row.get('name')}@{row.get('version')}" for row in rows[:NAMED])
    return f"{counted(rows)}{f': {names}' if rows else ''}{', ...' if len(rows) > NAMED else ''}"


def counted(rows: Sequence[Any]) -> str:
    """Return how many versions there are, in words."""
    return f"{len(rows):,} version{'' if len(rows) == 1 else 's'}"


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    reference = f"{row.get('name')}@{row.get('version')}{' (yanked)' if row.get('yanked') else ''}"
    until = str(row.get("knowledge_end") or "")[:16].replace("T", " ")  # to the minute, in UTC
    return (reference, *(row.get(key) for key in ("aliases", "method", "head", "corpus")), until, row.get("metrics"))
