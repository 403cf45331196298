"""Join each prediction with what came after it: a target that begins strictly later than the decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adapterhub_fin import LookAhead
from adapterhub_fin.plugin import BadCorpus
from adapterhub_fin_markets.features.targets import direction_targets
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.stored import prices_digest
from adapterhub_fin_markets.prices.timing import first_fill, usable
from adapterhub_fin_markets.scoring.predictions import Predictions
from adapterhub_fin_markets.scoring.rows import match
from adapterhub_fin_markets.scoring.table_columns import TableColumns, check_order

NEVER: Final = np.datetime64("NaT", "us")
_LAST: Final = np.datetime64(2**62, "us")  # later than all: a target whose end is beyond the table


@dataclass(frozen=True, eq=False)
class JoinedTargets:
    """Hold the target of each prediction, (rows,) each: NaN and NaT where there is none."""

    value: np.ndarray
    begins_at: np.ndarray  # the instant of its first price
    ends_at: np.ndarray | None  # the instant of its last one; None: unknown
    facts: Mapping[str, Any]  # what a report must say of them


def targets_of_prices(predictions: Predictions, prices: Prices, horizon: int, *, unscaled: bool) -> JoinedTargets:
    """Return the target of `direction_targets` for each prediction: from its first possible fill on.

    A decision between two closes has the target of the later one, where its first fill is the same. Raises what
    `direction_targets` raises, BadCorpus for a ticker without prices, and LookAhead for a fill that is not later.
    """
    made = direction_targets(prices, horizon)
    column = _columns(predictions, prices.tickers, "the prices")
    fills = first_fill(prices.starts_at, made.decided_at)
    row = np.searchsorted(fills, first_fill(prices.starts_at, predictions.at))
    inside = row < len(prices)
    cells = np.minimum(row, len(prices) - 1), column

    def taken(panel: np.ndarray, none: Any) -> np.ndarray:
        return np.asarray(np.where(inside, panel[cells], none))

    value = taken(made.returns if unscaled else made.targets, np.nan)
    begins_at = taken(made.filled_at, NEVER)
    check_later(predictions, begins_at, "prices")
    facts = {"horizon": horizon, "universe": prices.universe, "prices": prices_digest(prices)}
    return JoinedTargets(value, begins_at, taken(made.label_known_at, NEVER), facts)


def targets_of_table(
    predictions: Predictions, table: TableColumns, horizon: int | None, *, following: bool
) -> JoinedTargets:
    """Return the target of each prediction from a table: that of its own time, or with `following` the next to begin.

    A target begins at `begins_at`, and where the table lacks that column at its `time`, a date at its first instant. It
    ends at `ends_at`, or `horizon` distinct beginnings later. Raises BadCorpus for a table that can't be read and a
    ticker without targets, and LookAhead for a target that doesn't begin strictly after the decision.
    """
    time, begins, ends = table.need("time"), table.find("begins_at"), table.find("ends_at")
    tickers, ticker = table.tickers()
    values = table.numbers(table.need("value"), empty=True)
    decided = table.instants(time)
    check_order(decided, ticker, tickers, table.file)
    starts = table.instants(begins or time, late=False)
    column = _columns(predictions, tickers, table.file)
    distinct = np.unique(starts)
    if following:
        later = first_fill(distinct, predictions.at)
        number = np.searchsorted(distinct, starts)
        check_order(starts, ticker, tickers, table.file)
    else:
        both = np.unique(np.concatenate([decided, predictions.at]), return_inverse=True)[1]
        number, later = both[: len(decided)], both[len(decided) :]
    at = match(ticker, number, column, later)
    there = (at >= 0) & np.isfinite(values[at])
    begins_at = np.where(there, starts[at], NEVER)
    check_later(predictions, begins_at, table.file, at, stated=begins is not None or following)
    last: np.ndarray | None = None
    if ends is not None:
        last = table.instants(ends)
    elif horizon is not None:
        last = np.append(distinct, _LAST)[np.minimum(np.searchsorted(distinct, starts) + horizon, len(distinct))]
    facts = {"horizon": horizon, "without_predictions": sorted(set(tickers) - set(predictions.tickers))}
    ends_at = None if last is None else np.where(there, last[at], NEVER)
    return JoinedTargets(np.where(there, values[at], np.nan), begins_at, ends_at, facts)


def check_later(
    predictions: Predictions,
    begins_at: np.ndarray,
    file: str,
    of: np.ndarray | None = None,
    *,
    stated: bool = True,
) -> None:
    """Raise LookAhead where a target begins, (rows,), at the decision or before it; NaT is none."""
    early = ~np.isnat(begins_at) & ~usable(predictions.at, begins_at)
    if not early.any():
        return
    row = int(np.flatnonzero(early)[0])
    where = file if of is None else f"{file}, row {of[row] + 1}"
    mend = (
        "join only what begins after the decision"
        if stated
        else "name the column of its first price's instant as begins_at, or join the next target (--next)"
    )
    raise LookAhead(
        f"{predictions.file}, row {row + 1}: {predictions.tickers[predictions.ticker[row]]} is decided at "
        f"{predictions.at[row]}Z, and its target ({where}) begins at {begins_at[row]}Z, not later; so do "
        f"{int(early.sum()) - 1:,} others: {mend}"
    )


def _columns(predictions: Predictions, tickers: tuple[str, ...], of: str) -> np.ndarray:
    """Return each prediction's number in other tickers, (rows,). Raises BadCorpus for one that is not there."""
    number = {name: index for index, name in enumerate(tickers)}
    if missing := [name for name in predictions.tickers if name not in number]:
        others = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise BadCorpus(
            f"{predictions.file} has predictions of {missing[0]}{others}, of which {of} has none: add them, or remove "
            "these predictions"
        )
    column: np.ndarray = np.array([number[name] for name in predictions.tickers])[predictions.ticker]
    return column
