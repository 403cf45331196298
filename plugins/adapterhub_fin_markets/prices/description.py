"""Describe where prices come from, with nothing imported until it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adapterhub_fin.plugin import Description


@dataclass(frozen=True, kw_only=True)
class PriceSource(Description):
    """Describe a source of prices; the target builds a `prices.source.PriceSourceImplementation` from its options."""

    kind: ClassVar[str] = "price-source"
    license: str = "unknown"
