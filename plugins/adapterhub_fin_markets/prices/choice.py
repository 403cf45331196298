"""Choose tables of prices in a recipe; this module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from adapterhub_fin.plugin import Options

if TYPE_CHECKING:
    from adapterhub_fin_markets.prices.panel import Prices

# Kinds of faults whose repair uses nothing that came later.
Repair = Literal["no-session", "duplicate-bar", "not-positive", "high-below-low", "hundredfold"]


class PricesChoice(Options):
    """Choose tables of prices, and say how they are read: as `read_prices` does."""

    path: Path | tuple[Path, ...] = Field(description="Tables of bars, or a folder of them.")
    calendar: str | None = Field(
        None, description="Exchange such as XNYS, or 24/7; by default what the file of `ahf market fetch` says."
    )
    interval: str | None = Field(None, description="Length of a bar, such as 1d (default), 1h or 15min.")
    columns: Mapping[str, str] = Field({}, description="Names of columns in the file by ours, such as close: Last.")
    date_format: str | None = Field(None, description="How dates are written, such as %d.%m.%Y or unix_ms.")
    decimal: Literal[".", ","] | None = Field(None, description="Decimal sign; the other one separates thousands.")
    timezone: str | None = Field(None, description="Zone of times that are written without one.")
    label: Literal["start", "end"] = Field("start", description="What the time of an intraday bar is of.")
    currency: str | None = Field(None, description="What the prices are in, such as USD.")
    adjusted_as_of: str | None = Field(None, description="The day as of which the levels are adjusted.")
    split_adjusted: bool | None = Field(None, description="Whether the levels are adjusted for the listed splits.")
    tickers: tuple[str, ...] | None = Field(
        None, min_length=1, description="Tickers (or ids of instruments) to read of the tables; by default all."
    )
    instruments: Path | None = Field(None, description="Table of dated tickers, which gives permanent ids.")
    members: Path | None = Field(None, description="Table of the universe's members by date.")
    repair: tuple[Repair, ...] = Field(
        (), description="Kinds of faults to repair, of those whose repair uses nothing that came later."
    )
    allow: tuple[str, ...] = Field((), description="Kinds of findings to accept as they are; the report marks them.")

    @field_validator("adjusted_as_of", mode="before", json_schema_input_type=str | None)
    @classmethod
    def _as_yaml_reads_a_date(cls, value: Any) -> Any:
        return value.isoformat() if isinstance(value, date) else value

    def read(self) -> Prices:
        """Return the prices. Raises BadPrices, as `read_prices` does."""
        from adapterhub_fin_markets.prices.instruments import Instruments, Membership
        from adapterhub_fin_markets.prices.tables import read_prices

        given = {name: getattr(self, name) for name in type(self).model_fields}
        paths = given.pop("path")
        instruments = None if self.instruments is None else Instruments.read(self.instruments)
        members = None if self.members is None else Membership.read(self.members, instruments)
        tables = [path.expanduser() for path in (paths if isinstance(paths, tuple) else (paths,))]
        return read_prices(tables, **{**given, "instruments": instruments, "members": members})
