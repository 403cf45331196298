"""Show the strategies that a backtest is set beside."""

from __future__ import annotations

from collections.abc import Iterator

from adapterhub_fin_markets.backtest.intervals import NAMES as DRAWN
from adapterhub_fin_markets.backtest.ledger import Ledger
from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.report.cells import Cell, ratio
from adapterhub_fin_markets.report.page import Part
from adapterhub_fin_markets.report.tables import COMPARED, FORMATS, interval_cell, value_cell

NAMES = {"hold": "holding", "hold_exposure": "holding, same exposure", "flat": "flat", "late": "one bar late"}


def compared_ledgers(result: BacktestResult) -> dict[str, Ledger]:
    """Return the ledgers of the comparisons by the names that pictures give them."""
    return {NAMES.get(name, name): of.ledger for name, of in result.comparisons.by_name.items() if name != "flat"}


def comparison_parts(result: BacktestResult) -> Iterator[Part]:
    """Yield the table of comparisons, and what one bar's delay changes."""
    comparisons = result.comparisons
    if not comparisons.by_name:
        yield Part("Comparisons", missing="the recipe leaves them out")
        return
    columns = ("strategy", "it is", *(FORMATS[name][0] for name in COMPARED))
    rows: list[list[Cell]] = [
        ["this one", "the recipe's", *(value_cell(name, result.measures) for name in COMPARED)],
        *(
            [NAMES.get(name, name), of.summary, *(value_cell(measure, of.measures) for measure in COMPARED)]
            for name, of in comparisons.by_name.items()
        ),
    ]
    yield Part("Beside it", "", columns, rows, file="comparisons")
    yield _intervals(result)
    if comparisons.change is not None:
        late: list[list[Cell]] = [
            [
                "change of the Sharpe ratio",
                ratio(comparisons.change),
                interval_cell(comparisons.interval, ratio, comparisons.reason or "undefined"),
            ]
        ]
        yield Part("One bar late", " ".join(comparisons.flags), ("what", "value", "95 % interval"), late, file="late")
    elif "late" in comparisons.by_name:
        yield Part("The change by one bar's delay", missing=comparisons.reason or "it is undefined")


def _intervals(result: BacktestResult) -> Part:
    """Return the intervals of this strategy and of those beside it, each of its own resamples."""
    every = {"this one": result.judgement.intervals}
    every |= {NAMES.get(name, name): of.intervals for name, of in result.comparisons.by_name.items()}
    rows: list[list[Cell]] = []
    for name, of in every.items():
        drawn = ((getattr(of, measure), FORMATS[measure][1], of.reasons.get(measure, "")) for measure in DRAWN)
        rows.append([name, *(interval_cell(*each) for each in drawn)])
    first = result.judgement.intervals
    note = (
        f"{100 * first.level:g} % intervals by the stationary bootstrap, {first.resamples:,} resamples of each one's "
        "own periods: that two of them overlap does not say whether one strategy is better."
    )
    columns = ("strategy", *(FORMATS[measure][0] for measure in DRAWN))
    return Part("", note, columns, rows, file="comparison-intervals")
