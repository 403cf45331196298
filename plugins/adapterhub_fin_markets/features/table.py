"""Compute features of a panel of prices by name, each cell with the instant at which it was known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from adapterhub_fin.plugin import BadRecipe, PluginError, contribution, contributions
from adapterhub_fin_markets.features.description import Feature
from adapterhub_fin_markets.prices.panel import COLUMNS, Prices
from adapterhub_fin_markets.prices.shares import check_split_adjusted
from adapterhub_fin_markets.prices.stored import prices_digest


@dataclass(frozen=True, eq=False)
class Features:
    """Hold features of a panel: for each name an array (times, tickers), float64, NaN where it is undefined.

    `known_at` (times, tickers) is the instant, UTC datetime64[us], from which a cell could be computed: a decision may
    use cells with an earlier one.
    """

    tickers: tuple[str, ...]
    at: np.ndarray  # (times,): the close of the last bar that a row reads
    columns: Mapping[str, np.ndarray]  # (times, tickers) by the name of the feature
    known_at: np.ndarray  # (times, tickers)
    lookbacks: Mapping[str, int]  # bars before the present one that a feature needs
    calendar: str
    prices: Prices | str  # the panel that they were computed of, or its digest

    def __post_init__(self) -> None:
        shape = (len(self.at), len(self.tickers))
        for name, array in {**self.columns, "known_at": self.known_at}.items():
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, and the table {shape}")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the features, in the order in which they were asked for."""
        return tuple(self.columns)

    @property
    def prices_digest(self) -> str:
        """Return the digest of the prices, as `ahf market fetch` records it."""
        return self.prices if isinstance(self.prices, str) else prices_digest(self.prices)

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def stacked(self) -> np.ndarray:
        """Return all features as one array (times, tickers, features)."""
        return np.stack(list(self.columns.values()), -1)


def compute_features(prices: Prices, names: Sequence[str] | str | None = None) -> Features:
    """Compute features by name, of all tickers at once; by default all that are installed.

    A feature sees a bar that isn't finite as missing. Raises UnknownName for an unknown name, BadRecipe for none or one
    twice, PluginError where a feature's package is missing or it answers in another shape, dtype or too early, and
    BadPrices for levels that are not adjusted for their splits.

    Example:
        >>> table = compute_features(prices, ["return_1", "rsi_14"])
        >>> table["rsi_14"].shape, table.known_at.shape
        ((2520, 500), (2520, 500))
    """
    check_split_adjusted(prices)
    chosen = _chosen(names)
    read = {column for feature in chosen.values() for column in feature.columns}
    columns = {
        name: np.where(np.isfinite(array), array, np.nan) for name, array in prices.columns().items() if name in read
    }
    for array in columns.values():
        array.flags.writeable = False  # a feature that wrote to it would change the next one's input
    shape = (len(prices), len(prices.tickers))
    for feature in {each.requires: each for each in chosen.values()}.values():
        _check_installed(feature)
    computed = {name: _computed(feature, columns, shape) for name, feature in chosen.items()}
    return Features(
        tickers=prices.tickers,
        at=prices.closes_at,
        columns=computed,
        known_at=np.broadcast_to(prices.closes_at[:, None], shape),
        lookbacks={name: feature.lookback for name, feature in chosen.items()},
        calendar=prices.calendar,
        prices=prices,
    )


def _chosen(names: Sequence[str] | str | None) -> dict[str, Feature]:
    if names is None:
        return dict(contributions(Feature))
    listed = names.split() if isinstance(names, str) else list(names)
    if not listed:
        raise BadRecipe(f"no feature is named: choose from {', '.join(contributions(Feature))}")
    if twice := sorted({name for name in listed if listed.count(name) > 1}):
        raise BadRecipe(f"the feature {twice[0]} is named twice: name each once")
    return {name: contribution(Feature, name) for name in listed}


@lru_cache(maxsize=1024)  # reading what distributions need takes longer than to compute a feature of one ticker
def _check_installed(feature: Feature) -> None:
    feature.check_installed()


def _computed(feature: Feature, columns: Mapping[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    if unknown := sorted(set(feature.columns) - set(COLUMNS)):
        raise PluginError(f"feature {feature.name!r} reads {unknown[0]!r}: a panel has {', '.join(COLUMNS)}")
    values = feature.load()(**{column: columns[column] for column in feature.columns})
    if not isinstance(values, np.ndarray) or values.shape != shape or values.dtype != np.float64:
        got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise PluginError(f"feature {feature.name!r} returned {got} and not float64 {shape}: correct the feature")
    if np.isinf(values).any():
        raise PluginError(f"feature {feature.name!r} returned an infinite value: return NaN where it is undefined")
    if np.isfinite(values[: feature.lookback]).any():
        raise PluginError(
            f"feature {feature.name!r} has a value before bar {feature.lookback}, its lookback: return NaN there"
        )
    return values
