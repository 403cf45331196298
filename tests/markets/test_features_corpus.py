"""The corpus market-features: prompts, numbers and targets, each row dated, and no scaler that saw other parts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.engine.data.corpus import divide_rows, read_corpus
from adapterhub_fin.plugin import BadCorpus, BadRecipe, Rows, corpus_options, load_corpus
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.recipe.splitter import Splitter
from adapterhub_fin.testing import CorpusContract
from adapterhub_fin_markets.corpora.features import MarketFeatures, week_ends
from adapterhub_fin_markets.corpora.features_options import MarketFeaturesOptions
from adapterhub_fin_markets.corpora.latest_texts import LatestTexts
from adapterhub_fin_markets.features.prompts import numerals
from adapterhub_fin_markets.features.scaling import fit_scaler
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.signals.texts import read_texts
from adapterhub_fin_markets.testing import random_bars

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
NAN = np.nan
NAMES = ["return_5", "rsi_14", "volatility_20"]
TICKERS = tuple(letter * 3 for letter in "ABCDEFGH")
FIRST = date(2021, 1, 4)  # a Monday


def write_prices(folder: Path, bars: int = 240, columns: Mapping[str, np.ndarray] | None = None) -> Path:
    """Eight coins, by a long table of days."""
    made = columns or random_bars(3, bars, 8)
    lines = ["date,ticker,open,high,low,close,volume"]
    for row in range(bars):
        for ticker, name in enumerate(TICKERS):
            cells = [made[column][row, ticker] for column in ("open", "high", "low", "close", "volume")]
            lines.append(
                ",".join([str(FIRST + timedelta(days=row)), name, *(f"{cell!r}" for cell in map(float, cells))])
            )
    path = folder / "coins.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def load(path: Path, **options: Any) -> Any:
    given = {"path": path, "calendar": "24/7", "features": NAMES, **options}
    return MarketFeatures(checked(MarketFeaturesOptions, given, "market-features")).load()


class TestAmongTickers(CorpusContract):
    name = "market-features"

    def options_for(self, folder: Path) -> Mapping[str, Any]:
        path = write_prices(folder)
        return {"path": str(path), "calendar": "24/7", "features": NAMES, "scale": "z-score", "digits": 3}

    def test_license_and_source_are_stated(self) -> None:
        assert self.description.license == "NOASSERTION"  # type: ignore[attr-defined]


def test_a_row_has_its_numbers_its_prompt_and_its_dates(tmp_path: Path) -> None:
    rows = load(write_prices(tmp_path), every="bar")
    row = rows.table[0]
    assert len(row["features"]) == 3 and row["group"] in TICKERS
    assert row["text"].splitlines()[0] == "Ranks, from lowest to highest, among all instruments of the day."
    assert row["text"].splitlines()[2].startswith("relative strength index: ")
    assert row["text"].splitlines()[-1].startswith("How far will the price move")
    first = row["available_at"]
    assert (first.hour, first.minute, first.microsecond) == (0, 0, 0), "the close at midnight, before its decision"
    assert row["label_known_at"] == first + timedelta(days=1 + 5)
    assert rows.read["universe"] == "the universe was chosen in hindsight"


def test_one_row_a_week_at_its_last_bar(tmp_path: Path) -> None:
    rows = load(write_prices(tmp_path))
    days = {instant - timedelta(hours=1) for instant in rows.table["available_at"]}
    assert {day.weekday() for day in days} == {6}
    assert len(days) == len({day.date() for day in days}) > 20


def test_messages_labels_and_digits(tmp_path: Path) -> None:
    path = write_prices(tmp_path)
    rows = load(path, form="messages", answer="label", flat_below=0.4, scale="z-score", digits=3).table
    assert "text" not in rows.column_names and rows[0]["messages"][0]["role"] == "user"
    assert rows[0]["messages"][0]["content"].endswith("Answer down, flat or up.")
    for row in rows:
        expected = "flat" if abs(row["target"]) <= 0.4 else "up" if row["target"] > 0 else "down"
        assert row["label"] == expected
    assert {"down", "flat", "up"} == set(rows["label"])


def test_numerals() -> None:
    ranks = np.array([0.0, 0.071, 0.5, 0.9999, NAN])
    assert numerals(ranks, "rank", 2).tolist() == ["00", "07", "50", "99", "unknown"]
    assert numerals(ranks, "rank", 3).tolist() == ["000", "071", "500", "999", "unknown"]
    scores = np.array([0.0, -1.239, 25.0, -25.0, NAN])
    assert numerals(scores, "z-score", 3).tolist() == ["+0.00", "-1.24", "+9.99", "-9.99", "unknown"]
    assert numerals(scores, "z-score", 2).tolist() == ["+0.0", "-1.2", "+9.9", "-9.9", "unknown"]


HISTORY = {"among": "history", "fitted_before": "2021-07-01"}


def test_a_scaler_s_rows_are_available_when_it_was_fitted(tmp_path: Path) -> None:
    rows = load(write_prices(tmp_path), scale="z-score", **HISTORY)
    end = datetime(2021, 7, 1, tzinfo=UTC)
    assert rows.fitted_before == end
    assert min(rows.table["available_at"]) == end and max(rows.table["available_at"]) > end
    fitted = np.array([row["features"] for row in rows.table if row["available_at"] == end], float)
    assert np.nanmean(fitted, 0) == pytest.approx(np.zeros(3), abs=1e-9)
    assert np.nanstd(fitted, 0) == pytest.approx(np.ones(3))


def choice(path: Path, splitter: Mapping[str, Any], **options: Any) -> CorpusChoice:
    scale = {"scale": "z-score", "digits": 3}  # of two digits, many prompts would be copies
    given = {"name": "market-features", "path": str(path), "calendar": "24/7", "features": NAMES, **scale, **options}
    return CorpusChoice.model_validate({**given, "splitter": splitter})


@pytest.mark.parametrize("by", ["random", "grouped"])
def test_a_scaler_that_saw_validation_or_test_is_refused(tmp_path: Path, by: str) -> None:
    path = write_prices(tmp_path)
    read_corpus(choice(path, {"by": by}), "regress")
    with pytest.raises(BadCorpus, match=r"rows of the validation part were known by 2021-07-01.*scaler was fitted"):
        read_corpus(choice(path, {"by": by}, **HISTORY), "regress")


def test_a_corpus_made_of_fitted_ones_is_refused_as_they_are(tmp_path: Path) -> None:
    given = {"name": "market-features", "path": str(write_prices(tmp_path)), "calendar": "24/7", "features": NAMES}
    early, late = ({**given, "among": "history", "fitted_before": f"2021-0{month}-01"} for month in (6, 7))
    mixture = {"name": "mixture", "corpora": [given, late, early]}
    for corpus in (mixture, {"name": "templates", "corpus": mixture}):
        rows = load_corpus(*corpus_options(corpus))
        assert rows.fitted_before == datetime(2021, 7, 1, tzinfo=UTC)
    with pytest.raises(BadCorpus, match=r"rows of the validation part were known by 2021-07-01.*scaler was fitted"):
        divide_rows(load_corpus(*corpus_options(mixture)), Splitter(by="random"), "mixture")


def test_a_split_by_time_after_the_fit_holds_its_end_in_the_knowledge(tmp_path: Path) -> None:
    path = write_prices(tmp_path)
    read = read_corpus(choice(path, {"by": "time", "validation": 0.1, "test": 0.15}, **HISTORY), "regress")
    end = datetime(2021, 7, 1, tzinfo=UTC)
    assert read.known["corpus:market-features"].at >= end
    assert min(read.splits["test"]["available_at"]) > end
    window = {"by": "window", "cutoff": "2021-06-01", "until": "2021-08-01", "embargo": "0d"}
    with pytest.raises(BadCorpus, match="without rows"):
        read_corpus(choice(path, window, **HISTORY), "regress")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"among": "history"}, "needs fitted_before"),
        ({"answer": "label"}, "needs flat_below"),
        ({"features": []}, "at least 1"),
        ({"digits": 5}, "2 or 3"),
    ],
)
def test_options_that_don_t_go_together_are_refused(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(Exception, match=message):
        load(tmp_path, **options)


def test_a_scaler_of_one_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCorpus, match="return_5 has no two different values before fitted_before"):
        load(write_prices(tmp_path), among="history", fitted_before="2021-01-03")


def test_ranks_in_a_history() -> None:
    values = np.arange(1000.0)[:, None]
    scaler = fit_scaler(values, ("a",))
    ranks = scaler.scale(np.array([[-5.0], [250.0], [499.5], [2000.0], [NAN]]), "rank")[:, 0]
    assert ranks == pytest.approx([0, 0.25, 0.5, 1, NAN], abs=2e-3, nan_ok=True)


@given(seed=st.integers(0, 2**16), row=st.integers(61, 119), among=st.sampled_from(["tickers", "history"]))
@settings(max_examples=CASES or 25, deadline=None)
def test_moving_a_future_bar_changes_no_earlier_row(
    tmp_path_factory: pytest.TempPathFactory, seed: int, row: int, among: str
) -> None:
    options: Any = {"among": among, "every": "bar"}
    if among == "history":
        options["fitted_before"] = str(FIRST + timedelta(days=60))
    columns = random_bars(seed, 120, 8)
    folder = tmp_path_factory.mktemp("moved")
    before = load(write_prices(folder, 120, columns), **options).table
    for column in ("open", "high", "low", "close"):
        columns[column][row:] *= 1.5
    after = load(write_prices(folder, 120, columns), **options).table
    moved = datetime.combine(FIRST + timedelta(days=row), datetime.min.time(), UTC)
    known = ("text", "features", "available_at", "group")
    early = [[line[name] for name in known] for line in before if line["available_at"] <= moved + timedelta(hours=1)]
    assert early and early == [[line[name] for name in known] for line in after][: len(early)]
    labels = [line["target"] for line in before if line["label_known_at"] < moved]
    assert labels == [line["target"] for line in after if line["label_known_at"] < moved]


def test_a_later_delisting_changes_no_scaler(tmp_path: Path) -> None:
    """Fit a scaler to rows whether or not they get a target: that is known later."""
    options: Any = {"among": "history", "every": "bar", "fitted_before": str(FIRST + timedelta(days=100))}
    columns = random_bars(0, 120, 8)
    before = load(write_prices(tmp_path, 120, columns), **options).table
    for array in columns.values():
        array[100:, 3] = np.nan
    after = load(write_prices(tmp_path, 120, columns), **options).table
    others = [
        {line["origin"]: line["features"] for line in table if line["group"] != TICKERS[3]} for table in (before, after)
    ]
    assert others[0] == others[1]
    assert len(after) < len(before), "the last rows of a ticker that ends have no target"


def test_week_ends() -> None:
    starts = np.datetime64("2024-01-01", "us") + np.arange(15) * np.timedelta64(1, "D")
    closes = starts + np.timedelta64(21, "h")
    prices = Prices(("a",), starts, closes, calendar="24/7", **random_bars(0, 15, 1))
    assert np.flatnonzero(week_ends(prices)).tolist() == [6, 13]


def write_news(folder: Path, rows: list[tuple[str, str, str]]) -> dict[str, Any]:
    """Dated texts of tickers, and the corpus that reads them."""
    path = folder / "news.csv"
    path.write_text("\n".join(["at,ticker,headline", *(",".join(row) for row in rows)]) + "\n")
    return {"name": "news", "path": str(path), "text": "headline", "published": "at", "group": "ticker"}


def test_texts_of_a_row_are_its_ticker_s_latest_before_the_decision(tmp_path: Path) -> None:
    path = write_prices(tmp_path)
    news = write_news(
        tmp_path,
        [
            ("2021-06-13T12:00:00Z", "AAA", "older than a week"),
            ("2021-06-14T12:00:00Z", "AAA", "first"),
            ("2021-06-20T12:00:00Z", "AAA", "third"),
            ("2021-06-15T12:00:00Z", "AAA", "second"),
            ("2021-06-21T00:00:00.000001Z", "AAA", "at the decision"),
            ("2021-06-21T00:00:00Z", "BBB", "at the close"),
            ("2021-06-21T00:00:01Z", "CCC", "after it"),
        ],
    )
    rows = load(path, texts=news)
    at = datetime(2021, 6, 21, tzinfo=UTC)
    texts = {row["group"]: row["text"] for row in rows.table if row["available_at"] == at}
    assert texts == {"AAA": "third\nsecond\nfirst", "BBB": "at the close"}
    assert len(rows.table) == 5, "of which two have the older text, and the later one has a week of its own"
    assert rows.notes["decisions without a text"] == len(load(path).table) - len(rows.table)
    [row] = [row for row in load(path, texts=news, texts_most=1, texts_within="3d").table if row["group"] == "AAA"][:1]
    assert row["text"] == "older than a week"
    assert len(row["features"]) == 3 and -3 <= row["target"] <= 3


@settings(max_examples=CASES or 200, deadline=None)
@given(
    minutes=st.lists(st.tuples(st.integers(0, 3000), st.sampled_from(TICKERS[:2])), min_size=1, max_size=30),
    decided=st.integers(0, 3000),
    most=st.integers(1, 5),
    data=st.data(),
)
def test_a_later_text_changes_no_decision(
    minutes: list[tuple[int, str]], decided: int, most: int, data: st.DataObject
) -> None:
    start = datetime(2021, 3, 1, tzinfo=UTC)
    later = data.draw(st.lists(st.tuples(st.integers(decided, 3000), st.sampled_from(TICKERS[:2])), max_size=10))

    def texts(pairs: list[tuple[int, str]]) -> LatestTexts:
        columns = {
            "text": [f"{ticker} {at}" for at, ticker in pairs],
            "group": [ticker for _, ticker in pairs],
            "available_at": [start + timedelta(minutes=at) for at, _ in pairs],
        }
        return LatestTexts(Rows(Dataset.from_dict(columns)), "12h", most)

    instant = np.datetime64("2021-03-01", "us") + np.timedelta64(decided, "m")
    early = [pair for pair in minutes if pair[0] < decided]
    answers = {ticker: texts([*early, *later, (0, "ZZZ")]).before(ticker, instant) for ticker in TICKERS[:2]}
    assert answers == {ticker: texts([*early, (0, "ZZZ")]).before(ticker, instant) for ticker in TICKERS[:2]}
    for ticker, answer in answers.items():
        within = sorted((at for at, whose in early if whose == ticker and at >= decided - 720), reverse=True)
        assert (answer or "").splitlines() == [f"{ticker} {at}" for at in within][:most]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([("2021-06-14T12:00:00Z", "ZZZ", "text")], {}, "no text is of a ticker of the prices"),
        ([("2020-06-14T12:00:00Z", "AAA", "text")], {}, "no decision has a text of the 7d before it"),
        ([("2021-06-14T12:00:00Z", "AAA", "text")], {"texts_within": "5B"}, "5B is of business days"),
    ],
)
def test_texts_that_meet_no_decision_are_refused(tmp_path: Path, rows: Any, options: Any, message: str) -> None:
    news = write_news(tmp_path, rows)
    with pytest.raises(Exception, match=message):
        load(write_prices(tmp_path), texts=news, **options)


def test_texts_without_a_ticker_are_refused(tmp_path: Path) -> None:
    news = write_news(tmp_path, [("2021-06-14T12:00:00Z", "AAA", "text")])
    del news["group"]
    with pytest.raises(BadCorpus, match="its texts have no group"):
        load(write_prices(tmp_path), texts=news)


def test_prices_are_repaired_where_that_is_asked(tmp_path: Path) -> None:
    columns = dict(random_bars(3, 240, 8))
    columns["low"] = columns["low"].copy()
    columns["low"][100, 2] = 0.0
    path = write_prices(tmp_path, columns=columns)
    with pytest.raises(BadPrices, match="not-positive"):
        load(path)
    assert load(path, repair=["not-positive"]).notes["repaired, not-positive"] == 1
    with pytest.raises(BadRecipe, match="repair"):
        load(path, repair=["interpolated"])  # which would tell earlier rows of the next bar


def test_prices_without_opens_are_refused_by_name(tmp_path: Path) -> None:
    path = write_prices(tmp_path)
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join([*row[:2], row[5]]) for row in rows) + "\n")
    with pytest.raises(BadCorpus, match="the prices have no opens, which targets need: add their column"):
        load(path, features=["return_5"])


def test_rows_for_signals_don_t_tell_which_tickers_go_on(tmp_path: Path) -> None:
    """Keep rows before a delisting with `rows: all`: they have no target."""
    path = write_prices(tmp_path)
    answered, everything = (load(path, every="bar", rows=rows).table for rows in ("answered", "all"))
    assert len(everything) > len(answered) and None in everything["target"] and None not in answered["target"]
    lines = path.read_text().splitlines()
    last = max(
        instant
        for instant, group in zip(everything["available_at"], everything["group"], strict=True)
        if group == "AAA"
    )
    limit = (last - timedelta(days=3)).date().isoformat()
    path.write_text("\n".join(line for line in lines if "AAA" not in line or line[:10] < limit) + "\n")
    ends = {
        rows: max(row["available_at"] for row in load(path, every="bar", rows=rows).table if row["group"] == "AAA")
        for rows in ("answered", "all")
    }
    assert ends["all"].date().isoformat() == limit and ends["answered"] < ends["all"] - timedelta(days=4)
    with pytest.raises(BadCorpus, match="set rows: all for signals"):
        read_texts({"name": "market-features", "path": str(path), "calendar": "24/7"}, ())
    assert len(read_texts({"name": "market-features", "path": str(path), "calendar": "24/7", "rows": "all"}, ()))
