"""Show the strategies that a backtest is set beside."""

from __future__ import annotations

from collections.abc import Iterator

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
    note = "Intervals are of this strategy's measures, above; the others stand beside it to be compared, without one."
    yield Part("Beside it", note, columns, rows, file="comparisons")
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
