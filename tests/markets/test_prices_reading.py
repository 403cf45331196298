"""Bars are read from tables in any layout, and each is known at its session's close."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from adapterhub_fin_markets.prices.adjust import adjust
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.tables import read_prices

HEAD = "Date,Open,High,Low,Close,Volume\n"


def bars(*times: str, close: float = 10.0) -> str:
    return HEAD + "".join(f"{time},{close},{close + 1},{close - 1},{close},100\n" for time in times)


def written(tmp_path: Path, text: str, name: str = "AAA.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def closes(path: Any, calendar: str, **options: Any) -> list[str]:
    return [str(close)[:16] for close in read_prices(path, calendar=calendar, **options).closes_at]


@pytest.mark.parametrize(
    ("calendar", "time", "close"),
    [
        ("XNYS", "2024-11-29", "2024-11-29T18:00"),  # a half day: 13:00 in New York
        ("XNYS", "2024-07-03", "2024-07-03T17:00"),
        ("XNYS", "2024-03-11", "2024-03-11T20:00"),  # the first Monday of summer time
        ("XNYS", "2024-03-08 00:00:00-05:00", "2024-03-08T21:00"),
        ("XNYS", "2024-03-08 00:00:00+00:00", "2024-03-08T21:00"),  # midnight UTC is that date, not the day before
        ("XNYS", "2024-03-08 05:00:00+00:00", "2024-03-08T21:00"),
        ("XNYS", "2024-03-08T14:30:00Z", "2024-03-08T21:00"),
        ("XTKS", "2024-03-08 00:00:00+09:00", "2024-03-08T06:00"),
        ("XTKS", "2024-03-07T15:00:00Z", "2024-03-08T06:00"),  # midnight in Tokyo
        ("XLON", "2024-06-02T23:00:00Z", "2024-06-03T15:30"),  # midnight in London, in summer
        ("24/7", "2024-03-09", "2024-03-10T00:00"),
        ("24/7", "20240309", "2024-03-10T00:00"),
        ("24/7", "1709942400000", "2024-03-10T00:00"),
        ("24/7", "1709942400", "2024-03-10T00:00"),
        ("weekdays", "2024-03-08", "2024-03-09T00:00"),
    ],
)
def test_a_daily_bar_is_known_at_its_session_s_close(tmp_path: Path, calendar: str, time: str, close: str) -> None:
    assert closes(written(tmp_path, bars(time)), calendar) == [close]


@pytest.mark.parametrize(
    ("calendar", "time", "interval", "close"),
    [
        ("XNYS", "2024-03-08T20:30:00Z", "1h", "2024-03-08T21:00"),  # the last half hour of the day
        ("XNYS", "2024-03-08T15:30:00Z", "1h", "2024-03-08T16:30"),
        ("XNYS", "2024-11-29T17:45:00Z", "30min", "2024-11-29T18:00"),
        ("24/7", "2024-03-09 23:00:00+00:00", "1h", "2024-03-10T00:00"),
    ],
)
def test_a_shorter_bar_is_known_after_its_length_or_with_the_session(
    tmp_path: Path, calendar: str, time: str, interval: str, close: str
) -> None:
    assert closes(written(tmp_path, bars(time)), calendar, interval=interval) == [close]


def test_times_without_a_zone_need_one_and_the_later_of_a_repeated_hour_counts(tmp_path: Path) -> None:
    path = written(tmp_path, bars("2024-03-08 10:00"))
    with pytest.raises(BadPrices, match=r"2024-03-08T10:00:00.* has no zone: name it"):
        read_prices(path, calendar="XNYS", interval="1h")
    assert closes(path, "XNYS", interval="1h", timezone="America/New_York") == ["2024-03-08T16:00"]
    assert closes(path, "XNYS", interval="30min", timezone="America/New_York", label="end") == ["2024-03-08T15:00"]
    with pytest.raises(BadPrices, match="there is no time zone 'Mars/North'"):
        read_prices(path, calendar="XNYS", interval="1h", timezone="Mars/North")
    twice = written(tmp_path, bars("2024-11-03 01:30"), "B.csv")
    assert closes(twice, "24/7", interval="1h", timezone="America/New_York") == ["2024-11-03T07:30"]
    with pytest.raises(BadPrices, match="need times, and one is dated 2024-03-08"):
        read_prices(written(tmp_path, bars("2024-03-08")), calendar="XNYS", interval="1h")


def test_a_day_that_lacks_a_bar_has_a_row_of_its_own(tmp_path: Path) -> None:
    prices = read_prices(written(tmp_path, bars("2024-03-07", "2024-03-11")), calendar="XNYS")
    assert prices.close.shape == (3, 1) and np.isnan(prices.close[1, 0])
    assert [str(day) for day in prices.days] == ["2024-03-07", "2024-03-08", "2024-03-11"]  # type: ignore[union-attr]


LONG = pd.DataFrame(
    {"Date": ["2024-03-07", "2024-03-07", "2024-03-08"], "Symbol": ["B", "A", "B"], "Close": [2.0, 1.0, 3.0]}
)


@pytest.mark.parametrize("layout", ["long", "parquet", "arrow", "wide", "fields", "tuples", "index", "files"])
def test_layouts_give_the_same_panel(tmp_path: Path, layout: str) -> None:
    wide = LONG.pivot(index="Date", columns="Symbol", values="Close")
    dated = wide.set_axis(pd.to_datetime(wide.index), axis=0)
    tuples = pd.concat({"Close": dated}, axis=1)
    tables: dict[str, Any] = {
        "long": LONG,
        "arrow": pa.Table.from_pandas(LONG),
        "wide": wide.reset_index(),
        "fields": wide.add_prefix("Close ").reset_index(),
        "tuples": tuples,
        "index": dated.rename_axis(None),
    }
    if layout == "parquet":
        tables[layout] = tmp_path / "long.parquet"
        LONG.to_parquet(tables[layout])
    if layout in ("tuples", "index"):
        tables[layout].to_parquet(tmp_path / "wide.parquet")
        tables[layout] = tmp_path / "wide.parquet"
    if layout == "files":
        for name, rows in LONG.groupby("Symbol"):
            rows.drop(columns="Symbol").to_csv(tmp_path / f"{name}.csv", index=False)
        tables[layout] = tmp_path
    prices = read_prices(tables[layout], calendar="XNYS")
    assert prices.tickers == ("A", "B")
    np.testing.assert_array_equal(prices.close, [[1.0, 2.0], [np.nan, 3.0]])


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ('Date,Close\n2024-03-08,"1,234.5"\n', {"decimal": "."}),
        ("Date;Close\n2024-03-08;1.234,5\n", {"decimal": ","}),
        ("Date;Close\n2024-03-08;1 234,5\n", {"decimal": ","}),
        ("Date;Close\n08.03.2024;1234.5\n", {"date_format": "%d.%m.%Y"}),
        ('Date,Close\n"Mar 08, 2024",1234.5\n', {"date_format": "%b %d, %Y"}),
        ("Date,Close\n1709856000,1234.5\n", {"date_format": "unix"}),
        ("Date,Close\n03/08/2024 00:00 -0500,1234.5\n", {"date_format": "%m/%d/%Y %H:%M %z"}),
        ("Date,Close/Last\n2024-03-08,$1234.50\n", {}),
        ("Date,Close\n2024-03-08,1.2345K\n", {}),
        ("Date,Close\n2024-03-08,1.2345e3\n", {"decimal": "."}),
        ("Price,Close,Volume\nTicker,AAA,AAA\nDate,,\n2024-03-08,1234.5,5\n", {}),
        (",Adj Close,Close\nTicker,AAA,AAA\nDate,,\n2024-03-08,9,1234.5\n", {}),
        ("Ticker,AAA,AAA\nPrice,Open,Close\nDate,,\n2024-03-08,1234,1234.5\n", {}),
    ],
)
def test_tables_are_read_as_vendors_write_them(tmp_path: Path, text: str, options: dict[str, Any]) -> None:
    prices = read_prices(written(tmp_path, text), calendar="XNYS", **options)
    assert prices.tickers == ("AAA",) and prices.close.tolist() == [[1234.5]]
    assert str(prices.closes_at[0])[:16] == "2024-03-08T21:00"


@pytest.mark.parametrize(
    ("header", "closes"),
    [
        ("Date,AAPL,C,V", {"AAPL": 1, "C": 2, "V": 3}),
        ("Date,O,H,L,C", {"AAA": 4}),
        ("Date,AAPL_Close,BRK_B_Close,AAPL_Volume", {"AAPL": 1, "BRK_B": 2}),
        ("Date,BTC_USDT_Close,BTC_USDT_Volume,X_Close", {"BTC_USDT": 1, "X": 3}),
        ("Date,Adj Close BRK.B,Close BRK.B,Stock Splits BRK.B", {"BRK.B": 2}),
        ("Date,Close Close,Close Open,Open Close", {"Close": 1, "Open": 2}),
    ],
)
def test_wide_tables_lose_no_ticker(tmp_path: Path, header: str, closes: dict[str, float]) -> None:
    count = header.count(",")
    path = written(tmp_path, f"{header}\n2024-03-08,{','.join(str(number + 1) for number in range(count))}\n")
    prices = read_prices(path, calendar="XNYS", allow=["high-below-low", "missing-split"])
    assert dict(zip(prices.tickers, prices.close[0].tolist(), strict=True)) == closes


def test_a_dividend_counts_where_a_wide_table_has_no_close(tmp_path: Path) -> None:
    text = "Date,Close AAA,Dividends AAA\n2024-03-07,10,0\n2024-03-08,,1\n2024-03-11,9,0\n"
    prices = read_prices(written(tmp_path, text), calendar="XNYS")
    assert prices.dividends is not None and np.nansum(prices.dividends) == 1
    assert [finding.kind for finding in prices.findings] == ["missing-bars", "null-close"]


def test_times_of_two_units_are_read_each_by_its_own(tmp_path: Path) -> None:
    """Binance's files go from milliseconds to microseconds."""
    text = "open_time,close\n1735603200000,1\n1735689600000000,2\n"
    assert closes(written(tmp_path, text), "24/7") == ["2025-01-01T00:00", "2025-01-02T00:00"]


