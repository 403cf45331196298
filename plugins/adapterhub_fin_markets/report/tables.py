"""Put a backtest's numbers into tables: each with its interval, or the reason why it has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from adapterhub_fin.stats.bootstrap import Interval
from adapterhub_fin_markets.backtest.admission import REASONS
from adapterhub_fin_markets.backtest.evidence import SharpeEvidence
from adapterhub_fin_markets.backtest.measures import PeriodMeasures
from adapterhub_fin_markets.backtest.placebo import ShiftedPlacebo
from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.report.cells import NONE, Cell, Number, count, listed, money, percent, probability, ratio
from adapterhub_fin_markets.report.figures import costs_of
from adapterhub_fin_markets.report.page import Part

FORMATS: Final[Mapping[str, tuple[str, Callable[[float], Number]]]] = {
    "total_return": ("total return", percent),
    "annual_return": ("annual return", percent),
    "volatility": ("volatility, annual", percent),
    "sharpe": ("Sharpe ratio, annual", ratio),
    "sortino": ("Sortino ratio, annual", ratio),
    "calmar": ("Calmar ratio", ratio),
    "max_drawdown": ("largest drawdown", percent),
    "drawdown_periods": ("longest time below a peak, periods", count),
    "win_rate": ("periods that gained", percent),
    "win_rate_active": ("of those with a return, gained", percent),
    "turnover": ("turnover, a period", percent),
    "annual_turnover": ("turnover, a year", percent),
    "exposure": ("exposure, mean", percent),
    "net_exposure": ("net exposure, mean", percent),
    "alpha": ("alpha to holding, annual", percent),
    "beta": ("beta to holding", ratio),
}
COMPARED: Final = ("total_return", "annual_return", "sharpe", "max_drawdown", "turnover", "exposure")
_DONE: Final = frozenset({"turnover", "annual_turnover", "exposure", "net_exposure"})
_ONCE: Final = "none: what happened once; the annual return has the interval"
_REASONS: Final = {"total_return": _ONCE, **dict.fromkeys(_DONE, "none: what was done, not an estimate")}
_NOT_DRAWN: Final = "none: not resampled"


def value_cell(name: str, values: PeriodMeasures) -> Cell:
    """Return a measure, or `none` and its reason."""
    value = values.values()[name]
    return FORMATS[name][1](value) if value is not None else f"{NONE}: {values.reasons.get(name, 'undefined')}"


def interval_cell(interval: Interval | None, shape: Callable[[float], Number], reason: str) -> Cell:
    """Return both ends of an interval, or `none` and the reason."""
    if interval is None:
        return f"{NONE}: {reason}"
    return (shape(interval[0]), " to ", shape(interval[1]))


def measure_table(result: BacktestResult) -> Part:
    """Return the table of all measures with their intervals."""
    intervals = result.judgement.intervals
    rows: list[list[Cell]] = []
    for name, (title, shape) in FORMATS.items():
        drawn = getattr(intervals, name, None)
        if drawn is None:
            reason = intervals.reasons.get(name)
            cell: Cell = f"{NONE}: {reason}" if reason else _REASONS.get(name, _NOT_DRAWN)
            if result.measures.values()[name] is None:
                cell = f"{NONE}: there is no value"
        else:
            cell = interval_cell(drawn, shape, "")
        rows.append([title, value_cell(name, result.measures), cell])
    level = f"{100 * intervals.level:g} %"
    block = "" if intervals.block is None else f" of blocks of {intervals.block:.3g} periods on average"
    note = (
        f"{result.measures.periods:,} periods, {result.measures.a_year:g} a year. Ratios are over cash at "
        f"{100 * result.recipe.rules.cash_rate:g} % a year. Intervals, of three measures: stationary bootstrap{block}, "
        f"{intervals.resamples:,} resamples, seed {intervals.seed}."
    )
    return Part("", note, ("measure", "value", f"{level} interval"), rows, file="measures")


def regime_table(result: BacktestResult) -> Part:
    """Return the measures by regime."""
    rows: list[list[Cell]] = []
    for name, values in result.judgement.regimes.items():
        cells = [value_cell(measure, values) for measure in COMPARED]
        rows.append([name, count(values.periods), *cells])
    note = (
        "A regime is told by the market's past return alone. Its periods are taken one after another, as if none lay "
        "between. No number here has an interval: blocks of periods that did not follow each other can't be drawn."
    )
    return Part("", note, ("regime", "periods", *(FORMATS[name][0] for name in COMPARED)), rows, file="by-regime")


def cost_table(result: BacktestResult) -> Part:
    """Return what costs and income came to, in money and as a share of the capital."""
    capital = result.recipe.rules.capital
    rows: list[list[Cell]] = [
        [name, money(float(booked.sum())), percent(float(booked.sum()) / capital)]
        for name, booked in costs_of(result.ledger).items()
    ]
    note = "What was booked has no interval: it is what these orders cost, to the cent, and estimates nothing."
    currency = result.prices.currency or "money"
    return Part("", note, ("what", f"in all, {currency}", "of the capital"), rows, file="costs")


EVIDENCE: Final[Mapping[str, tuple[str, Callable[[float], Number]]]] = {
    "probability": ("probability that the true Sharpe ratio is above 0 (PSR)", probability),
    "deflated": ("probability that it is above what so many trials show by chance (DSR)", probability),
    "expected_maximum": ("annual Sharpe ratio that so many trials without skill show", ratio),
    "haircut": ("annual Sharpe ratio that Bonferroni's correction leaves", ratio),
    "minimum_periods": ("periods that would show a ratio above 0 (minimum track record)", count),
    "minimum_years": ("the same in years", ratio),
}


def evidence_table(evidence: SharpeEvidence) -> Part:
    """Return what speaks for the Sharpe ratio, given how many trials there were."""
    rows: list[list[Cell]] = []
    for name, (title, shape) in EVIDENCE.items():
        value = getattr(evidence, name)
        rows.append([title, f"{NONE}: {evidence.reasons.get(name, 'undefined')}" if value is None else shape(value)])
    note = (
        f"Of {evidence.periods:,} periods, at a level of {100 * evidence.level:g} %. What is made of the Sharpe "
        "ratio's own error has no interval. PBO and the test of superior ability are of a sweep of recipes, not of one."
    )
    return Part("", note, ("what", "value"), rows, file="evidence")


def placebo_table(test: ShiftedPlacebo) -> Part:
    """Return how signals at the wrong time did."""
    low, middle, high = np.quantile(test.shifted, [0.05, 0.5, 0.95]).tolist()
    rows: list[list[Cell]] = [
        ["p, one-sided", probability(test.p)],
        ["Sharpe ratio per period, at their own time", probability(test.sharpe)],
        ["of the shifted, median", probability(middle)],
        ["of the shifted, 5 % to 95 %", interval_cell((low, high), probability, "")],
    ]
    note = (
        f"p is (1 + shifts that do as well) / (1 + {len(test.shifted):,} shifts), seed {test.seed}; it has no interval "
        "of its own. The ratios are of weights times returns, without the ledger's drift and rounding."
    )
    return Part("", note, ("what", "value"), rows, file="placebo")


def refusal_tables(result: BacktestResult, most: int = 20) -> Iterator[Part]:
    """Yield how many rows were refused and orders not filled, by reason, and the first signals that were refused."""
    refused: list[list[Cell]] = [
        [reason, REASONS.get(reason, reason), count(rows)] for reason, rows in result.refused.items()
    ]
    if refused:
        yield Part("Refused rows", "", ("reason", "it is that", "rows"), refused, file="refused")
    else:
        yield Part("Refused rows", "No row was refused.")
    of = result.ledger.unfilled_tickers
    unfilled: list[list[Cell]] = [
        [reason, count(orders), listed(dict([*of.get(reason, {}).items()][:most]))]
        for reason, orders in result.ledger.unfilled.items()
    ]
    if unfilled:
        note = "Decisions and orders that were not filled, or in part."
        yield Part("Unfilled orders", note, ("reason", "orders", "of tickers"), unfilled, file="unfilled")
    else:
        yield Part("Unfilled orders", "Every order was filled.")
    rows: list[list[Cell]] = [
        [count(item.row + 1), item.ticker, f"{item.at}Z", item.sentence] for item in result.refusals[:most]
    ]
    if rows:
        note = f"The first {len(rows):,} of {len(result.refusals):,}; look-ahead was allowed, and they were used."
        yield Part("Signals that knew too much", note, ("row", "ticker", "decided at", "why"), rows, file="refusals")


def known_table(result: BacktestResult) -> Part:
    """Return by when each input was known."""
    rows = [[item.what, item.until, item.source] for item in result.known_by]
    return Part("", "", ("input", "known by, at the latest", "where that comes from"), rows, file="known-by")
