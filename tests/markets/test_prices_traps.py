"""What is found in each file of real prices with a fault, and in the clean ones: nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adapterhub_fin_markets.prices.adjust import adjust
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.findings import KINDS
from adapterhub_fin_markets.prices.tables import check_prices, read_prices

# file, calendar, kinds (a + is refused) and how many of each
TABLE: list[tuple[str, str, dict[str, int]]] = [
    ("price_traps/aapl_synthetic.csv", "XNYS", {"+no-session": 233}),
    (
        "price_traps/spy_two_vendors.csv",
        "XNYS",
        {"+duplicate-bar": 1, "+two-adjustments": 1, "mixed-zones": 1, "missing-bars": 1},
    ),
    ("price_traps/wti-daily.csv", "weekdays", {"+not-positive": 1, "missing-bars": 348}),
    ("yfinance_repairs/4063-T-1d-bad-div.csv", "XTKS", {"+wrong-dividend": 1}),
    ("yfinance_repairs/4063-T-1d-bad-div-fixed.csv", "XTKS", {}),
    ("yfinance_repairs/8TRA-DE-1d-missing-div-adjust.csv", "XETR", {"+missing-dividend": 1, "missing-bars": 1}),
    ("yfinance_repairs/8TRA-DE-1d-missing-div-adjust-fixed.csv", "XETR", {"missing-bars": 1}),
    ("yfinance_repairs/AET-L-1d-100x-error.csv", "XLON", {"+hundredfold": 1}),
    ("yfinance_repairs/AET-L-1d-100x-error-fixed.csv", "XLON", {}),
    ("yfinance_repairs/ALPHA-PA-1d-bad-stock-split.csv", "XPAR", {"+missing-split": 1}),
    ("yfinance_repairs/ALPHA-PA-1d-bad-stock-split-fixed.csv", "XPAR", {}),
    ("yfinance_repairs/DODFX-1d-cg-double-count.csv", "XNYS", {"+double-dividend": 1}),
    ("yfinance_repairs/DODFX-1d-cg-double-count-fixed.csv", "XNYS", {}),
    ("yfinance_repairs/EWG-1d-no-bad-divs.csv", "XNYS", {}),
    ("yfinance_repairs/KAP-IL-1d-bad-div.csv", "XLON", {"+double-dividend": 1}),
    ("yfinance_repairs/KAP-IL-1d-bad-div-fixed.csv", "XLON", {}),
    ("yfinance_repairs/SSW-JO-1d-100x-error.csv", "XJSE", {"+hundredfold": 1, "outside-range": 4}),
    ("yfinance_repairs/SSW-JO-1d-100x-error-fixed.csv", "XJSE", {"outside-range": 4}),
]
CLEAN = ["GLD", "QQQ", "SPY", "TLT"]
ZERO_LOWS = "15.WETH-USD"  # 2021-11-16 and 17 have lows of 0, and a high of eight times the price


def kinds(path: Any, calendar: str, **options: Any) -> dict[str, int]:
    found = check_prices(path, calendar=calendar, **options)
    return dict(Counter(("+" if finding.refused else "") + finding.kind for finding in found))


@pytest.mark.parametrize(("file", "calendar", "expected"), TABLE, ids=[row[0] for row in TABLE])
def test_what_is_found_in_each_file(shared: Path, file: str, calendar: str, expected: dict[str, int]) -> None:
    path = shared / "data" / file
    assert kinds(path, calendar) == expected
    refused = {kind[1:] for kind in expected if kind.startswith("+")}
    if refused:
        with pytest.raises(BadPrices) as caught:
            read_prices(path, calendar=calendar)
        assert {finding.kind for finding in caught.value.findings} == refused
        assert read_prices(path, calendar=calendar, allow=sorted(refused)).findings
    else:
        assert len(read_prices(path, calendar=calendar))


def test_every_file_at_hand_is_in_the_table(shared: Path) -> None:
    files = {f"{folder}/{path.name}" for folder in ("price_traps", "yfinance_repairs")
             for path in (shared / "data" / folder).glob("*.csv")}  # fmt: skip
    assert files == {file for file, _, _ in TABLE}


@pytest.mark.parametrize("ticker", CLEAN)
def test_nothing_is_found_in_clean_prices(shared: Path, ticker: str) -> None:
    assert kinds(shared / "data" / "etf_prices" / f"{ticker}.csv", "XNYS") == {}


def test_real_jumps_of_coins_are_left_alone_and_a_low_of_zero_is_not(shared: Path) -> None:
    found = check_prices(shared / "data" / "coins", calendar="24/7")
    assert [(finding.kind, finding.ticker, str(finding.at)[:10]) for finding in found] == [
        ("not-positive", ZERO_LOWS, "2021-11-17"),
        ("not-positive", ZERO_LOWS, "2021-11-18"),
    ]
    doge = read_prices(shared / "data" / "coins" / "9.DOGE-USD.csv", calendar="24/7")
    assert np.nanmax(doge.close[1:] / doge.close[:-1]) > 4.5
    for folder, calendar in (("stocknet/prices", "XNYS"), ("market_api/BTCUSDT_1d.csv", "24/7")):
        assert kinds(shared / "data" / folder, calendar) == {}


@pytest.mark.parametrize(
    ("file", "calendar", "repair", "bars", "column"),
    [
        ("8TRA-DE-1d-missing-div-adjust", "XETR", "missing-dividend", 1, "adj_close"),
        ("DODFX-1d-cg-double-count", "XNYS", "double-dividend", 1, "adj_close"),
        ("KAP-IL-1d-bad-div", "XLON", "double-dividend", 1, "adj_close"),
        ("4063-T-1d-bad-div", "XTKS", "wrong-dividend", 1, "dividends"),
        ("AET-L-1d-100x-error", "XLON", "hundredfold", 9, "close"),
        ("SSW-JO-1d-100x-error", "XJSE", "hundredfold", 7, "close"),
        ("ALPHA-PA-1d-bad-stock-split", "XPAR", "missing-split", 1, "close"),
    ],
)
def test_a_repair_gives_the_fixed_file(
    shared: Path, file: str, calendar: str, repair: str, bars: int, column: str
) -> None:
    folder = shared / "data" / "yfinance_repairs"
    prices = read_prices(folder / f"{file}.csv", calendar=calendar, repair=[repair])
    fixed = read_prices(folder / f"{file}-fixed.csv", calendar=calendar)
    with np.errstate(invalid="ignore"):  # most days have no dividend
        ratio = getattr(prices, column) / getattr(fixed, column)
    if repair == "hundredfold":  # whether pounds or pence are right, no table says: one level throughout is what counts
        ratio = ratio / ratio[np.flatnonzero(~np.isnan(ratio[:, 0]))[0]]
    np.testing.assert_allclose(ratio[~np.isnan(ratio)], 1.0, rtol=2e-4)
    assert prices.repairs == {repair: bars} and prices.flags[repair].sum() == bars
    assert KINDS[repair][1] is not None


def test_an_interpolated_gap_is_found_and_emptied(shared: Path) -> None:
    table = pd.read_csv(shared / "data" / "etf_prices" / "SPY.csv").iloc[:300].copy()
    columns = ["Open", "High", "Low", "Close", "Volume"]
    table[columns] = table[columns].astype(float)
    for first, last in ((50, 53), (120, 121)):
        table.loc[first : last - 1, columns] = np.nan
    table[columns] = table[columns].interpolate()
    assert kinds(table, "XNYS") == {"+interpolated": 2}
    prices = read_prices(table, calendar="XNYS", repair=["interpolated"])
    assert prices.repairs == {"interpolated": 4}
    assert np.flatnonzero(np.isnan(prices.close[:, 0])).tolist() == [50, 51, 52, 120]


def test_levels_are_those_of_before_whatever_comes_after(shared: Path) -> None:
    table = pd.read_csv(shared / "data" / "yfinance_repairs" / "SSW-JO-1d-100x-error.csv").sort_values("Date")
    early, later = (read_prices(rows, calendar="XJSE", repair=["hundredfold"]) for rows in (table.iloc[:25], table))
    np.testing.assert_array_equal(early.close, later.close[: len(early)])


def test_dividends_adjust_split_levels_to_the_recorded_adjusted_close(shared: Path) -> None:
    """EWG's adjusted close, and DODFX's where its doubled capital gain is repaired, from their dividends alone."""
    folder = shared / "data" / "yfinance_repairs"
    for file, repair in (("EWG-1d-no-bad-divs.csv", []), ("DODFX-1d-cg-double-count.csv", ["double-dividend"])):
        prices = read_prices(folder / file, calendar="XNYS", repair=repair)
        adjusted = adjust(prices)
        assert prices.adj_close is not None
        np.testing.assert_allclose(adjusted.close, prices.adj_close, rtol=1e-5)
    assert prices.split_adjusted and adjusted.adjusted_as_of == "2025-12-18"


@pytest.mark.parametrize(("volume", "found"), [("zero", 1), ("none", 1), ("interpolated", 1), ("real", 0)])
def test_a_straight_line_counts_where_volume_does_not_contradict_it(volume: str, found: int) -> None:
    draw = np.random.default_rng(0)
    close = 50 * np.exp(np.cumsum(draw.normal(0, 0.02, 40)))
    table = pd.DataFrame(
        {
            "Date": pd.bdate_range("2024-03-11", periods=40).strftime("%Y-%m-%d"),
            "Open": close * 0.999,
            "High": close * 1.01,
            "Low": close * 0.98,
            "Close": close,
            "Volume": draw.integers(1000, 9000, 40).astype(float),
        }
    )
    gap = slice(10, 12)  # label-based: three bars
    columns = ["Open", "High", "Low", "Close", *(["Volume"] if volume == "interpolated" else [])]
    table.loc[gap, columns] = np.nan
    table[columns] = table[columns].interpolate()
    if volume == "zero":
        table.loc[gap, "Volume"] = 0.0
    if volume == "none":
        table = table.drop(columns="Volume")
    assert kinds(table, "weekdays") == ({"+interpolated": found} if found else {})
    if found:
        prices = read_prices(table, calendar="weekdays", allow=["interpolated"])
        [finding] = check_prices(prices)  # prices that were read can be checked again
        assert (finding.bars, str(finding.at)) == (3, "2024-03-26 00:00:00+00:00")


def test_a_split_that_no_table_lists_is_flagged_and_a_crash_within_a_day_is_not() -> None:
    table = pd.DataFrame(
        {
            "Date": ["2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12"],
            "Open": [101.5, 103.2, 51.9, 50.0],
            "High": [104.0, 104.0, 52.2, 51.0],
            "Low": [100.0, 102.0, 50.1, 24.0],
            "Close": [102.3, 103.7, 51.2, 25.3],
        }
    )
    [finding] = check_prices(table, calendar="XNYS")
    assert (finding.kind, finding.refused) == ("missing-split", False)
    assert "goes from 103.7 to 51.2 overnight on 2024-03-11, by a split of 2:1 that is not listed" in finding.sentence
