"""Compute what there was to earn after a decision: the return from its first possible fill, over volatility."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.features.market import change
from adapterhub_fin_markets.features.windows import spread
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.shares import check_split_adjusted
from adapterhub_fin_markets.prices.timing import decided_after, first_fill


@dataclass(frozen=True, eq=False)
class Targets:
    """Hold the target of each decision, (times, tickers) each, NaN and NaT where there is none."""

    decided_at: np.ndarray  # (times,), datetime64[us]: a microsecond after each close
    filled_at: np.ndarray  # when the position is bought
    label_known_at: np.ndarray  # the instant of the last price used: when it is sold
    returns: np.ndarray  # from one to the other
    targets: np.ndarray  # returns over trailing volatility, clipped
    volatility: np.ndarray  # of so many bars, as known at the close, NaN where undefined


def direction_targets(prices: Prices, horizon: int = 5, *, volatility: int = 20, clip: float = 3.0) -> Targets:
    """Compute the target of a decision at each close: the return over `horizon` bars from its first possible fill.

    The fill is the first open strictly later than the decision at which the ticker has a bar, and the sale the first
    such open `horizon` bars later. So bars that follow without a pause (`24/7`, whose next open is the very instant of
    the close) are filled one bar later than those of an exchange. The return is over the standard deviation of the last
    so many returns, times the root of the horizon, and clipped.

    Returns NaN where a price or the volatility is missing or not above zero. A ticker that ends before its sale has no
    target: what a delisting lost is not in it. Raises BadRecipe for a horizon, window or clip that can't be, and
    BadPrices for levels that are not adjusted for their splits.
    """
    check_split_adjusted(prices)
    if horizon < 1 or volatility < 2 or not clip > 0:
        raise BadRecipe(
            f"a target needs a horizon of 1 or more, a volatility over 2 or more and a clip above 0, not {horizon}, "
            f"{volatility} and {clip}"
        )
    decided_at = decided_after(prices.closes_at)
    rows, tickers = len(prices), len(prices.tickers)
    following = _following(prices.open)
    fills = first_fill(prices.starts_at, decided_at)  # (times,)
    bought = np.take_along_axis(following, np.broadcast_to(np.minimum(fills, rows)[:, None], (rows, tickers)), 0)
    sold = np.take_along_axis(following, np.minimum(bought + horizon, rows), 0)
    opens = np.concatenate([np.where(prices.open > 0, prices.open, np.nan), np.full((1, tickers), np.nan)])
    starts = np.append(prices.starts_at.astype("datetime64[us]"), np.datetime64("NaT"))
    returns = np.take_along_axis(opens, sold, 0) / np.take_along_axis(opens, bought, 0) - 1
    scale = spread(change(prices.close, 1), volatility, 1) * np.sqrt(horizon)
    scale = np.where(scale > 0, scale, np.nan)
    targets = np.clip(returns / scale, -clip, clip)
    there = np.isfinite(targets)
    return Targets(
        decided_at=decided_at,
        filled_at=np.where(there, starts[bought], np.datetime64("NaT")),
        label_known_at=np.where(there, starts[sold], np.datetime64("NaT")),
        returns=np.where(there, returns, np.nan),
        targets=targets,
        volatility=scale,
    )


def fit_flat(targets: np.ndarray, share: float = 0.33) -> float:
    """Return the size up to which a target is flat: so large a share of those other than zero, an array (rows,).

    Zeros are set apart: a stable coin's or a halted stock's would move the bound. Fit it to training rows alone.
    Raises BadRecipe where all are zero.
    """
    sizes = np.abs(targets[np.isfinite(targets) & (targets != 0)])
    if not sizes.size:
        raise BadRecipe("all training targets are zero: there is no direction to learn")
    return float(np.quantile(sizes, share))


def directions(targets: np.ndarray, flat_below: float) -> np.ndarray:
    """Return down (0), flat (1) or up (2) of targets (rows,)."""
    return np.where(np.abs(targets) <= flat_below, 1, np.where(targets > 0, 2, 0))


def _following(opens: np.ndarray) -> np.ndarray:
    """Return the first row at or after each in which a ticker opens, (times + 1, tickers); times where none does."""
    rows = len(opens)
    at = np.where(np.isfinite(opens), np.arange(rows)[:, None], rows)
    after = np.minimum.accumulate(at[::-1], axis=0)[::-1]
    return np.concatenate([after, np.full((1, opens.shape[1]), rows)])
