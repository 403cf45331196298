"""Embed the rows of a table by their versions, and write them a part at a time with when each was known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.inference.aligned_rows import check_dimensions
from adapterhub_fin.engine.inference.aligning import Alignment
from adapterhub_fin.engine.inference.dated_rows import DatedRows, instant_text, numpy_instant, utc_instant
from adapterhub_fin.engine.inference.table_parts import check_columns, row_chunks
from adapterhub_fin.engine.inference.table_writing import WrittenForm, written_rows
from adapterhub_fin.engine.inference.version_embedder import VersionEmbedder, text_digest
from adapterhub_fin.engine.inference.yanked_versions import YankedVersion
from adapterhub_fin.errors import BadRecipe, BadText
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.tables import TableRow, table_rows

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

KEY: Final = "adapterhub_fin.embeddings"  # of the metadata of a parquet file
INSTANTS: Final = ("at", "known_at")
TEXTS: Final = ("text_id", "reference", "digest")


@dataclass(frozen=True)
class EmbeddedTable:
    """Hold what `embed_table` wrote, as the metadata of a parquet file record it."""

    rows: int
    refused: int  # rows that were left out
    include_base: bool
    versions: Mapping[str, Mapping[str, Any]]  # reference, knowledge end and rows, by digest
    alignment: Alignment | None
    warning: str | None  # where dimensions of several versions stand in one column and can't be compared
    yanked: Sequence[YankedVersion] = ()  # versions that were yanked since, with the rows that they answered

    def record(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "rows": self.rows,
            "refused": self.refused,
            "include_base": self.include_base,
            "versions": {digest: dict(facts) for digest, facts in self.versions.items()},
            "alignment": None if self.alignment is None else self.alignment.record(),
            "warning": self.warning,
            "yanked": [each.record() for each in self.yanked],
        }


@dataclass(frozen=True, eq=False)
class VectorRows:
    """Hold the rows of a table, what embeds and rotates them by the digest of their version, and write the result."""

    rows: DatedRows
    embedders: Mapping[str, VersionEmbedder]
    rotations: Mapping[str, np.ndarray]
    alignment: Alignment | None
    time: str  # the column of the rows' times
    _lengths: list[int] = field(default_factory=list)  # that of the first vector

    def write(self, target: Path, size: int, advance: Callable[[int], None]) -> EmbeddedTable:
        """Embed `size` rows at a time, write them, and return what was done.

        Raises BadText for rows that can't be read, BadCorpus for columns that the first rows lack, and BadRecipe for
        columns that both have and vectors of several lengths.
        """
        result = self.described()
        form = WrittenForm(
            types={**dict.fromkeys(INSTANTS, "instant"), **dict.fromkeys(TEXTS, "string")},
            vectors="e",
            metadata={KEY: json.dumps(result.record(), sort_keys=True)},
        )
        source, faults, columns, count = self.rows.source, Faults(), list[str](), 0
        instants = self._instants(as_text=target.suffix.lower() != ".parquet")
        with written_rows(target, source, form) as write:
            for chunk in row_chunks(table_rows(source, self.rows.reading.form), faults, size):
                answers = self._answers(chunk, self.rows.numbers[count : count + len(chunk)], faults)
                dated = [next(instants) for _ in chunk]
                if not columns and answers:
                    columns = list(dict.fromkeys(name for row in chunk for name in row.cells))
                    self._check_free(columns, next(iter(answers.values())))
                if columns and not faults.count:
                    check_columns(chunk, columns, source)
                    cells = {index: {name: chunk[index].cells.get(name) for name in columns} for index in answers}
                    write([{**cells[index], **dated[index], **answers[index]} for index in sorted(answers)])
                count += len(chunk)
                advance(len(chunk))
            faults.check("embed", BadText)
        return result

    def _answers(self, chunk: Sequence[TableRow], numbers: np.ndarray, faults: Faults) -> dict[int, dict[str, Any]]:
        """Return the columns that a chunk's rows get, by the index of the row; rows that are left out have none."""
        answers: dict[int, dict[str, Any]] = {}
        for number in np.unique(numbers[numbers >= 0]).tolist():
            version = self.rows.versions[number]
            indices = np.flatnonzero(numbers == number).tolist()
            embedder = self.embedders[version.digest]
            if (answer := embedder.embed([chunk[index] for index in indices], faults)) is None:
                continue
            read, vectors = answer
            if not self._lengths:
                self._lengths.append(vectors.shape[1])
            check_dimensions(embedder.adapter, vectors.shape[1], self._lengths[0])
            if version.digest in self.rotations:
                vectors = (vectors.astype(np.float64) @ self.rotations[version.digest]).astype(np.float32)
            for index, row, vector in zip(indices, read, vectors.tolist(), strict=True):
                answers[index] = {
                    "text_id": chunk[index].cells.get("text_id") or text_digest(row),
                    "reference": version.reference,
                    "digest": version.digest,
                    **{f"e{dimension:03}": value for dimension, value in enumerate(vector)},
                }
        return answers

    def known_at(self) -> np.ndarray:
        """Return when each row was known, (rows,): the latest of its time, its version's end and its rotation."""
        ends = [*self.rows.ends(), np.datetime64("1970-01-01", "us")]  # the last is of rows that are left out
        for number, version in enumerate(self.rows.versions):
            if self.alignment is not None and version.digest in self.rotations:
                ends[number] = max(ends[number], numpy_instant(self.alignment.until))
        known_at: np.ndarray = np.maximum(self.rows.instants, np.array(ends)[self.rows.numbers])
        return known_at

    def _instants(self, *, as_text: bool) -> Iterator[dict[str, Any]]:
        """Yield each row's instants, as texts or as aware datetimes."""
        write = instant_text if as_text else utc_instant
        for pair in zip(self.rows.instants, self.known_at(), strict=True):
            yield dict(zip(INSTANTS, map(write, pair), strict=True))

    def described(self) -> EmbeddedTable:
        """Return what the rows are embedded by, as it is recorded."""
        rows, alignment = self.rows, self.alignment
        counts = np.bincount(rows.numbers[rows.numbers >= 0], minlength=len(rows.versions)).tolist()
        facts = zip(rows.versions, rows.ends(), counts, strict=True)
        versions = {
            version.digest: {"reference": version.reference, "knowledge_end": instant_text(end), "rows": count}
            for version, end, count in facts
        }
        warning = None
        if len(versions) > 1 and alignment is None:
            warning = (
                f"the vectors are of {len(versions)} versions, and a dimension of one can't be compared with that of "
                "another: align them (--align), or use rows of one version at a time"
            )
        left_out = int((rows.numbers < 0).sum())
        yanked = tuple(rows.yanked())
        return EmbeddedTable(sum(counts), left_out, rows.include_base, versions, alignment, warning, yanked)

    def _check_free(self, columns: Sequence[str], answer: Mapping[str, Any]) -> None:
        """Raise BadRecipe where the table has a column that the output needs; `at` may be that of its times."""
        needed = {*INSTANTS, *answer} - {"text_id", *(("at",) if self.time == "at" else ())}
        if taken := sorted(needed & set(columns)):
            raise BadRecipe(f"the table has a column {taken[0]!r} already, which the vectors need: rename it")
