"""Answer the rows of a file and write them with their answers to another, a part of it in memory at a time."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from adapterhub_fin.engine.inference.table_reading import Encoder, TableTexts
from adapterhub_fin.errors import BadCorpus, BadRecipe, BadText, WriteFailed
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.progress_lines import progress as bar
from adapterhub_fin.plugin.tables import TableRow, table_rows

if TYPE_CHECKING:
    from adapterhub_fin_registry import Manifest

CHUNK: Final = 4096  # rows in memory at a time
PREFIX: Final = "predicted_"
Write = Callable[[Sequence[Mapping[str, Any]]], None]


class Answerer(Encoder, Protocol):
    """Define what answering a table needs of a loaded adapter."""

    @property
    def reference(self) -> str: ...
    @property
    def manifest(self) -> Manifest: ...
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
    if target.suffix.lower() not in _WRITERS:
        raise BadRecipe(f"{target.name} isn't a {', '.join(_WRITERS)} file: give the output another suffix")
    texts = TableTexts.of(source, adapter.manifest, text, reading or {})
    count, columns, faults = 0, list[str](), Faults()
    size = _size(source) if progress and source.is_file() else 0
    with _written(target, source) as write, bar("answering", size, shown=progress) as advance:
        for chunk in _chunks(table_rows(source, texts.reading.form), faults):
            if (answers := _answers(adapter, chunk, texts, faults, batch_size)) is not None:
                columns = columns or list(dict.fromkeys(name for row in chunk for name in row.cells))
                _check_columns(chunk, columns, source)
                filled = [{name: row.cells.get(name) for name in columns} for row in chunk]
                write([_answered(row, answer, adapter.reference) for row, answer in zip(filled, answers, strict=True)])
                count += len(chunk)
            advance(len(chunk))
        faults.check("predict", BadText)
    return count


def _chunks(rows: Iterator[TableRow], faults: Faults) -> Iterator[list[TableRow]]:
    """Yield the rows a part at a time; where the file can't be read on after a fault, that is the last fault."""
    while True:
        try:
            chunk = list(islice(rows, CHUNK))
        except BadCorpus as error:
            if not faults.count:
                raise
            faults.add((2**63,), error)
            return
        if not chunk:
            return
        yield chunk


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


def _check_columns(chunk: Sequence[TableRow], columns: Sequence[str], source: Path) -> None:
    """Raise BadCorpus for a column that the rows before the chunk don't have: the output's columns are settled."""
    settled = set(columns)
    for row in chunk:
        if late := [name for name in row.cells if name not in settled]:
            raise BadCorpus(
                f"{source.name}, {row.unit} {row.number} has a column {late[0]!r}, which the first rows lack: give "
                "every row the same columns"
            )


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


def _size(source: Path) -> int:
    """Return about how many rows a file has, for the bar."""
    if source.suffix.lower() == ".parquet":
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(source) as table:
            return int(table.metadata.num_rows)
    with source.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))


@contextmanager
def _written(target: Path, source: Path) -> Iterator[Write]:
    """Give what writes rows to a file beside the target, which takes the target's place at the end, if all went well.

    Raises WriteFailed where the disk refuses.
    """
    draft = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    try:
        draft.touch(exist_ok=False)
    except OSError as error:
        raise WriteFailed(f"{target} can't be written ({error.strerror}): name another output") from error
    try:
        with _WRITERS[target.suffix.lower()](draft, source) as write:
            yield write
        draft.replace(target)
    except OSError as error:
        raise WriteFailed(f"{target} can't be written ({error.strerror}): make room there") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _csv(path: Path, source: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer: list[Any] = []

        def write(rows: Sequence[Mapping[str, Any]]) -> None:
            if not writer:
                writer.append(
                    csv.DictWriter(
                        file,
                        list(rows[0]),
                        delimiter="\t" if path.suffix.lower() == ".tsv" else ",",
                        lineterminator="\n",
                    )
                )
                writer[0].writeheader()
            writer[0].writerows(rows)

        yield write


@contextmanager
def _jsonl(path: Path, source: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda rows: file.writelines(f"{json.dumps(row, ensure_ascii=False, default=str)}\n" for row in rows)


@contextmanager
def _parquet(path: Path, source: Path) -> Iterator[Write]:
    import pyarrow
    import pyarrow.parquet

    source_schema = pyarrow.parquet.read_schema(source) if source.suffix.lower() == ".parquet" else pyarrow.schema([])
    opened: list[Any] = []

    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        try:
            if not opened:
                fields = pyarrow.Table.from_pylist(list(rows)).schema
                source_fields = {field.name: field for field in source_schema}
                schema = pyarrow.schema([source_fields.get(field.name) or _text_if_empty(field) for field in fields])
                opened.append(pyarrow.parquet.ParquetWriter(path, schema))
            opened[0].write_table(pyarrow.Table.from_pylist(list(rows), schema=opened[0].schema))
        except pyarrow.ArrowException as error:
            reason = " ".join(str(error).split())
            raise BadCorpus(
                f"{source.name} has a column of several kinds, which parquet can't hold: {reason}"
            ) from error

    try:
        yield write
        if not opened:  # a table without rows gives one, which can be read
            empty = source_schema.append(pyarrow.field("reference", pyarrow.string())).empty_table()
            pyarrow.parquet.write_table(empty, path)
    finally:
        for writer in opened:
            writer.close()


def _text_if_empty(field: Any) -> Any:
    """Return a column's field; one that holds nothing in the first rows is taken for text."""
    import pyarrow

    return field.with_type(pyarrow.string()) if pyarrow.types.is_null(field.type) else field


_WRITERS: Final[Mapping[str, Callable[[Path, Path], Any]]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
