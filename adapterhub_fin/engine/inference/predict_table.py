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

from adapterhub_fin.engine.base.progress import progress as bar
from adapterhub_fin.engine.inference.rows import input_rows
from adapterhub_fin.errors import BadCorpus, BadRecipe, BadText, WriteFailed
from adapterhub_fin.plugin.tables import CsvForm, TableRow, table_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin_registry import Manifest

CHUNK: Final = 4096  # rows in memory at a time
PREFIX: Final = "predicted_"
Write = Callable[[Sequence[Mapping[str, Any]]], None]


class Answerer(Protocol):
    """Define what answering a table needs of a loaded adapter."""

    @property
    def reference(self) -> str: ...
    @property
    def manifest(self) -> Manifest: ...
    @property
    def head(self) -> HeadImplementation | None: ...
    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | Any: ...
    @property
    def max_length(self) -> int: ...
    def predict(self, rows: Any, batch_size: int = 32) -> Sequence[Any]: ...


def predict_table(
    adapter: Answerer,
    table: str | Path,
    out: str | Path,
    *,
    text: str | Sequence[str] | None = None,
    form: CsvForm | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> int:
    """Write a file's rows with the adapter's answers to `out`, and return how many there are.

    Both are .csv, .tsv, .jsonl or .parquet. `text` names the column of the text, or several; by default they are found
    as `Adapter.predict` does. The answers' columns begin with `predicted_`, and `reference` is the version. `out`
    appears when all rows are answered; before, nothing is there. Raises BadCorpus for a table that can't be read,
    BadText for a row that can't be answered, which it names, and BadRecipe for columns that both have.
    """
    source, target = Path(table).expanduser(), Path(out).expanduser()
    if target.suffix.lower() not in _WRITERS:
        raise BadRecipe(f"{target.name} isn't a {', '.join(_WRITERS)} file: give the output another suffix")
    rows = table_rows(source, form)
    count, columns = 0, list[str]()
    size = _size(source) if progress and source.is_file() else 0
    with _written(target, source) as write, bar("answering", size, shown=progress) as advance:
        while chunk := list(islice(rows, CHUNK)):
            cells = [_checked(row, source) for row in chunk]
            try:
                answers = adapter.predict([_with_text(row, text) for row in cells], batch_size)
            except BadText:
                _located(adapter, chunk, text, source)
                raise
            columns = columns or list(dict.fromkeys(name for row in cells for name in row))
            _check_columns(chunk, columns, source)
            filled = [{name: row.get(name) for name in columns} for row in cells]
            write([_answered(row, answer, adapter.reference) for row, answer in zip(filled, answers, strict=True)])
            count += len(chunk)
            advance(len(chunk))
    return count


def _check_columns(chunk: Sequence[TableRow], columns: Sequence[str], source: Path) -> None:
    """Raise BadCorpus for a column that the rows before the chunk don't have: the output's columns are settled."""
    settled = set(columns)
    for row in chunk:
        if late := [name for name in row.cells if name not in settled]:
            raise BadCorpus(
                f"{source.name}, {row.unit} {row.number} has a column {late[0]!r}, which the first rows lack: give "
                "every row the same columns"
            )


def _checked(row: TableRow, source: Path) -> Mapping[str, Any]:
    if row.fault is not None:
        raise BadText(f"{source.name}, {row.unit} {row.number} {row.fault}")
    return row.cells


def _with_text(cells: Mapping[str, Any], columns: str | Sequence[str] | None) -> Mapping[str, Any]:
    if columns is None:
        return cells
    names = (columns,) if isinstance(columns, str) else columns
    if missing := [name for name in names if name not in cells]:
        raise BadRecipe(f"the table has no column {missing[0]!r}; it has {', '.join(map(str, cells))}")
    texts = [cells[name] for name in names]
    return {"text": texts[0] if len(texts) == 1 else "\n".join(str(text).strip() for text in texts if text)}


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


def _located(adapter: Answerer, chunk: Sequence[TableRow], text: str | Sequence[str] | None, source: Path) -> None:
    """Raise BadText for the first row of a chunk that can't be read, with its position in the file."""
    for row in chunk:
        try:
            read = input_rows([_with_text(row.cells, text)], "predict", adapter.manifest)
            if adapter.head is not None:
                adapter.head.encode_inputs(read, adapter.tokenizer, adapter.max_length)
        except (BadText, BadCorpus) as error:
            place = f"{source.name}, {row.unit} {row.number}"
            raise BadText(f"{place}{str(error).removeprefix('predict: ').removeprefix('row 0')}") from error


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
