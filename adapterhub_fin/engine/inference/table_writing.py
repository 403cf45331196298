"""Write rows to a csv, tsv, jsonl or parquet file, a part at a time; the file appears whole or not at all."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapterhub_fin.errors import BadCorpus, BadRecipe, WriteFailed

Write = Callable[[Sequence[Mapping[str, Any]]], None]


@dataclass(frozen=True)
class WrittenForm:
    """Say what a parquet file records beside the rows: types of columns that are not taken from them, and metadata."""

    types: Mapping[str, str] = field(default_factory=lambda: {"reference": "string"})  # as pyarrow names them
    vectors: str | None = (
        None  # what the names of columns begin with that hold numbers of four bytes, and end in digits
    )
    metadata: Mapping[str, str] = field(default_factory=dict)

    def stated(self, name: str) -> str | None:
        """Return the type of a column, None where it is as the rows have it."""
        if self.vectors is not None and name.startswith(self.vectors) and name[len(self.vectors) :].isdecimal():
            return "float32"
        return self.types.get(name)


def check_suffix(target: Path) -> None:
    """Raise BadRecipe for a file that rows can't be written to."""
    if target.suffix.lower() not in _WRITERS:
        raise BadRecipe(f"{target.name} isn't a {', '.join(_WRITERS)} file: give the output another suffix")


@contextmanager
def written_rows(target: Path, source: Path, form: WrittenForm | None = None) -> Iterator[Write]:
    """Give what writes rows to a file beside the target, which takes the target's place at the end, if all went well.

    Columns of `source` keep their types, where both are parquet. Raises WriteFailed where the disk refuses.
    """
    form = form or WrittenForm()
    draft = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    try:
        draft.touch(exist_ok=False)
    except OSError as error:
        raise WriteFailed(f"{target} can't be written ({error.strerror}): name another output") from error
    try:
        with _WRITERS[target.suffix.lower()](draft, source, form) as write:
            yield write
        draft.replace(target)
    except OSError as error:
        raise WriteFailed(f"{target} can't be written ({error.strerror}): make room there") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _csv(path: Path, source: Path, form: WrittenForm) -> Iterator[Write]:
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
def _jsonl(path: Path, source: Path, form: WrittenForm) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda rows: file.writelines(f"{json.dumps(row, ensure_ascii=False, default=str)}\n" for row in rows)


@contextmanager
def _parquet(path: Path, source: Path, form: WrittenForm) -> Iterator[Write]:
    import pyarrow
    import pyarrow.parquet

    source_schema = pyarrow.parquet.read_schema(source) if source.suffix.lower() == ".parquet" else pyarrow.schema([])
    source_fields = {field.name: field for field in source_schema}
    opened: list[Any] = []

    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        try:
            if not opened:
                fields = pyarrow.Table.from_pylist(list(rows)).schema
                schema = pyarrow.schema([_field(field, source_fields, form) for field in fields])
                schema = schema.with_metadata(form.metadata) if form.metadata else schema
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
            others = [pyarrow.field(name, _arrow_type(kind)) for name, kind in form.types.items()]
            own = [field for field in source_schema if field.name not in form.types]
            pyarrow.parquet.write_table(pyarrow.schema([*own, *others]).empty_table(), path)
    finally:
        for writer in opened:
            writer.close()


def _arrow_type(name: str) -> Any:
    """Return pyarrow's type of a name; an instant is in UTC and microseconds."""
    import pyarrow

    return pyarrow.timestamp("us", "UTC") if name == "instant" else pyarrow.type_for_alias(name)


def _field(field: Any, source_fields: Mapping[str, Any], form: WrittenForm) -> Any:
    """Return a column's field: as stated, else as in the source; an empty one of the first rows is taken for text."""
    import pyarrow

    if (kind := form.stated(field.name)) is not None:
        return pyarrow.field(field.name, _arrow_type(kind))
    if field.name in source_fields:
        return source_fields[field.name]
    return field.with_type(pyarrow.string()) if pyarrow.types.is_null(field.type) else field


_WRITERS: Final[Mapping[str, Callable[[Path, Path, WrittenForm], Any]]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
