"""Take dated texts of a corpus: each for one ticker, with the instant from which it could be read and a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from adapterhub_fin.plugin import BadCorpus, Rows, corpus_options, format_instant, load_corpus, taken_in

INPUTS = ("text", "messages", "features")


@dataclass(frozen=True, eq=False)
class DatedTexts:
    """Hold texts in the order of (available_at, ticker, digest), each once; arrays are (texts,).

    `inputs` has each distinct row once, as an adapter reads it, and `input` points into it.
    """

    inputs: Sequence[Mapping[str, Any]]
    input_digests: Sequence[str]
    input: np.ndarray  # int64 into inputs
    available_at: np.ndarray  # datetime64[us], UTC
    ticker: np.ndarray  # int32 into tickers
    tickers: tuple[str, ...]
    digests: Sequence[str]  # of text, availability and ticker
    duplicates: int = 0  # rows that repeat another's text, availability and ticker
    labels: Sequence[str | float | None] = ()  # (texts,), where the corpus has them
    label_known_at: np.ndarray | None = None
    source: Mapping[str, Any] | None = None  # name, options and digest of the corpus
    fitted_before: datetime | None = None  # until when what rows hold was fitted

    def __len__(self) -> int:
        return len(self.input)


def read_texts(corpus: Any, tickers: Sequence[str], universe: Iterable[str] = ()) -> DatedTexts:
    """Return the dated texts of a corpus: a name, a mapping with a name and options as in a recipe, or a table.

    `tickers` are those that every text counts for, in place of its group. Raises BadCorpus for rows without a text, a
    date or a ticker, and what the corpus raises.
    """
    corpus = taken_in(corpus)  # whose rows from memory would be gone as soon as options name them by their digest
    name, options = corpus_options(corpus)
    if getattr(options, "rows", None) == "answered":
        raise BadCorpus(
            f"corpus {name} keeps only decisions whose target came to be known, which tells the tickers that go on: "
            "set rows: all for signals"
        )
    rows = load_corpus(name, options)
    given = options.model_dump(mode="json", exclude_defaults=True) if hasattr(options, "model_dump") else {}
    return dated_texts(rows, tickers, name, given, universe)


def dated_texts(
    rows: Rows, tickers: Sequence[str], name: str, options: Mapping[str, Any], universe: Iterable[str] = ()
) -> DatedTexts:
    """Return the dated texts of loaded rows; `name` and `options` are those of their corpus.

    Tickers that are given, and those of `universe`, are in the table even where no text is theirs. Raises BadCorpus.
    """
    table, columns = rows.table, rows.table.column_names
    if "text" not in columns and "messages" not in columns:
        raise BadCorpus(f"corpus {name} has no text or messages: signals are made of texts")
    if "available_at" not in columns:
        raise BadCorpus(f"corpus {name} has no available_at: name the column of when each text could have been read")
    available = _instants(table, "available_at")
    if np.isnat(available).any():
        row = int(np.flatnonzero(np.isnat(available))[0])
        raise BadCorpus(f"corpus {name}, row {row} has no available_at: say when it could have been read, or drop it")
    groups = _groups(table, columns, tickers, name)
    read = [name for name in INPUTS if name in columns]
    cells = {name: table[name][:] for name in read}
    written = [_shortest(text) for text in available.astype(str).tolist()]
    inputs: dict[str, tuple[int, dict[str, Any]]] = {}
    entries: dict[tuple[int, str, str], tuple[int, int]] = {}  # (available_at, ticker, digest): input, row
    microseconds = available.astype(np.int64)
    count = 0
    for row in range(len(table)):
        cell = {name: cells[name][row] for name in read if cells[name][row] is not None}
        key = _digest(cell)
        index = inputs.setdefault(key, (len(inputs), cell))[0]
        for ticker in groups[row]:
            count += 1
            digest = _digest([key, written[row], ticker])
            entries.setdefault((int(microseconds[row]), ticker, digest), (index, row))
    ordered = sorted(entries)
    names = tuple(sorted({*tickers, *universe, *(ticker for _, ticker, _ in ordered)}))
    position = {ticker: number for number, ticker in enumerate(names)}
    source_rows = [entries[key][1] for key in ordered]
    return DatedTexts(
        inputs=[cell for _, cell in inputs.values()],
        input_digests=list(inputs),
        input=np.array([entries[key][0] for key in ordered], np.int64),
        available_at=np.array([at for at, _, _ in ordered], "datetime64[us]"),
        ticker=np.array([position[ticker] for _, ticker, _ in ordered], np.int32),
        tickers=names,
        digests=[digest for _, _, digest in ordered],
        duplicates=count - len(ordered),
        labels=_labels(table, columns, source_rows),
        label_known_at=_instants(table, "label_known_at")[source_rows] if "label_known_at" in columns else None,
        source={"name": name, "options": dict(options), "digest": _digest([digest for _, _, digest in ordered])},
        fitted_before=rows.fitted_before,
    )


def format_of(instant: np.datetime64) -> str:
    """Return an instant of UTC as text, such as 2021-06-30T14:05:00Z."""
    return _shortest(str(instant.astype("datetime64[us]")))


def _shortest(text: str) -> str:
    """Return an instant that is written to the microsecond without the zeros at its end."""
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "Z"


def _groups(table: Any, columns: Sequence[str], tickers: Sequence[str], name: str) -> list[tuple[str, ...]]:
    """Return the tickers of each row: those that are given, or else its group."""
    if tickers:
        return [tuple(tickers)] * len(table)
    if "group" not in columns:
        raise BadCorpus(f"corpus {name} has no group: name the column of the ticker, or give ticker")
    groups = table["group"][:]
    if None in groups:
        raise BadCorpus(f"corpus {name}, row {groups.index(None)} has no ticker: fill its group, or give ticker")
    return [(str(group),) for group in groups]


def _labels(table: Any, columns: Sequence[str], rows: Sequence[int]) -> Sequence[str | float | None]:
    column = next((each for each in ("label", "target") if each in columns), None)
    if column is None:
        return ()
    values = table[column][:]
    return [values[row] for row in rows]


def _instants(table: Any, column: str) -> np.ndarray:
    instants: np.ndarray = table.with_format("arrow")[:][column].to_numpy().astype("datetime64[us]")
    return instants


def _digest(value: Any) -> str:
    return f"sha256:{hashlib.sha256(_JSON.encode(value).encode()).hexdigest()}"


def _plain(value: Any) -> Any:
    return format_instant(value) if isinstance(value, datetime) else value.tolist()


_JSON: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)
