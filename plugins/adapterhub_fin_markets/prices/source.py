"""Define what a source of prices must be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from adapterhub_fin_markets.prices.bars import Bars


@dataclass(frozen=True)
class Request:
    """Say which bars are asked for: of these symbols, of this length, that start in [start, end)."""

    symbols: Sequence[str]
    interval: str
    start: datetime  # with its zone
    end: datetime
    now: datetime


class PriceSourceImplementation(Protocol):
    """Define a source of prices, built from its options."""

    calendar: str | None  # of its bars; None where the user names it among the options
    split_adjusted: bool | None = None  # whether its levels reckon with the splits that it lists
    currency: str | None = None

    def __init__(self, options: Any) -> None: ...

    def fetch(self, request: Request) -> Bars:
        """Return the bars, in any order. Raises BadPrices or Unreachable with what went wrong and what to do next."""
        ...