def test_midnight_is_a_time_of_bars_of_less_than_a_day(tmp_path: Path) -> None:
    text = "Date,Close\n03/08/2024 00:00,1\n03/08/2024 00:15,2\n"
    options = {"interval": "15min", "timezone": "UTC", "date_format": "%m/%d/%Y %H:%M"}
    prices = read_prices(written(tmp_path, text), calendar="24/7", **options)  # type: ignore[arg-type]
    assert [str(at)[:16] for at in prices.closes_at] == ["2024-03-08T00:15", "2024-03-08T00:30"]
    day = written(tmp_path, "Date,Close\n03/08/2024,1\n")
    with pytest.raises(BadPrices, match="bars of less than a day need times, and one is dated 2024-03-08"):
        read_prices(day, calendar="24/7", **{**options, "date_format": "%m/%d/%Y"})  # type: ignore[arg-type]


def test_a_table_of_several_tickers_as_yfinance_writes_it(tmp_path: Path) -> None:
    frame = LONG.pivot(index="Date", columns="Symbol", values="Close")
    both = pd.concat({"Close": frame, "Open": frame}, axis=1, names=["Price", "Ticker"])
    both.to_csv(tmp_path / "both.csv")
    prices = read_prices(tmp_path / "both.csv", calendar="XNYS")
    assert prices.tickers == ("A", "B")
    np.testing.assert_array_equal(prices.close, [[1.0, 2.0], [np.nan, 3.0]])
    np.testing.assert_array_equal(prices.open, prices.close)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (HEAD + "2024-03-08,1,2,1,x,5\n", {}, "AAA.csv, row 1: Close 'x' is not a number"),
        (HEAD + "2024-03-08,1,2,1,1,5\nsoon,1,2,1,1,5\n", {}, "AAA.csv, row 2: Date 'soon' is not a time"),
        (HEAD + "2024-03-08,1,2,1,inf,5\n", {}, "AAA.csv, row 1: Close is infinite"),
        (HEAD + ",1,2,1,1,5\n", {}, "AAA.csv, row 1: Date '' is not a time"),
        ("Date,Volume\n2024-03-08,1\n", {"columns": {"close": "Last"}}, "has no column 'Last' to read as close"),
        ("Date,Open\n2024-03-08,1\n", {}, "has no column of closes"),
        ("Close,Open\n1,1\n", {}, "has no column of times"),
        ("Date,Close,Close\n2024-03-08,1,1\n", {}, "names the column 'Close' twice"),
        ("Date,Symbol,Close\n2024-03-08,,1\n", {}, "row 1 has no Symbol"),
        (HEAD, {}, "there is no bar in AAA.csv"),
        ("", {}, "AAA.csv is empty"),
        ("Date,Close\n08.03.2024,1\n", {"date_format": "%d.%m.%Y %q"}, "is no format of strptime"),
        (
            "Date,Close\n2024-03-08,1\n",
            {"date_format": "%d.%m.%Y"},
            "row 1: Date '2024-03-08' is not a time: the dates",
        ),
        ('Date,Close\n2024-03-08,"1,234"\n', {}, "Close '1,234' is not a number: say which sign is the decimal one"),
        ('Date,Close\n2024-03-08,"1,2345"\n', {"decimal": "."}, "Close '1,2345' is not a number: mend the cell"),
        ("Date;Close\n2024-03-08;12.5\n", {"decimal": ","}, "Close '12.5' is not a number"),
        ("Date,Close\n202403080000,1\n202403110000,2\n", {}, "row 1: Date '?202403080000'? is not a time"),
        ("Date,Close\n1709856000,1\n1709942400000,2\n", {}, "row 2: Date '?1709942400000'? is not a time"),
        ("Date,Close\n20240308093000,1\n", {}, "is not a time"),
        ("Date,Close AAA,Sector\n2024-03-08,1,2\n", {}, "has the column 'Sector' beside columns such as"),
        ("Date,Close AAA,AAA Close\n2024-03-08,1,2\n", {}, "two columns for close of AAA"),
        ("Date,Close\n2024-03-08,1\n", {"decimal": ";"}, "decimal ';' is no decimal sign"),
        (HEAD + "2024-03-08,1,2\n", {}, "AAA.csv can't be read"),
        (bars("2024-03-08"), {"interval": "3d"}, "'3d' is no length of a bar"),
        (bars("2024-03-08"), {"calendar": "XXXX"}, "need another calendar"),
        (bars("2024-03-08"), {"calendar": None}, "name the exchange"),
        (bars("1990-03-08"), {"calendar": "XTKS"}, "need another calendar"),
        ("Date,Close\n2024-03-08,\n", {}, "no bar is left of the table"),
        (bars("2024-03-09"), {"repair": ["no-session"]}, "no bar is left of the table"),
        (bars("2024-03-09"), {}, "a bar at 2024-03-09, a Saturday on which XNYS has no session"),
        ("Date,Close\n03/08/2024,1\n", {}, "row 1: Date '03/08/2024' is not a time"),
        (bars("2024-03-08"), {"repair": ["dups"]}, "there is no finding 'dups' to repair"),
        (bars("2024-03-08"), {"repair": ["missing-bars"]}, "missing-bars can't be repaired"),
    ],
)
def test_what_can_t_be_read_is_named(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadPrices, match=message):
        read_prices(path, **{"calendar": "XNYS", **options})


