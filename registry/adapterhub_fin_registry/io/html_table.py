"""Write small tables as HTML, for notebooks: every text in them is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

LIMIT: Final = 50  # rows
_CELL: Final = 200  # characters
_NARROW: Final = 20  # characters up to which a cell stays on one line, such as a date or a reference


def html_table(title: str, rows: Sequence[Sequence[Any]], columns: Sequence[str] = (), total: int | None = None) -> str:
    """Return a table with a title; of many rows the first, with how many there are.

    Without columns, the first cell of each row is its heading. `total` is the number of rows if `rows` has not all.
    """
    head = "".join(f"<th style='text-align: left'>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(_cells(row, has_heading=not columns))}</tr>" for row in rows[:LIMIT])
    total = len(rows) if total is None else total
    more = (
        f"<p>{LIMIT if len(rows) > LIMIT else len(rows):,} of {total:,} rows.</p>"
        if total > min(len(rows), LIMIT)
        else ""
    )
    thead = f"<thead><tr>{head}</tr></thead>" if columns else ""
    return f"<div><strong>{escape(_short(title))}</strong><table>{thead}<tbody>{body}</tbody></table>{more}</div>"


def _cells(row: Sequence[Any], *, has_heading: bool) -> list[str]:
    tags = ["th" if has_heading and not place else "td" for place in range(len(row))]
    return [_cell(tag, _text(value)) for tag, value in zip(tags, row, strict=True)]


def _cell(tag: str, text: str) -> str:
    style = f"text-align: left{'; white-space: nowrap' if len(text) <= _NARROW else ''}"
    return f"<{tag} style='{style}'>{escape(text)}</{tag}>"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return _short(", ".join(f"{key}={_text(inner)}" for key, inner in value.items()))
    if isinstance(value, (list, tuple)):
        return _short(", ".join(map(_text, value)))
    return _short(str(value))


def _short(text: str) -> str:
    return text if len(text) <= _CELL else f"{text[: _CELL - 3]}..."
