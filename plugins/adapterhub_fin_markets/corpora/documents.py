"""Define a dated document, its source, and the rows of one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pyarrow

from adapterhub_fin.plugin import BadCorpus, Faults
from adapterhub_fin_markets.corpora.normalise import normalise

BATCH = 4 << 20  # characters of a record batch


@dataclass(frozen=True)
class Document:
    """Hold one text with the instant from which it could have been read."""

    text: str
    available_at: datetime
    group: str | None
    origin: str
    slices: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """Name a file that is read as one, and what tells whether it is still the same."""

    name: str
    path: Path
    size: int
    changed: int  # nanoseconds

    @classmethod
    def of(cls, name: str, path: Path) -> Unit:
        """Return the unit of a file."""
        status = path.stat()
        return cls(name, path, status.st_size, status.st_mtime_ns)

    @property
    def root(self) -> Path:
        """Return the resolved folder that the file's name is relative to."""
        return self.path.absolute().parents[len(PurePosixPath(self.name).parts) - 1].resolve()

    @property
    def mark(self) -> list[Any]:
        """Return what differs when the file was changed, or is another of the same name."""
        return [self.name, str(self.path.resolve()), self.size, self.changed]


class DocumentSource(Protocol):
    """Define a source of documents: files in an order that doesn't change, each read by itself."""

    name: str  # the corpus
    version: int  # raised when the same file gives other documents
    slices: Sequence[str]
    grouped: bool = True  # whether documents have a group
    key: Mapping[str, Any]  # all that the documents depend on beside their own file, as JSON has it

    def units(self) -> Sequence[Unit]:
        """Return the files. Raises BadCorpus where there is none."""
        ...

    def read(self, unit: Unit, notes: dict[str, int]) -> Iterator[Document | BadCorpus]:
        """Yield the documents of one file, a fault for one that can't be read, and count in `notes` what is left out.

        Raises BadCorpus for a file that can't be read, or not beyond some document.
        """
        ...


def unit_rows(
    source: DocumentSource, unit: Unit, normalised: bool, notes: dict[str, int], faults: Faults, number: int
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one file; what can't be read is a fault, ordered by the file's `number`."""
    try:
        for document in source.read(unit, notes):
            if isinstance(document, BadCorpus):
                faults.add((number,), document)
                continue
            text = normalise(document.text) if normalised else document.text
            if not text.strip():
                faults.add((number,), f"{document.origin} has no text: fill it, remove it, or exclude it with glob")
                continue
            row = {"text": text, "available_at": document.available_at, "origin": document.origin}
            row |= {"group": document.group} if source.grouped else {}
            yield {**row, "slices": dict(document.slices)} if source.slices else row
    except BadCorpus as error:
        faults.add((number,), error)


def document_schema(source: DocumentSource) -> pyarrow.Schema:
    """Return the columns of a source's documents, with a struct of texts for slices where there are any."""
    columns = [
        ("text", pyarrow.large_string()),
        ("available_at", pyarrow.timestamp("us", "UTC")),
        *([("group", pyarrow.string())] if source.grouped else []),
        ("origin", pyarrow.string()),
    ]
    if source.slices:
        columns.append(("slices", pyarrow.struct([(name, pyarrow.string()) for name in source.slices])))
    return pyarrow.schema(columns)


def folder_units(path: Path, glob: str, suffixes: Sequence[str], notes: dict[str, int] | None = None) -> list[Unit]:
    """Return the files of a folder that match and have one of the suffixes, sorted by name.

    Raises BadCorpus where there is none.
    """
    root = path.expanduser()
    if not root.exists():
        raise BadCorpus(f"{root} does not exist: give a file or a folder of {', '.join(suffixes)} files")
    if root.is_file():
        root, files = root.parent, [root]
    else:
        files = [file for file in root.glob(glob) if file.is_file()]
    units = [Unit.of(file.relative_to(root).as_posix(), file) for file in files if file.suffix.lower() in suffixes]
    if notes is not None:
        notes["other files"] = len(files) - len(units)
    if not units:
        raise BadCorpus(f"{path} has no {', '.join(suffixes)} file that matches {glob}")
    return sorted(units, key=lambda unit: unit.name)
