"""Prices are fetched from Bybit's and Yahoo's recorded answers, and stored whole with a digest."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet
import pytest
import yfinance
from click.testing import CliRunner
from yfinance.data import YfData
from yfinance.exceptions import YFRateLimitError

import adapterhub_fin as ahf
from adapterhub_fin.errors import BadRecipe, Corrupted, UnknownName, Unreachable
from adapterhub_fin_markets.cli.market import command
from adapterhub_fin_markets.prices.adjust import adjust
from adapterhub_fin_markets.prices.bars import Bars
from adapterhub_fin_markets.prices.description import PriceSource
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.fetching import fetch_prices
from adapterhub_fin_markets.prices.form import Form
from adapterhub_fin_markets.prices.source import PriceSourceImplementation, Request
from adapterhub_fin_markets.prices.stored import prices_digest, stored_digest
from adapterhub_fin_markets.prices.tables import check_prices, read_bars, read_prices

Answer = tuple[int, dict[str, str], Any]  # status, headers, body
DAY = 86_400_000


@contextmanager
def server(answer: Callable[[dict[str, str], int], Answer]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Answer each request by a function of its query and its number; yield the URL and the queries."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            asked.append(query)
            status, headers, body = answer(query, len(asked) - 1)
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *arguments: Any) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


def kline(rows: list[list[str]], symbol: str = "BTCUSDT") -> dict[str, Any]:
    return {"retCode": 0, "retMsg": "OK", "result": {"symbol": symbol, "category": "linear", "list": rows}}


def paged(days: int, first: int = 1_700_006_400_000 // DAY * DAY) -> Callable[[dict[str, str], int], Answer]:
    """Answer as Bybit does: the newest `limit` bars between start and end, newest first, as texts."""

    def answer(query: dict[str, str], number: int) -> Answer:
        starts = [first + DAY * day for day in range(days)]
        inside = [start for start in starts if int(query["start"]) <= start <= int(query["end"])]
        rows = [[str(start), "100", "101.5", "99", "100.5", "12.5", "1250"] for start in inside[::-1]]
        return 200, {}, kline(rows[: int(query["limit"])])

    return answer


def bybit(url: str, start: str = "2023-11-15", **options: Any) -> Any:
    settings = {"url": url, "wait": 0, "per_second": 10_000, **options}
    return fetch_prices("bybit", ["BTCUSDT"], start=start, end="2024-12-31", options=settings)


@pytest.mark.parametrize("page", [1, 3, 7, 1000])
def test_pages_make_one_table_of_every_bar_once(page: int) -> None:
    with server(paged(7)) as (url, asked):
        prices = bybit(url, page=page)
    assert len(prices) == 7 and (prices.close == 100.5).all() and (prices.volume == 12.5).all()
    assert prices.turnover is not None and (prices.turnover == 1250).all()
    assert (np.diff(prices.closes_at) == np.timedelta64(1, "D")).all()
    assert str(prices.closes_at[0]) == f"{prices.starts_at[0] + np.timedelta64(1, 'D')!s}"
    assert {query["category"] for query in asked} == {"linear"} and {query["interval"] for query in asked} == {"D"}


@pytest.mark.parametrize(
    ("file", "category", "symbol", "interval", "bars"),
    [
        ("kline_linear_BTCUSDT_D_2021-09.json", "linear", "BTCUSDT", "1d", 3),
        ("kline_linear_BTCUSDT_60_2026-08-15.json", "linear", "BTCUSDT", "1h", 2),
        ("kline_linear_BTCUSDT_1_2023-06-24.json", "linear", "BTCUSDT", "1min", 5),
        ("kline_inverse_BTCUSD_60_docs_example.json", "inverse", "BTCUSD", "1h", 3),
    ],
)
def test_recorded_answers_of_bybit(
    shared: Path, file: str, category: str, symbol: str, interval: str, bars: int
) -> None:
    body = json.loads((shared / "data" / "market_api" / "bybit_v5" / file).read_text())
    rows = body["result"]["list"]

    def answer(query: dict[str, str], number: int) -> Answer:
        left = [row for row in rows if int(query["start"]) <= int(row[0]) <= int(query["end"])]
        return 200, {}, {**body, "result": {**body["result"], "list": left}}

    with server(answer) as (url, _):
        options = {"url": url, "category": category}
        prices = fetch_prices("bybit", [symbol], start="2021-01-01", interval=interval, options=options)
    assert prices.close.shape == (bars, 1) and prices.close[:, 0].tolist() == [float(row[4]) for row in rows[::-1]]
    assert prices.calendar == "24/7" and prices.findings == ()
    assert prices.turnover is not None and prices.turnover[:, 0].tolist() == [float(row[6]) for row in rows[::-1]]
    average = prices.turnover / prices.volume
    assert (category == "linear") == bool(((average <= prices.high) & (average >= prices.low)).all())


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {"Retry-After": "0"}, b"slow down"),
        (403, {}, b"access too frequent"),
        (502, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"bad gateway"),
        (200, {}, {"retCode": 10006, "retMsg": "Too many visits!"}),
    ],
)
def test_a_busy_bybit_is_asked_again_and_then_given_up(trouble: Answer) -> None:
    good = paged(2)
    with server(lambda query, number: trouble if number < 2 else good(query, number)) as (url, asked):
        assert len(bybit(url)) == 2 and len(asked) >= 3
    with server(lambda query, number: trouble) as (url, asked):
        with pytest.raises(Unreachable, match=r"in 3 tries \((HTTP \d+|Too many visits!)\): try again later"):
            bybit(url, tries=3)
        assert len(asked) == 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, {}, {"retCode": 10001, "retMsg": "Not supported symbols"}), "refuses BTCUSDT: Not supported symbols"),
        ((200, {}, b"<html>"), "with no JSON of its API"),
        ((200, {}, {"retCode": 0, "result": {}}), "without a list of bars"),
        ((200, {}, kline([["1700006400000", "1"]])), "without a list of bars"),
        ((200, {}, kline([["1", "1", "1", "1", "1", "1"]])), "that were not asked for"),
        ((200, {}, kline([["1700006400000", "1", "1", "1", "x", "1"]])), "close 'x' is not a number"),
        ((200, {}, kline([["1700006400000", "1", "1", "1", "1", "1"]], "ETHUSDT")), "with ETHUSDT for BTCUSDT"),
        ((200, {}, kline([])), "bybit has no bar of BTCUSDT"),
        ((200, {}, kline([["1700006400000", "2", "1", "2", "1.5", "1"]])), "a high of 1 below its low of 2"),
    ],
)
def test_a_wrong_answer_of_bybit_is_named(answer: Answer, message: str) -> None:
    once = kline([])
    with (
        server(lambda query, number: answer if not number else (200, {}, once)) as (url, _),
        pytest.raises(BadPrices, match=message),
    ):
        bybit(url, start="2023-11-14")


def test_an_unreachable_bybit_and_wrong_settings_are_named() -> None:
    with pytest.raises(Unreachable, match="gave no bars of BTCUSDT in 2 tries"):
        bybit("http://127.0.0.1:9", tries=2)
    with pytest.raises(BadRecipe, match="category"):
        bybit("http://127.0.0.1:9", category="shares")
    with pytest.raises(BadPrices, match="bybit has no bars of 7min"):
        fetch_prices("bybit", ["BTCUSDT"], start="2024-01-01", interval="7min")
    with pytest.raises(BadPrices, match="'soon' is not a date"):
        fetch_prices("bybit", ["BTCUSDT"], start="soon")


def test_a_bar_that_is_not_over_is_left_out() -> None:
    today = int(np.datetime64("now", "D").astype(int)) * DAY
    with server(paged(3, first=today - 2 * DAY)) as (url, _):
        options = {"url": url}
        prices = fetch_prices("bybit", ["BTCUSDT"], start=str(np.datetime64("now", "D") - 5), options=options)
    assert len(prices) == 2 and prices.closes_at[-1] == np.datetime64("now", "D")


def test_fetched_prices_are_stored_with_their_calendar_and_digest(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "btc.parquet"
    with server(paged(5)) as (url, _):
        typed = ["fetch", "bybit", "BTCUSDT", "--interval", "1d", "--start", "2023-11-15", "--end", "2024-01-01"]
        done = CliRunner().invoke(command, [*typed, "--out", str(out), "--set", f"url={url}", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.output)
    prices = read_prices(out)  # the file holds its calendar
    assert facts["bars"] == 5 and facts["digest"] == stored_digest(out) == prices_digest(prices)
    assert prices.calendar == "24/7" and prices.source == "bybit" and prices.tickers == ("BTCUSDT",)
    assert CliRunner().invoke(command, ["check", str(out)]).output == "nothing found\n"
    assert [path.name for path in out.parent.iterdir()] == ["btc.parquet"]
    table = pyarrow.parquet.read_table(out)
    other = table.set_column(table.column_names.index("close"), "close", pc.add(table["close"], 0.5))
    assert other.column_names == table.column_names and other.schema.metadata == table.schema.metadata
    pyarrow.parquet.write_table(other, out)
    with pytest.raises(Corrupted, match=r"btc.parquet holds other bars than when it was written: fetch it again"):
        read_prices(out)


def test_two_processes_that_store_one_file_leave_it_whole(tmp_path: Path) -> None:
    code = """
