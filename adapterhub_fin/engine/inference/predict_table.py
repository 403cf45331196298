"""Answer the rows of a file and write them with their answers to another, a part of it in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from adapterhub_fin.engine.inference.table_parts import check_columns, count_rows, row_chunks
from adapterhub_fin.engine.inference.table_reading import Encoder, TableTexts
from adapterhub_fin.engine.inference.table_writing import check_suffix, written_rows
from adapterhub_fin.errors import BadRecipe, BadText
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.progress_lines import progress as bar
from adapterhub_fin.plugin.tables import TableRow, table_rows

if TYPE_CHECKING:
    from adapterhub_fin_registry import Version

CHUNK: Final = 4096  # rows in memory at a time
PREFIX: Final = "predicted_"


class Answerer(Encoder, Protocol):
    """Define what answering a table needs of a loaded adapter."""

    @property
    def reference(self) -> str: ...
    @property
    def version(self) -> Version: ...
    def predict(self, rows: Any, batch_size: int = 32) -> Sequence[Any]: ...


def predict_table(
    adapter: Answerer,
    table: str | Path,
    out: str | Path,
    *,
    text: str | Sequence[str] | None = None,
    reading: Mapping[str, Any] | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> int:
    """Write a file's rows with the adapter's answers to `out`, and return how many there are.

    Both are .csv, .tsv, .jsonl or .parquet. `text` names the column of the text, or several; by default they are found
    as `Adapter.predict` does. `reading` has the options of `TableReading`; the others are those of the version's own
    recipe. The answers' columns begin with `predicted_`, and `reference` is the version. `out` appears when all rows
    are answered; before, nothing is there. Raises BadCorpus for a table that can't be read, BadText for rows that can't
    be answered, which it names, and BadRecipe for wrong options and for columns that both have.
    """
    source, target = Path(table).expanduser(), Path(out).expanduser()
    check_suffix(target)
    texts = TableTexts.of(source, adapter.version, text, reading or {})
    count, columns, faults = 0, list[str](), Faults()
    size = count_rows(source) if progress and source.is_file() else 0
    with written_rows(target, source) as write, bar("answering", size, shown=progress) as advance:
        for chunk in row_chunks(table_rows(source, texts.reading.form), faults, CHUNK):
            if (answers := _answers(adapter, chunk, texts, faults, batch_size)) is not None:
                columns = columns or list(dict.fromkeys(name for row in chunk for name in row.cells))
                check_columns(chunk, columns, source)
                filled = [{name: row.cells.get(name) for name in columns} for row in chunk]
                write([_answered(row, answer, adapter.reference) for row, answer in zip(filled, answers, strict=True)])
                count += len(chunk)
            advance(len(chunk))
        faults.check("predict", BadText)
    return count


def _answers(
    adapter: Answerer, chunk: Sequence[TableRow], texts: TableTexts, faults: Faults, batch_size: int
) -> Sequence[Any] | None:
    """Return the answers to a chunk, or None with what is wrong added: after the first fault, rows are only checked."""
    if not faults.count and all(row.fault is None for row in chunk):
        try:
            return adapter.predict([texts.row(row) for row in chunk], batch_size)
        except BadText:
            texts.collect(chunk, adapter, faults)
            if not faults.count:
                raise
            return None
    texts.collect(chunk, adapter, faults)
    return None


def _answered(cells: Mapping[str, Any], answer: Any, reference: str) -> dict[str, Any]:
    answers: dict[str, Any] = {"reference": reference}
    for name, value in asdict(answer).items():
        if isinstance(value, Mapping):
            answers |= {f"{PREFIX}{name}_{key}": inner for key, inner in value.items()}
        else:
            answers[f"{PREFIX}{name}"] = value
    if taken := sorted(answers.keys() & cells.keys()):
        raise BadRecipe(f"the table has a column {taken[0]!r} already, which the answers need: rename it")
    return {**cells, **answers}
