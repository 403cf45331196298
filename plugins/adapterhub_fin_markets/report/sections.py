"""Put a backtest's tables and pictures in the order of the page; a part that can't be made has its reason there."""

from __future__ import annotations

import json
from collections.abc import Iterator

from adapterhub_fin_markets.backtest.ledger import Ledger
from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.report import figures
from adapterhub_fin_markets.report.comparing import NAMES, compared_ledgers, comparison_parts
from adapterhub_fin_markets.report.frame import Frame
from adapterhub_fin_markets.report.months import month_table
from adapterhub_fin_markets.report.page import Part, Section
from adapterhub_fin_markets.report.position_figures import largest, positions
from adapterhub_fin_markets.report.tables import (
    cost_table,
    evidence_table,
    known_table,
    measure_table,
    placebo_table,
    refusal_tables,
    regime_table,
)


def sections_of(result: BacktestResult) -> list[Section]:
    """Return the sections of the page, pictures drawn."""
    frame = Frame(result.strict)
    others = compared_ledgers(result)
    return [
        Section("measures", "Measures", [measure_table(result)]),
        Section("equity", "Equity", list(_equity(frame, result, others))),
        Section("drawdown", "Drawdown", [_drawdown(frame, result, others)]),
        Section("positions", "Positions and signals", [_positions(frame, result)]),
        Section("costs", "Turnover and costs", [_turnover(frame, result), cost_table(result)]),
        Section("months", "Returns by month", [month_table(result)]),
        Section("regimes", "By regime", list(_regimes(frame, result))),
        Section("trials", "Trials and evidence", list(_evidence(frame, result))),
        Section("refused", "Refused rows, unfilled orders", list(refusal_tables(result))),
        Section("known-by", "What each number was known by", [known_table(result)]),
        Section("recipe", "Recipe", [_recipe(result)]),
    ]


def _equity(frame: Frame, result: BacktestResult, others: dict[str, Ledger]) -> Iterator[Part]:
    band = result.judgement.band
    note = "What 1 became, after costs."
    if band is not None:
        note += " At each date, 95 % of resamples of the returns lie in the band; a whole path leaves it more often."
    yield frame.part("Equity", "equity", note, figures.equity(frame, result.ledger, band, others))
    if band is None:
        yield Part("The band of equity", missing=result.judgement.reasons.get("band", "it was not computed"))
    yield from comparison_parts(result)


def _drawdown(frame: Frame, result: BacktestResult, others: dict[str, Ledger]) -> Part:
    holding = {name: ledger for name, ledger in others.items() if name == NAMES["hold"]}
    note = "How far equity lies below its highest level before; the start counts."
    return frame.part("Drawdown", "drawdown", note, figures.drawdown(frame, result.ledger, holding))


def _positions(frame: Frame, result: BacktestResult) -> Part:
    columns, share = largest(result.ledger.weights)
    title, number = "Positions and signals on the price", len(result.prices.tickers)
    if not len(columns):
        return Part(title, missing="there was no position")
    shown = f"All {number:,} tickers"
    if number > len(columns):
        shown = f"The {len(columns):,} of {number:,} tickers with the largest mean exposure, {100 * share:.0f} % of all"
    note = (
        f"{shown}: the close, signals past the threshold at the close that they were decided by, and the position as a "
        "share of equity, long above the line and short (hatched) below it."
    )
    return frame.part(title, "positions", note, positions(frame, result, columns))


def _turnover(frame: Frame, result: BacktestResult) -> Part:
    note = "What was traded in each bar, and what costs and income came to by then."
    return frame.part("Turnover and costs", "costs", note, figures.turnover_and_costs(frame, result.ledger))


def _regimes(frame: Frame, result: BacktestResult) -> Iterator[Part]:
    labels = result.judgement.labels
    if labels is None or not result.judgement.regimes:
        yield Part("Regimes", missing=result.judgement.reasons.get("regimes", "the recipe leaves them out"))
        return
    note = "Equity over bull (grey) and bear (hatched) markets, by returns before each bar; the rest is white."
    yield frame.part("Equity by regime", "regimes", note, figures.regimes(frame, result.ledger, labels))
    yield regime_table(result)


def _evidence(frame: Frame, result: BacktestResult) -> Iterator[Part]:
    judgement = result.judgement
    yield evidence_table(judgement.evidence)
    trials = judgement.trials
    if len(trials.ratios) > 1:
        ratios = trials.ratios * result.measures.a_year**0.5
        figure = figures.trials(frame, result.measures.sharpe, ratios, judgement.evidence.expected_maximum)
        yield frame.part("Trials", "trials", f"{trials.count:,} recipes on spans that overlap this one.", figure)
    else:
        yield Part("A picture of trials", missing="fewer than two of them have a Sharpe ratio")
    test = judgement.placebo
    if test is None:
        yield Part("Signals at the wrong time", missing=judgement.reasons.get("placebo", "the recipe leaves them out"))
        return
    note = "The Sharpe ratios of all signals moved by one number of periods around the end, and that at their own time."
    yield frame.part("Signals at the wrong time", "placebo", note, figures.placebo(frame, test.sharpe, test.shifted))
    yield placebo_table(test)


def _recipe(result: BacktestResult) -> Part:
    return Part("As it was run", text=json.dumps(result.recipe.document(), indent=2, ensure_ascii=False))