def test_a_file_that_is_not_there_or_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPrices, match=r"none.csv can't be read \(No such file"):
        read_prices(tmp_path / "none.csv", calendar="XNYS")
    with pytest.raises(BadPrices, match="isn't a .csv"):
        read_prices(written(tmp_path, "", "a.xls"), calendar="XNYS")
    with pytest.raises(BadPrices, match=r"a.parquet can't be read"):
        read_prices(written(tmp_path, "no", "a.parquet"), calendar="XNYS")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadPrices, match="holds no CSV or parquet file"):
        read_prices(tmp_path / "empty", calendar="XNYS")


def test_numbers_are_read_from_texts_and_columns_by_other_names(tmp_path: Path) -> None:
    table = pd.DataFrame({"when": ["2024-03-08"], "Last": [" 1.5 "], "Vol.": ["1e3"], "open": ["null"]})
    prices = read_prices(table, calendar="XNYS", columns={"time": "when", "close": "Last"})
    assert prices.close[0, 0] == 1.5 and prices.volume[0, 0] == 1000 and np.isnan(prices.open[0, 0])
    semicolons = written(tmp_path, "\ufeffDate;Close\n2024-03-08;1.5\n\n")
    assert read_prices(semicolons, calendar="XNYS").close[0, 0] == 1.5
    ticker = written(tmp_path, "Date,Ticker,Close\n2024-03-08,NA,1.5\n")
    assert read_prices(ticker, calendar="XNYS").tickers == ("NA",)