import sys, numpy as np, pandas as pd
from adapterhub_fin_markets.prices.tables import check_prices, read_bars, read_prices
from adapterhub_fin_markets.prices.stored import write_prices
level = float(sys.argv[1])
days = pd.bdate_range("2024-01-01", periods=400)
prices = read_prices(pd.DataFrame({"Date": days, "Close": np.full(400, level)}), calendar="weekdays")
for _ in range(15):
    write_prices(prices, sys.argv[2])
"""
    path = tmp_path / "a.parquet"
    writers = [subprocess.Popen([sys.executable, "-c", code, level, str(path)]) for level in ("1", "2")]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            prices = read_prices(path)
            assert len(prices) == 400 and len(set(prices.close[:, 0])) == 1
            seen.add(prices.close[0, 0])
    assert [writer.wait() for writer in writers] == [0, 0] and seen <= {1.0, 2.0}
    assert list(tmp_path.iterdir()) == [path] and stored_digest(path) == prices_digest(read_prices(path))


class Recorded:
    """Stand in for a response of Yahoo: what yfinance reads of one."""

    def __init__(self, text: str) -> None:
        self.text, self.status_code = text, 200

    def json(self) -> Any:
        return json.loads(self.text)


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Recorded]) -> None:
    for name in ("get", "cache_get"):
        monkeypatch.setattr(YfData, name, lambda self, *arguments, **named: answer())
    monkeypatch.setattr(yfinance.Ticker, "_fetch_ticker_tz", lambda self, *arguments: "America/New_York", raising=False)
    monkeypatch.setattr("yfinance.base.TickerBase._get_ticker_tz", lambda self, timeout: "America/New_York")


def test_the_recorded_yahoo_answer_adjusts_to_yahoo_s_own_close(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded((shared / "data" / "market_api" / "chart_v8_APPL_w_DIV_SPLIT.json").read_text())
    answering(monkeypatch, lambda: recorded)
    prices = fetch_prices("yahoo", ["AAPL"], start="1980-12-12", end="2020-11-28")
    assert prices.currency == "USD" and prices.split_adjusted
    assert prices.adjusted_as_of == str(datetime.now(UTC).date()), "the levels know every split until the fetch"
    assert prices.splits is not None and prices.dividends is not None and prices.days is not None
    split = int(np.flatnonzero(prices.days == np.datetime64("2014-06-09"))[0])
    assert prices.splits[split, 0] == 7
    assert abs(prices.close[split, 0] / prices.close[split - 1, 0] - 1) < 0.05, "the levels reckon with it already"
    assert (np.nan_to_num(prices.dividends) > 0).sum() == 69
    adjusted = adjust(prices)
    assert adjusted.adjusted_as_of == prices.adjusted_as_of and adjusted.dividend_adjusted
    earlier = adjust(dataclasses.replace(prices, adjusted_as_of=None))
    assert earlier.adjusted_as_of == "2020-11-06"
    assert prices.adj_close is not None
    there = ~np.isnan(prices.close)
    np.testing.assert_allclose(adjusted.close[there], prices.adj_close[there], rtol=1e-4)
    with pytest.raises(BadPrices, match="are adjusted as of 2020-11-06 already"):
        adjust(earlier)


def test_yahoo_s_errors_are_named(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = (shared / "data" / "market_api" / "chart_symbol_MLPD_not_found.json").read_text()
    answering(monkeypatch, lambda: Recorded(body))
    with pytest.raises(BadPrices, match=r"yahoo has no prices of MLPD .*may be delisted.*: check the symbol"):
        fetch_prices("yahoo", ["MLPD"], start="2020-01-01", end="2020-02-01")
    busy = YFRateLimitError()

    def refuse() -> Recorded:
        raise busy

    answering(monkeypatch, refuse)
    with pytest.raises(Unreachable, match=r"too many requests \(HTTP 429\) at SPY: wait"):
        fetch_prices("yahoo", ["SPY"], start="2020-01-01", end="2020-02-01")
    answering(monkeypatch, lambda: Recorded("<html>"))
    with pytest.raises(Unreachable, match="yahoo can't be asked for SPY"):
        fetch_prices("yahoo", ["SPY"], start="2020-01-01", end="2020-02-01")


def test_the_command_checks_a_table_and_exits_with_1_where_it_is_refused(run_ahf: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Date,Last\n2024-03-08,1\n2024-03-09,1\n2024-03-12,1\n")
    status, output = run_ahf("market", "check", str(path), "--calendar", "XNYS", "--column", "close=Last")
    assert status == 1 and output.splitlines() == [
        "refused  no-session  a has a bar at 2024-03-09, a Saturday on which XNYS has no session then",
        "flagged  missing-bars  a has no bar at 1 of the calendar's times: 2024-03-11",
        "1 refused, 1 flagged",
    ]
    status, output = run_ahf("market", "check", str(path), "--calendar", "24/7", "--column", "close=Last", "--json")
    assert status == 0 and json.loads(output)["findings"][0]["bars"] == 2


@pytest.fixture
def run_ahf() -> Callable[..., tuple[int, str]]:
    """Run `ahf` in a process of its own."""

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([str(Path(sys.executable).with_name("ahf")), *arguments], capture_output=True, text=True)
        return done.returncode, done.stdout

    return run


class DeskSource(PriceSourceImplementation):
    """Give bars of a desk's own file, as a third party's source."""

    calendar = "XNYS"

    def __init__(self, options: Any) -> None:
        self.options = options

    def fetch(self, request: Request) -> Bars:
        days = ["2024-03-07", "2024-03-08", *(["2024-03-09"] if request.symbols == ("SATURDAY",) else [])]
        rows = {"Date": days, "Ticker": [request.symbols[0]] * len(days), "Close": [1.0] * len(days)}
        return read_bars(pd.DataFrame(rows), Form())[0]


def test_a_folder_is_checked_as_the_files_in_it(run_ahf: Any, tmp_path: Path) -> None:
    folder = tmp_path / "prices"
    folder.mkdir()
    for ticker, last in (("AAA", 11), ("BBB", -1)):
        lines = ["Date,Close", "2024-01-02,10", "2024-01-03,10.5", f"2024-01-04,{last}"]
        (folder / f"{ticker}.csv").write_text("\n".join(lines))
    (folder / "notes.md").write_text("no table")
    files = [str(folder / f"{ticker}.csv") for ticker in ("AAA", "BBB")]
    of_files = run_ahf("market", "check", *files, "--calendar", "XNYS", "--json")
    assert run_ahf("market", "check", str(folder), "--calendar", "XNYS", "--json") == of_files
    assert run_ahf("market", "check", f"{folder}/", files[0], "--calendar", "XNYS", "--json")[1].count("duplicate-bar")
    findings = json.loads(of_files[1])["findings"]
    assert of_files[0] == 1 and [(found["ticker"], found["kind"]) for found in findings] == [("BBB", "not-positive")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadPrices, match="empty holds no CSV or parquet file: name another folder"):
        check_prices([tmp_path / "empty", files[0]], calendar="XNYS")


def test_another_package_brings_a_source() -> None:
    class DeskOfPrices:
        @ahf.hookimpl
        def ahf_price_sources(self) -> list[PriceSource]:
            return [PriceSource(name="desk", summary="A desk's own.", target="test_prices_desk:DeskSource")]

    module = ModuleType("test_prices_desk")
    vars(module).update(DeskSource=DeskSource)
    sys.modules["test_prices_desk"] = module
    ahf.register(DeskOfPrices())
    prices = fetch_prices("desk", ["SPY"], start="2024-03-07")
    assert prices.source == "desk" and prices.tickers == ("SPY",) and prices.adjusted_as_of is None
    with pytest.raises(BadPrices, match="SATURDAY has a bar at 2024-03-09, a Saturday"):
        fetch_prices("desk", ["SATURDAY"], start="2024-03-07")
    assert len(fetch_prices("desk", ["SATURDAY"], start="2024-03-07", repair=["no-session"])) == 2
    with pytest.raises(UnknownName, match="'desc'.*desk"):
        fetch_prices("desc", ["SPY"], start="2024-03-07")
