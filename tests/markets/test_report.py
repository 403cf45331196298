"""A backtest's report says what its result says, marks what is not strict, and takes no other's place."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lxml.html
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from adapterhub_fin import WriteFailed
from adapterhub_fin_markets.backtest.admission import REASONS, examine, find_sources
from adapterhub_fin_markets.backtest.recipe import BacktestRecipe
from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.backtest.run import run_admitted
from adapterhub_fin_markets.prices.timing import decided_after
from adapterhub_fin_markets.report.files import TABLES
from adapterhub_fin_markets.report.frame import Frame
from adapterhub_fin_markets.report.months import compounded, session_days
from adapterhub_fin_markets.report.page import LOOKAHEAD, STRICT
from adapterhub_fin_markets.report.position_figures import largest, positions
from adapterhub_fin_markets.report.writing import write_report
from adapterhub_fin_markets.signals.table import Signals, read_signals, write_signals

RED = (0xB0, 0x00, 0x20)
SECTIONS = [
    "measures",
    "equity",
    "drawdown",
    "positions",
    "costs",
    "months",
    "regimes",
    "trials",
    "refused",
    "known-by",
    "recipe",
]

Make = Callable[..., BacktestResult]


@pytest.fixture
def made(home: Path, tmp_path: Path) -> Make:
    """Return a function that backtests random signals about random prices; no adapter answered them."""

    def make(
        days: int = 90,
        tickers: tuple[str, ...] = ("AAA", "BBB"),
        name: str | None = "pair",
        *,
        late: bool = False,
        acting: float = 0.2,
        jump: float | None = None,
        start: str = "2019-12-01",
        adapters: tuple[str, ...] = (),
        **parts: Any,
    ) -> BacktestResult:
        rng = np.random.default_rng(3)
        steps = rng.normal(0.001, 0.02, (days, len(tickers)))
        if jump is not None:
            steps[days // 2, 0] = jump
        closes = 100 * np.cumprod(1 + steps, axis=0)
        dates = np.datetime64(start) + np.arange(days)
        with (tmp_path / "prices.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["date", "ticker", "open", "high", "low", "close", "volume"])
            for row, column in np.ndindex(days, len(tickers)):
                opened, close = closes[max(row - 1, 0), column], closes[row, column]
                cells = [opened, max(opened, close), min(opened, close), close, 1000]
                table.writerow([dates[row], tickers[column], *cells])
        (tmp_path / "news.csv").write_text("published,ticker,headline\n2020-01-01T00:00:00Z,AAA,rose\n")
        at = decided_after(dates[5:-3].astype("datetime64[us]") + np.timedelta64(1, "D"))
        signal = rng.choice([-1, 0, 1], (len(at), len(tickers)), p=[acting / 2, 1 - acting, acting / 2]).ravel()
        rows = len(signal)
        facts = {"adapter": "acme/tone@1", "include_base": True, "refused": {"no version then": 4}}
        signals = Signals(
            at=np.repeat(at, len(tickers)),
            ticker=np.tile(np.arange(len(tickers), dtype=np.int32), len(at)),
            tickers=tuple(tickers),
            signal=signal.astype(np.int8),
            score=signal * 0.5,
            confidence=np.full(rows, 0.75),
            actionable=signal != 0,
            probabilities=np.full((rows, 3), np.nan),
            texts=[()] * rows,
            text_at=np.full(rows, "NaT", "M8[us]"),
            known_at=np.repeat(at - np.timedelta64(3600, "s"), len(tickers)),
            adapters=[adapters] * rows,
            facts={**facts, "allow_lookahead": late},
        )
        write_signals(signals, tmp_path / "signals.parquet")
        texts = {"name": "news", "path": str(tmp_path / "news.csv"), "text": "headline", "group": "ticker"}
        document: dict[str, Any] = {
            "name": name,
            "signals": {"path": str(tmp_path / "signals.parquet"), "texts": {**texts, "published": "published"}},
            "prices": {"path": str(tmp_path / "prices.csv"), "calendar": "24/7", "currency": "USD"},
            "rules": {"positions": "long-short", "slippage_bp": 2},
            "report": {"bootstrap": 200, "placebo": 50},
            **parts,
        }
        recipe = BacktestRecipe.read(document)
        sources = find_sources(signals, {})
        refusals = tuple(examine(signals, sources)) if late else ()
        return run_admitted(recipe, recipe.prices.read(), signals, sources, refusals)

    return make


def parsed(page: Path) -> Any:
    return lxml.html.fromstring(page.read_text(encoding="utf-8"))


def rows_of(page: Any, table: str) -> dict[str, list[Any]]:
    """Return the cells of a table by the first of each row: numbers where there are some, else text."""
    rows = {}
    for row in page.xpath(f"//table[@class='{table}']/tbody/tr"):
        cells = row.findall("td")
        values = [[float(data.get("value")) for data in cell.findall("data")] for cell in cells]
        rows[cells[0].text_content()] = [
            numbers or cell.text_content() for numbers, cell in zip(values[1:], cells[1:], strict=True)
        ]
    return rows


def has_red(png: bytes) -> bool:
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    return int((pixels == RED).all(axis=1).sum()) > 1000


def test_the_page_has_all_sections_and_needs_nothing_else(made: Make, tmp_path: Path) -> None:
    page = write_report(made(), tmp_path / "report")
    html = parsed(page)
    assert html.xpath("//section/@id") == SECTIONS
    assert not html.xpath("//script | //link | //iframe | //object | //*[@onload or @onerror or @onclick]")
    assert all(address.startswith("data:image/png;base64,") for address in html.xpath("//@src"))
    assert all(address.startswith("#") for address in html.xpath("//@href"))
    assert "url(" not in page.read_text() and "@import" not in page.read_text()
    pictures = sorted(path.name for path in page.parent.glob("*.png"))
    assert pictures == ["costs.png", "drawdown.png", "equity.png", "placebo.png", "positions.png", "regimes.png"]
    assert len(html.xpath("//img")) == len(pictures) and all(html.xpath("//img/@alt"))
    head = {
        row.find("th").text_content(): row.find("td").text_content() for row in html.xpath("//table[@id='facts']/tr")
    }
    assert head["tickers"].startswith("2 ") and head["dates"].startswith("82, 2019-12-07T00:00:00.000001Z to ")
    assert (
        "commission 10 bp, slippage 2 bp" in head["costs"]
        and head["universe"] == "the universe was chosen in hindsight"
    )
    assert head["trials"].startswith("1, a lower bound") and head["refused rows"] == "4 text: no version then"
    assert head["unfilled orders"] != ""


def test_numbers_are_those_of_the_result(made: Make, tmp_path: Path) -> None:
    result = made()
    html = parsed(write_report(result, tmp_path / "report"))
    rows = list(rows_of(html, "measures").values())
    values = {name: value for name, value in result.measures.values().items() if name != "periods"}
    assert [row[0] for row in rows] == [[value] for value in values.values()]
    intervals = [tuple(row[1]) for row in rows if not isinstance(row[1], str)]
    drawn = result.judgement.intervals
    assert intervals == [drawn.annual_return, drawn.sharpe, drawn.max_drawdown]
    assert all(row[1].startswith("none: ") for row in rows if isinstance(row[1], str))
    compared = rows_of(html, "comparisons")
    for name, of in zip(
        ("this one", "holding"), (result.measures, result.comparisons.by_name["hold"].measures), strict=True
    ):
        assert compared[name][1:4] == [[of.total_return], [of.annual_return], [of.sharpe]]
    drawn_beside = rows_of(html, "comparison-intervals")
    own, holding = result.judgement.intervals, result.comparisons.by_name["hold"].intervals
    for name, of_one in (("this one", own), ("holding", holding)):
        assert [tuple(cell) for cell in drawn_beside[name]] == [
            of_one.sharpe,
            of_one.annual_return,
            of_one.max_drawdown,
        ]
    assert all(cell.startswith("none: ") for cell in drawn_beside["flat"])
    assert result.record()["comparisons"]["hold"]["intervals"]["sharpe"] == holding.sharpe
    costs = rows_of(html, "costs")
    assert costs["commission paid"] == [[result.ledger.commission.sum()], [result.ledger.commission.sum() / 100_000]]
    regimes = rows_of(html, "by-regime")
    assert {name: row[0] for name, row in regimes.items()} == {
        name: [of.periods] for name, of in result.judgement.regimes.items()
    }
    evidence = rows_of(html, "evidence")
    assert next(iter(evidence.values())) == [[result.judgement.evidence.probability]]
    assert result.judgement.placebo is not None
    assert rows_of(html, "placebo")["p, one-sided"] == [[result.judgement.placebo.p]]
    assert rows_of(html, "refused")["text: no version then"] == ["text: no version then", [4.0]]
    assert [[key, *row] for key, row in rows_of(html, "known-by").items()] == [
        [item.what, item.until, item.source] for item in result.known_by
    ]


def test_the_head_says_until_when_versions_know(dated_tone: Any, made: Make, tmp_path: Path) -> None:
    digest = dated_tone.resolve("acme/tone@3").digest
    html = parsed(write_report(made(start="2020-01-01", adapters=(digest,)), tmp_path / "report"))
    [ends] = html.xpath("//table[@id='facts']/tr[th[contains(., 'known until')]]/td")
    assert ends.text_content() == "acme/tone@3 2019-12-31T00:00:00Z"
    assert rows_of(html, "known-by")["adapter acme/tone@3"][0] == "2019-12-31T00:00:00Z"


def test_months_compound_to_the_whole(made: Make, tmp_path: Path) -> None:
    result = made()
    html = parsed(write_report(result, tmp_path / "report"))
    years = rows_of(html, "months")
    assert list(years) == ["2019", "2020"]
    days = session_days(result)
    assert (days[0], days[-1]) == (np.datetime64("2019-12-07"), np.datetime64("2020-02-27"))
    undated = replace(result, prices=replace(result.prices, days=None))
    assert (session_days(undated) == days).all(), "a bar that closes at midnight is of the day before"
    december = np.prod(1 + result.returns[:25]) - 1  # the 7th to the 31st, whose bar closes at midnight
    assert years["2019"][11] == [pytest.approx(december, abs=1e-15)] and years["2019"][:11] == [""] * 11
    total = np.prod([1 + row[-1][0] for row in years.values()]) - 1
    assert total == pytest.approx(result.measures.total_return, abs=1e-12)
    assert compounded(np.array([0.1, -0.5, 0.2]), np.array([1, 1, 2])) == {
        1: pytest.approx(-0.45),
        2: pytest.approx(0.2),
    }


def test_what_is_not_strict_is_red_in_page_pictures_and_json(made: Make, tmp_path: Path) -> None:
    result = made(late=True)
    page = write_report(result, tmp_path / "red")
    html = parsed(page)
    assert html.find("body").get("class") == "lookahead" and "look-ahead" in html.findtext(".//title")
    assert [banner.text for banner in html.xpath("//p[contains(@class, 'red')]")] == [LOOKAHEAD]
    assert html.xpath("//li[@class='red']/text()") == [mark.sentence for mark in result.marks if mark.red]
    assert STRICT not in html.text_content()
    pictures = sorted(page.parent.glob("*.png"))
    assert pictures and all(has_red(path.read_bytes()) for path in pictures)
    document = json.loads((page.parent / "result.json").read_text())
    assert document["strict"] is False and document["warning"] == LOOKAHEAD
    for name in TABLES[:3]:
        metadata = pyarrow.parquet.read_schema(page.parent / name).metadata
        assert any(json.loads(value)["strict"] is False for key, value in metadata.items() if b"backtest" in key)


def test_what_is_strict_says_so_and_has_no_red(made: Make, tmp_path: Path) -> None:
    result = made()
    page = write_report(result, tmp_path / "report")
    html = parsed(page)
    assert html.xpath("string(//p[contains(@class, 'banner')])") == STRICT and LOOKAHEAD not in html.text_content()
    assert html.xpath("//li/text()")[: len(result.marks)] == [mark.sentence for mark in result.marks]
    assert not html.xpath("//*[contains(@class, 'red')]") and html.find("body").get("class") is None
    assert not any(has_red(path.read_bytes()) for path in page.parent.glob("*.png"))
    document = json.loads((page.parent / "result.json").read_text())
    assert document["strict"] is True and document["warning"] is None
    assert document["measures"]["sharpe"] == result.measures.sharpe
    assert set(document["files"]) == {path.name for path in page.parent.iterdir()}


def test_names_that_are_code_are_text(made: Make, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    tickers = ("$x^2$ & \"'", "<img src=x onerror=alert(1)>")
    page = write_report(made(tickers=tickers, name=hostile), tmp_path / "report")
    html = parsed(page)
    assert html.findtext(".//h1") == hostile and not html.xpath("//script | //*[@onerror]")
    assert len(html.xpath("//img")) == len(list(page.parent.glob("*.png")))
    assert json.loads((page.parent / "result.json").read_text())["name"] == hostile


def test_tables_hold_the_ledger(made: Make, tmp_path: Path) -> None:
    result = made()
    folder = write_report(result, tmp_path / "report").parent
    tables = {name: pyarrow.parquet.read_table(folder / name) for name in TABLES}
    ledger = result.ledger
    equity = tables["equity.parquet"]
    assert equity["equity"].to_pylist() == ledger.equity.tolist()
    assert (equity["at"].to_numpy().astype("datetime64[us]") == ledger.at).all()
    values = np.zeros(len(ledger.at))
    rows = np.searchsorted(ledger.at, tables["ledger.parquet"]["at"].to_numpy().astype("datetime64[us]"))
    np.add.at(
        values, rows, tables["ledger.parquet"]["shares"].to_numpy() * tables["ledger.parquet"]["price"].to_numpy()
    )
    assert values + ledger.cash == pytest.approx(ledger.equity, abs=1e-6)
    trades = tables["trades.parquet"]
    assert len(trades) == len(ledger.trades) > 0
    assert trades["commission"].to_numpy().sum() == pytest.approx(ledger.commission.sum(), abs=1e-9)
    assert trades["ticker"].to_pylist() == [result.prices.tickers[column] for column in ledger.trades.ticker]
    assert read_signals(folder / "signals.parquet").digest == result.signals.digest


def test_cuts_have_their_reason(made: Make, tmp_path: Path) -> None:
    result = made(rules={"max_volume_share": 0.001})
    folder = write_report(result, tmp_path / "report").parent
    cut = pyarrow.parquet.read_table(folder / "trades.parquet")["cut"].to_pylist()
    assert cut.count("volume") == result.ledger.unfilled["volume"] > 0
    volume, tickers = rows_of(parsed(folder / "report.html"), "unfilled")["volume"]
    assert volume == [result.ledger.unfilled["volume"]] and tickers == ", ".join(
        f"{count} {ticker}" for ticker, count in sorted(result.ledger.unfilled_tickers["volume"].items())
    )


def test_rows_that_knew_too_much_are_listed_by_reason(made: Make, tmp_path: Path) -> None:
    result = made(late=True, adapters=("sha256:" + "0" * 64,))
    html = parsed(write_report(result, tmp_path / "report"))
    rows = len(result.signals)
    assert rows_of(html, "refused")["sourceless"] == [REASONS["sourceless"], [rows]]
    assert f"{rows:,} sourceless" in html.xpath("string(//table[@id='facts']/tr[th='refused rows'])")
    listed = html.xpath("//table[@class='refusals']/tbody/tr")
    assert len(listed) == 20 and result.refusals[0].sentence in listed[0].text_content()
    assert f"The first 20 of {rows:,}" in html.xpath("string(//section[@id='refused'])")


def test_a_short_backtest_gives_reasons(made: Make, tmp_path: Path) -> None:
    result = made(days=11, acting=1.0)
    html = parsed(write_report(result, tmp_path / "report"))
    missing = " ".join(html.xpath("//p[@class='missing']/text()"))
    assert (
        "The band of equity: left out, since " in missing and "Signals at the wrong time: left out, since " in missing
    )
    assert rows_of(html, "measures")["annual return"][1].startswith("none: ")


def test_no_position_gives_reasons(made: Make, tmp_path: Path) -> None:
    html = parsed(write_report(made(acting=0.0), tmp_path / "report"))
    missing = html.xpath("//p[@class='missing']/text()")
    assert any("there was no position" in text for text in missing)
    sharpe = rows_of(html, "measures")["Sharpe ratio, annual"]
    assert sharpe[0].startswith("none: ") and len(sharpe[0]) > 10 and sharpe[1].startswith("none: ")


def test_a_lost_account_is_drawn(made: Make, tmp_path: Path) -> None:
    result = made(jump=-0.95, acting=1.0, rules={"positions": "long-short", "max_gross": 3.0})
    assert result.ledger.equity.min() <= 0, "the material must lose all"
    html = parsed(write_report(result, tmp_path / "report"))
    assert "none: nothing was left" in html.xpath("string(//section[@id='months'])")
    assert any("lost all of its money" in text for text in html.xpath("//li/text()"))


def test_many_tickers_show_the_ten_largest(made: Make, tmp_path: Path) -> None:
    tickers = tuple(f"T{number:03d}" for number in range(40))
    result = made(days=40, tickers=tickers, acting=0.5)
    html = parsed(write_report(result, tmp_path / "report"))
    note = html.xpath("string(//section[@id='positions']//figcaption)")
    exposure = np.abs(result.ledger.weights).mean(axis=0)
    share = np.sort(exposure)[-10:].sum() / exposure.sum()
    assert f"The 10 of 40 tickers with the largest mean exposure, {100 * share:.0f} % of all" in note
    assert 'id="facts"' in lxml.html.tostring(html).decode() and len(lxml.html.tostring(html)) < 2_000_000


def test_one_result_gives_the_same_bytes(made: Make, tmp_path: Path) -> None:
    result = made()
    first, second = (write_report(result, tmp_path / name) for name in ("one", "two"))
    for path in first.parent.iterdir():
        assert path.read_bytes() == (second.parent / path.name).read_bytes(), path.name


def test_a_report_takes_the_place_of_a_report_alone(made: Make, tmp_path: Path) -> None:
    result = made()
    folder = tmp_path / "report"
    folder.mkdir()
    page = write_report(result, folder)
    (folder / "equity.png").write_bytes(b"")
    assert write_report(result, folder) == page and (folder / "equity.png").stat().st_size > 0
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(WriteFailed, match=r"notes\.txt, which no report"):
        write_report(result, folder)
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "result.json").write_text('{"kind": "another", "files": ["result.json"]}')
    with pytest.raises(WriteFailed, match=r"result\.json, which no report"):
        write_report(result, tmp_path / "other")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteFailed, match="is a file"):
        write_report(result, tmp_path / "file")
    with pytest.raises(WriteFailed, match="make it first"):
        write_report(result, tmp_path / "no" / "report")
    assert not list(tmp_path.glob(".*"))


def test_a_report_that_fails_leaves_the_old_one(made: Make, tmp_path: Path) -> None:
    result = made()
    folder = write_report(result, tmp_path / "report").parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    broken = replace(result, measures=replace(result.measures, sharpe=float("nan")))
    with pytest.raises(ValueError, match="JSON"):
        write_report(broken, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not list(tmp_path.glob(".*"))


def test_trials_are_drawn_once_there_are_two(made: Make, tmp_path: Path) -> None:
    made()
    result = made(rules={"positions": "long-only"})
    assert result.judgement.trials.count == 2
    page = write_report(result, tmp_path / "report")
    assert (page.parent / "trials.png").is_file()
    assert parsed(page).xpath("string(//table[@id='facts']/tr[th='trials']/td)").startswith("2, a lower bound")


@pytest.mark.parametrize("tickers", [("AAA",), ("AAA", "BBB", "CCC", "DDD")])
@pytest.mark.parametrize("factor", [1.0, 12_345.678])
def test_prices_beside_a_picture_are_not_cut_off(made: Make, tickers: tuple[str, ...], factor: float) -> None:
    result = made(tickers=tickers)
    dear = replace(result, prices=replace(result.prices, close=result.prices.close * factor))
    figure = positions(Frame(True), dear, largest(result.ledger.weights)[0])
    figure.canvas.draw()
    shown = [axis for axis in figure.axes if axis.get_visible() and axis.get_ylabel()]
    assert len(shown) == len(tickers)
    for axis in shown:
        label = axis.yaxis.label.get_window_extent()
        assert label.x0 >= 0
        for other in shown:
            assert axis is other or not label.overlaps(other.get_window_extent()), "nor written over the next one"
