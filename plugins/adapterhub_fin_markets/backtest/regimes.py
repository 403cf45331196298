"""Label each bar bull, bear or sideways by what the market did before it, and measure a strategy in each."""

from __future__ import annotations

from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from adapterhub_fin.plugin import BadRecipe, Options
from adapterhub_fin_markets.backtest.measures import PeriodMeasures, measures
from adapterhub_fin_markets.backtest.vector_form import fill_returns
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import count_usable

BEAR, SIDEWAYS, BULL, UNKNOWN = -1, 0, 1, 2
REGIMES: Final = {"bull": BULL, "sideways": SIDEWAYS, "bear": BEAR, "unknown": UNKNOWN}
_MINUTE: Final = np.timedelta64(60_000_000, "us")
_MINUTES: Final = {"d": 24 * 60, "h": 60, "min": 1}


class RegimeOptions(Options):
    """Hold the window and the bounds that regimes are told by."""

    window: str = Field(
        "60d", pattern=r"^[1-9][0-9]{0,4}(d|h|min)$", description="How far back the market's return is taken, by clock."
    )
    bull: float = Field(0.1, description="The return over the window from which on it is a bull market.")
    bear: float = Field(-0.1, description="The return over the window down from which it is a bear market.")
    of: str | None = Field(None, description="The ticker that is the market; by default the mean return of all.")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.bear >= self.bull:
            raise ValueError(f"bear is {self.bear} and bull {self.bull}: bear must be below bull")
        return self


def label_regimes(prices: Prices, options: RegimeOptions | None = None) -> np.ndarray:
    """Return the regime of each bar, (times,) int8, one of REGIMES: `unknown` where less than a window came before.

    It is told by closes that were known strictly before the bar starts, and so by those that a decision which it fills
    could use. Raises BadRecipe for a market that is no ticker of the prices, and BadPrices as `fill_returns`.
    """
    options = options or RegimeOptions()
    level = np.cumprod(1 + _market(prices, options.of))
    last = count_usable(prices.closes_at, prices.starts_at) - 1
    ends = prices.closes_at[np.maximum(last, 0)]
    first = np.searchsorted(prices.closes_at, ends - _length(options.window), side="right") - 1
    labels = np.full(len(prices), UNKNOWN, np.int8)
    there = (last >= 0) & (first >= 0)
    change = level[last[there]] / level[first[there]] - 1
    labels[there] = np.where(change >= options.bull, BULL, np.where(change <= options.bear, BEAR, SIDEWAYS))
    return labels


def measures_by_regime(
    labels: np.ndarray,
    returns: ArrayLike,
    turnover: ArrayLike | None = None,
    *,
    a_year: float,
    cash_rate: float = 0.0,
    cash: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    net_exposure: ArrayLike | None = None,
    benchmark: ArrayLike | None = None,
) -> dict[str, PeriodMeasures]:
    """Return the measures of the periods of each regime by its name; of one without a period, each has the reason.

    `labels` are those of the periods, (periods,), and all else as in `measures`. The periods of a regime follow each
    other as if no other lay between them, which drawdowns go by. Raises ValueError for lengths that differ.
    """
    exposures = {"exposure": exposure, "net_exposure": net_exposure}
    series = {"returns": returns, "turnover": turnover, **exposures, "benchmark": benchmark, "cash": cash}
    values = {name: np.asarray(item) for name, item in series.items() if item is not None}
    for name, item in values.items():
        if item.shape != labels.shape:
            raise ValueError(f"{name} has shape {item.shape}, and the labels {labels.shape}: give one of each a period")
    by_name = {}
    for name, code in REGIMES.items():
        of = {key: item[labels == code] for key, item in values.items()}
        by_name[name] = measures(of.pop("returns"), **of, a_year=a_year, cash_rate=cash_rate)
    return by_name


def _market(prices: Prices, of: str | None) -> np.ndarray:
    """Return the market's return from each close to the next bar's, by that bar, (times,); 0 for the first."""
    if of is not None and of not in prices.tickers:
        raise BadRecipe(
            f"regimes: of is {of!r}, which the prices don't have: name one of {', '.join(prices.tickers[:9])}"
        )
    earned = fill_returns(prices, "close")[:-1]
    if of is not None:
        earned = earned[:, [prices.tickers.index(of)]]
    elif prices.members is not None:
        earned = np.where(prices.members[:-1], earned, np.nan)
    there = np.isfinite(earned)
    mean = np.where(there, earned, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.append(0.0, mean)


def _length(window: str) -> np.timedelta64:
    number = window.rstrip("dhmin")
    return int(number) * _MINUTES[window[len(number) :]] * _MINUTE
