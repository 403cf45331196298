"""Say how a table of prices is written: its columns' names, its dates, and its decimal sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from adapterhub_fin.plugin import check_date_format
from adapterhub_fin_markets.prices.errors import BadPrices


@dataclass(frozen=True)
class Form:
    """Hold how a table is written; by default dates are ISO, and numbers have no separator of thousands."""

    columns: Mapping[str, str] = field(default_factory=dict)  # the names of columns in the file by ours
    date_format: str | None = None  # of strptime, or unix, or unix_ms
    decimal: str | None = None  # "." or ","; the other one then separates thousands

    def __post_init__(self) -> None:
        """Check both. Raises BadPrices for a format of dates that strptime can't read, and for another decimal sign."""
        if self.decimal not in (None, ".", ","):
            raise BadPrices(f"decimal {self.decimal!r} is no decimal sign: give '.' or ','")
        try:
            if self.date_format is not None:
                check_date_format(self.date_format)
        except ValueError as error:
            raise BadPrices(f"date_format {error}") from None
