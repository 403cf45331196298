"""Backtests on bars that were repaired, and on some of a table's tickers."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapterhub_fin.errors import BadRecipe, LookAhead
from adapterhub_fin_markets.backtest.run import backtest
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.instruments import Instruments
from adapterhub_fin_markets.prices.stored import write_prices
from adapterhub_fin_markets.prices.tables import read_prices
from adapterhub_fin_markets.report.writing import write_report

LATER = "bars were repaired with what came after the first decision: missing-split"
GREY = "6 bars were repaired with what came later: missing-split"


def change_bars(path: Path, ticker: str, change: Callable[[int, list[float]], list[float]], split_at: int = -1) -> None:
    """Rewrite a ticker's bars by a function of the bar's number and its prices and volume; list a split of 2:1."""
    with path.open() as file:
        header, *rows = csv.reader(file)
    number = 0
    for row in rows:
        row.append("1")
        if row[1] == ticker:
            row[2:7] = [str(value) for value in change(number, [float(cell) for cell in row[2:7]])]
            row[7] = "2" if number == split_at else "1"
            number += 1
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[*header, "Stock Splits"], *rows])


@pytest.fixture
def repaired(pair: Any) -> Any:
    """Return material whose bars 20 to 25 of AAA a split of bar 30 was not applied to, until they were repaired."""

    def double(number: int, cells: list[float]) -> list[float]:
        return [cell * (2 if 20 <= number <= 25 else 1) for cell in cells]

    change_bars(pair.folder / "prices.csv", "AAA", double, split_at=30)
    prices = read_prices(pair.folder / "prices.csv", calendar="24/7", split_adjusted=True, repair=["missing-split"])
    assert prices.repairs == {"missing-split": 6}
    write_prices(prices, pair.folder / "prices.parquet")
    return pair


def stored(pair: Any, **parts: Any) -> dict[str, Any]:
    return pair.recipe(**parts) | {"prices": {"path": str(pair.folder / "prices.parquet")}}


def red(result: Any) -> list[str]:
    return [mark.sentence for mark in result.marks if mark.red]


def test_bars_that_later_ones_repaired_are_red(repaired: Any, tmp_path: Path) -> None:
    result = backtest(stored(repaired))
    assert not result.strict and red(result) == [f"6 {LATER}"]
    assert result.record()["strict"] is False and {"sentence": f"6 {LATER}", "red": True} in result.record()["marks"]
    page = write_report(result, tmp_path / "report").read_text()
    assert f"6 {LATER}" in page and 'class="lookahead"' in page


@pytest.mark.parametrize(("since", "strict"), [("2020-02-15", False), ("2020-02-16", True)])
def test_a_repair_that_was_known_before_the_decisions_is_a_note(repaired: Any, since: str, strict: bool) -> None:
    """Bar 25 is mended by what lies within twenty bars of it: bar 45 closes as 16 February begins."""
    result = backtest(stored(repaired, test={"from": since}))
    assert result.strict is strict and (GREY in [mark.sentence for mark in result.marks]) is strict


def test_repaired_bars_that_nobody_trades_or_that_come_after_the_test_are_no_matter(repaired: Any) -> None:
    before = backtest(stored(repaired, test={"until": "2020-01-18"}))
    assert before.strict, "the last fill is at bar 18"
    lines = (repaired.folder / "news.csv").read_text().splitlines()
    (repaired.folder / "news.csv").write_text("\n".join(line for line in lines if ",AAA," not in line) + "\n")
    other = backtest(stored(repaired))
    assert other.strict and not [mark.sentence for mark in other.marks if "repaired" in mark.sentence]


def straight(number: int, cells: list[float]) -> list[float]:
    """Return bars 20 to 30 on a straight line."""
    return [100.0 + number, 100.0 + number, 100.0 + number, 100.0 + number, 0] if 20 <= number <= 30 else cells


def test_tickers_of_a_table_can_be_chosen(pair: Any) -> None:
    change_bars(pair.folder / "prices.csv", "BBB", straight)
    with pytest.raises(BadPrices, match="straight line"):
        backtest(pair.recipe())
    document = pair.recipe()
    document["prices"]["tickers"] = ["AAA"]
    result = backtest(document)
    assert result.strict and result.prices.tickers == ("AAA",) and result.ledger.unfilled["not-in-prices"]
    assert "the recipe chooses the tickers: AAA" in [mark.sentence for mark in result.marks]
    document["prices"]["tickers"] = ["BBB"]
    with pytest.raises(BadPrices, match="straight line"):
        backtest(document)
    document["prices"]["tickers"] = ["AAA", "CCC"]
    with pytest.raises(BadPrices, match="the tables have no bar of CCC: choose among AAA, BBB"):
        backtest(document)
    document["prices"]["tickers"] = []
    with pytest.raises(BadRecipe, match="tickers"):
        backtest(document)


def test_emptied_bars_of_a_ticker_that_is_not_traded_refuse_nothing(pair: Any) -> None:
    change_bars(pair.folder / "prices.csv", "BBB", straight)
    prices = read_prices(pair.folder / "prices.csv", calendar="24/7", repair=["interpolated"])
    write_prices(prices, pair.folder / "prices.parquet")
    with pytest.raises(LookAhead, match="interpolated bars were emptied"):
        backtest(stored(pair))
    document = stored(pair)
    document["prices"]["tickers"] = ["AAA"]
    lines = (pair.folder / "news.csv").read_text().splitlines()
    (pair.folder / "news.csv").write_text("\n".join(line for line in lines if ",BBB," not in line) + "\n")
    assert backtest(document).strict


def test_chosen_bars_are_those_that_were_read_of_all(pair: Any, tmp_path: Path) -> None:
    path = pair.folder / "prices.csv"
    both, one = read_prices(path, calendar="24/7"), read_prices(path, calendar="24/7", tickers=["BBB"])
    for name in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(one, name), getattr(both, name)[:, 1:])
    assert np.array_equal(one.closes_at, both.closes_at) and one.tickers == ("BBB",)
    (tmp_path / "ids.csv").write_text(
        "id,ticker,start,end\nold,AAA,2019-01-01,2020-02-01\nnew,AAA,2020-02-01,\nb,BBB,2019-01-01,\n"
    )
    ids = Instruments.read(tmp_path / "ids.csv")
    new = read_prices(path, calendar="24/7", instruments=ids, tickers=["new"])
    assert new.tickers == ("new",) and np.array_equal(new.close[31:, 0], both.close[31:, 0])
    with pytest.raises(BadPrices, match="no bar of AAA: choose among b, new, old"):
        read_prices(path, calendar="24/7", instruments=ids, tickers=["AAA"])
