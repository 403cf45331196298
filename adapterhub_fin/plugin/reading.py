"""Define the options of reading a table and its dates; a table to answer is read by the version's own."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from datetime import date
from typing import Any

from pydantic import Field, field_validator

from adapterhub_fin.errors import BadInstant
from adapterhub_fin.plugin.options import Options
from adapterhub_fin.plugin.tables import CsvForm
from adapterhub_fin_registry.model.knowledge import end_of_day


class ZonedOptions(Options):
    """Provide options for a source whose dates may have no time zone and whose license only its user knows."""

    timezone: str | None = Field(
        None, description="Time zone of dates and times without one, such as America/New_York; a day ends there."
    )
    license: str | None = Field(None, min_length=1, description="License of the rows, as an SPDX id.")

    @field_validator("timezone")
    @classmethod
    def _is_known_here(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                end_of_day(date(2000, 1, 1), zone)
            except BadInstant as error:
                raise ValueError(str(error)) from error
        return zone


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