def test_a_row_without_a_close_is_no_bar_and_its_dividend_counts(tmp_path: Path) -> None:
    text = "Date,Close,Dividends,Stock Splits\n2024-03-07,10,0,0\n2024-03-08,,1,0\n2024-03-11,9,0,0\n2024-03-12,,0,0\n"
    prices = read_prices(written(tmp_path, text), calendar="XNYS")
    assert [(finding.kind, finding.refused) for finding in prices.findings] == [
        ("missing-bars", False),
        ("null-close", False),
        ("null-close", False),
    ]
    assert prices.flags["null-close"][:, 0].tolist() == [False, True, False, True]
    adjusted = adjust(prices)
    np.testing.assert_allclose(adjusted.close[[0, 2], 0], [9.0, 9.0])
    assert adjusted.adjusted_as_of == "2024-03-08"


def test_raw_levels_get_splits_and_dividends_and_volume_is_split(tmp_path: Path) -> None:
    head = "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n"
    rows = "2024-03-07,80,80,80,80,10,0,0\n2024-03-08,20,20,20,20,40,0,4\n2024-03-11,19,19,19,19,40,1,0\n"
    prices = read_prices(written(tmp_path, head + rows), calendar="XNYS")
    assert prices.split_adjusted is False and prices.adjusted_as_of is None and prices.findings == ()
    adjusted = adjust(prices)
    np.testing.assert_allclose(adjusted.close[:, 0], [19.0, 19.0, 19.0])
    assert adjusted.volume[:, 0].tolist() == [40.0, 40.0, 40.0] and adjusted.adjusted_as_of == "2024-03-11"
    with pytest.raises(BadPrices, match="its split of 4:1 on 2024-03-08, unlike the other splits"):
        read_prices(written(tmp_path, head + rows), calendar="XNYS", split_adjusted=True)
    with pytest.raises(BadPrices, match="dividend 25 .* is no less than the price 20"):
        adjust(read_prices(written(tmp_path, head + rows.replace("40,1,0", "40,25,0")), calendar="XNYS"))
    with pytest.raises(BadPrices, match="list neither dividends nor splits"):
        adjust(read_prices(written(tmp_path, bars("2024-03-08")), calendar="XNYS"))
