"""Take the rows of a call: texts, or rows with the columns that a version was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapterhub_fin.errors import BadText
from adapterhub_fin.plugin.memory import listed_rows, table_library
from adapterhub_fin.plugin.texts import check_messages, check_rows, check_text, joined_tokens
from adapterhub_fin_registry import Version

Row = Mapping[str, Any]


def input_rows(given: Any, call: str, columns: Sequence[str], first: int = 0) -> list[Row]:
    """Return rows with `text` or `messages`, of texts, mappings or a table of pandas, polars, pyarrow or datasets.

    The text is in `columns`, those of the version's own corpus (see `text_columns`), if a row has them, else in `text`;
    a row with `messages` is a conversation. Other columns stay, such as `features`. `first` is the number of the first
    row in messages. Raises BadText, which names the row, for one that can't be read.
    """
    rows = listed_rows(given) if table_library(given) else check_rows(given, call, "text")
    return [_row(row, f"{call}: ", number, columns) for number, row in enumerate(rows, first)]


def text_columns(version: Version) -> tuple[str, ...]:
    """Return the columns that a version's own corpus read the text from; empty if it names none."""
    options = version.corpus_options
    text = options.get("text")
    names = (text,) if isinstance(text, str) else tuple(text or ())
    renamed = options.get("rename") or {}
    return tuple(str(renamed.get(name, name)) for name in names)


def _row(row: Any, call: str, number: int, columns: Sequence[str]) -> Row:
    if not isinstance(row, Mapping):
        return {"text": check_text(row, f"{call}text {number}")}
    where = f"{call}row {number}"
    if "messages" in row:
        return {**row, "messages": check_messages(row["messages"], f"{where}: messages")}
    if set(row) == {"role", "content"}:
        raise BadText(f"{where} is one turn of a conversation: give rows of conversations, [{{'messages': [...]}}]")
    if columns and all(column in row for column in columns):
        cells = [_words(row[column]).strip() for column in columns]
        return {**row, "text": check_text("\n".join(filter(None, cells)), f"{where}: {' and '.join(columns)}")}
    if "text" not in row:
        expected = " or ".join(dict.fromkeys((*columns, "text", "messages")))
        raise BadText(f"{where} has no {expected}; it has {', '.join(map(str, row))}: rename the column of the text")
    text = row["text"]
    return {**row, "text": check_text(text if isinstance(text, str) else _words(text) or text, f"{where}: text")}


def _words(cell: Any) -> str:
    """Return a cell's text as a corpus reads it: tokens joined by spaces, and nothing where it is missing."""
    if hasattr(cell, "tolist"):  # an array, as pandas has the lists of a parquet file
        cell = cell.tolist()
    text = joined_tokens(cell)
    return text if isinstance(text, str) else ""
