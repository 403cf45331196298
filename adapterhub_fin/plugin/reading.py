"""Define the options of reading a table: corpora have them, and a table to answer is read by the version's own."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from adapterhub_fin.plugin.options import Options
from adapterhub_fin.plugin.tables import CsvForm


class CellOptions(Options):
    """Say which cells are missing."""

    na_values: tuple[str, ...] = Field((), description="Texts that stand for a missing cell, such as n/a.")

    @property
    def missing(self) -> frozenset[str]:
        """Return `na_values` without the spaces around them, for `emptied`."""
        return frozenset(text.strip() for text in self.na_values)


class TableReading(CellOptions):
    """Say how a table is written."""

    encoding: str = Field("utf-8", description="Encoding of a csv file, such as cp1252.")
    separator: str | None = Field(
        None, min_length=1, max_length=1, description="What separates the cells of a csv file; by default a comma."
    )
    header: tuple[str, ...] | None = Field(
        None, min_length=1, description="Names of the columns of a csv file whose first line is a row."
    )

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            return codecs.lookup(encoding).name
        except LookupError:
            raise ValueError(f"{encoding} is no encoding: write utf-8, cp1252 or latin-1") from None

    @property
    def form(self) -> CsvForm:
        """Return how a csv file is written."""
        return CsvForm(self.encoding, self.separator, self.header)


def emptied(cells: Mapping[str, Any], missing: frozenset[str]) -> Mapping[str, Any]:
    """Return a row's cells with None for each text that stands for a missing one."""
    if not missing:
        return cells
    return {name: None if isinstance(cell, str) and cell.strip() in missing else cell for name, cell in cells.items()}
