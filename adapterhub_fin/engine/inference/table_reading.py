"""Read a table to answer as the version's own recipe read its rows, and name the rows that can't be answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from adapterhub_fin.engine.inference.rows import Row, input_rows, text_columns
from adapterhub_fin.errors import BadCorpus, BadRecipe, BadText
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.plugin.reading import CellOptions, TableReading, emptied
from adapterhub_fin.plugin.tables import TableRow, table_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin_registry import Manifest, Version

T = TypeVar("T")


class Encoder(Protocol):
    """Define what checking rows needs of a loaded adapter."""

    @property
    def head(self) -> HeadImplementation | None: ...
    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | Any: ...
    @property
    def max_length(self) -> int: ...


def table_reading(manifest: Manifest, table: Path, given: Mapping[str, Any]) -> TableReading:
    """Return how a table is read: by the options `given`, and for the rest by those of the version's own recipe.

    A recipe's separator is for .csv alone, its encoding and header for .csv and .tsv, and na_values for every file.
    Raises BadRecipe for a wrong option, and for one that a file of this form doesn't need.
    """
    checked(TableReading, given, "predict")
    suffix = table.suffix.lower()
    other = set() if suffix in (".csv", ".tsv") else TableReading.model_fields.keys() - CellOptions.model_fields.keys()
    if wrong := sorted(other & given.keys()):
        raise BadRecipe(f"predict: {wrong[0]} is for a csv file, and {table.name} is none: leave it out")
    left_out = other | ({"separator"} if suffix != ".csv" else set())
    own = {name: value for name, value in _own_options(manifest).items() if name not in left_out}
    return checked(TableReading, {**own, **given}, "predict")


def _own_options(manifest: Manifest) -> dict[str, Any]:
    """Return the options of reading that a version's own corpus had, if it is installed and has any."""
    corpus = manifest.corpus
    if corpus is None or corpus.name not in extensions().all(Corpus):
        return {}
    model = extensions().get(Corpus, corpus.name).load_options()
    shared = next((each for each in (TableReading, CellOptions) if issubclass(model, each)), None)
    names = shared.model_fields if shared is not None else ()
    return {name: corpus.options[name] for name in names if name in corpus.options}


@dataclass(frozen=True)
class TableTexts:
    """Take the text of a table's rows, from the columns `names`, or from those that the version was trained on."""

    source: Path
    version: Version
    names: tuple[str, ...]
    reading: TableReading

    @classmethod
    def of(
        cls, source: Path, version: Version, text: str | Sequence[str] | None, given: Mapping[str, Any]
    ) -> TableTexts:
        """Check how a table is read, and that it can be: that it has rows with a column of the text.

        Imports no torch. Raises BadRecipe for wrong options or columns, and BadCorpus for a file that can't be read.
        """
        names = (text,) if isinstance(text, str) else tuple(text or ())
        texts = cls(source, version, names, table_reading(version.manifest, source, given))
        texts.check()
        return texts

    def check(self) -> None:
        """Check that the first row has the column of the text. Raises BadRecipe, and BadCorpus as `of`."""
        if not self.source.exists() or self.source.is_file():  # what a pipe holds can be read once
            first = next((row for row in table_rows(self.source, self.reading.form) if row.fault is None), None)
            if first is not None:
                self._check_columns(first)

    def _check_columns(self, row: TableRow) -> None:
        """Raise BadRecipe for a row without the columns of the text, since the rows after it lack them too."""
        if missing := [name for name in self.names if name not in row.cells]:
            near = get_close_matches(missing[0], map(str, row.cells), n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise BadRecipe(f"the table has no column {missing[0]!r}; it has {', '.join(map(str, row.cells))}{meant}")
        own = text_columns(self.version)
        if not self.names and not {"text", "messages"} & row.cells.keys() and not (own and {*own} <= row.cells.keys()):
            faults = Faults()
            self._caught(row, faults, self._read)
            faults.check("predict", BadText)

    def _read(self, row: TableRow) -> list[Row]:
        return input_rows([self.row(row)], "predict", text_columns(self.version))

    def row(self, row: TableRow) -> Row:
        """Return what is answered for a row: its cells, or the text alone where its columns are named.

        Raises BadText for a row that lacks such a column.
        """
        cells = emptied(row.cells, self.reading.missing)
        if not self.names:
            return cells
        if missing := [name for name in self.names if name not in cells]:
            raise BadText(f"row 0 has no column {missing[0]!r}; it has {', '.join(map(str, cells))}")
        texts = [cells[name] for name in self.names]
        if len(texts) == 1:
            return {"text": "" if texts[0] is None else texts[0]}
        return {"text": "\n".join(str(text).strip() for text in texts if text)}

    def collect(self, rows: Sequence[TableRow], encoder: Encoder, faults: Faults) -> None:
        """Add a fault for each row that can't be answered, with its position in the file."""
        read = [(row, inputs) for row in rows if (inputs := self._caught(row, faults, self._read)) is not None]
        if encoder.head is None or not read:
            return
        encode = partial(encoder.head.encode_inputs, tokenizer=encoder.tokenizer, max_length=encoder.max_length)
        try:
            encode([inner for _, inputs in read for inner in inputs])
        except (BadText, BadCorpus):
            for row, inputs in read:
                self._caught(row, faults, partial(_encoded, encode, inputs))

    def _caught(self, row: TableRow, faults: Faults, convert: Callable[[TableRow], T]) -> T | None:
        """Return what a function makes of a row; where it says that the row is wrong, add that and return None."""
        where = f"{self.source.name}, {row.unit} {row.number}"
        if row.fault is not None:
            faults.add((row.number,), f"{where} {row.fault}")
            return None
        try:
            return convert(row)
        except (BadText, BadCorpus) as error:
            message = str(error).removeprefix("predict: ")
            after = message.removeprefix("row 0") if message.startswith("row 0") else f": {message}"
            faults.add((row.number,), f"{where}{after}")
            return None


def _encoded(encode: Callable[[list[Row]], object], rows: list[Row], row: TableRow) -> object:
    return encode(rows)
