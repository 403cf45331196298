"""Describe what markets brings, and specify the hooks that others extend it by."""

from __future__ import annotations

from collections.abc import Iterable

from adapterhub_fin.plugin import OwnHook, hookimpl
from adapterhub_fin_markets.features.description import Feature
from adapterhub_fin_markets.prices.description import PriceSource


@hookimpl
def ahf_hookspecs() -> Iterable[OwnHook]:
    """Return the hooks that other packages extend markets by."""
    return [
        OwnHook(name="ahf_price_sources", kind=PriceSource, summary="Return sources of prices."),
        OwnHook(name="ahf_features", kind=Feature, summary="Return features of prices."),
    ]
