"""Backtests of real texts and prices: a strict run that nothing marks, and years that the base had read, refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapterhub_fin.errors import BadRecipe, LookAhead
from adapterhub_fin_markets.backtest.overfitting import probability_of_overfitting
from adapterhub_fin_markets.backtest.run import backtest
from adapterhub_fin_markets.backtest.sweeping import sweep_backtests
from adapterhub_fin_markets.signals.table import write_signals


@pytest.fixture
def bitcoin(shared: Path, dated_tone: Any, tmp_path: Path) -> dict[str, Any]:
    """Return a recipe of two months of Bitcoin's news, answered by a version that knows until 2019."""
    shutil.copy(shared / "data" / "market_api" / "BTCUSDT_1d.csv", tmp_path / "BTC.csv")
    news = {"name": "news", "path": str(shared / "data" / "crypto_news" / "btc.json"), "by_day": "news"}
    return {
        "signals": {
            "adapter": "acme/tone",
            "texts": {**news, "end_label": "sentiment", "timezone": "UTC"},
            "ticker": "BTC",
        },
        "prices": {"path": str(tmp_path / "BTC.csv"), "calendar": "24/7"},
        "rules": {"positions": "long-short", "size": 1.0, "costs_bp": 10, "hold": "flat"},
        "test": {"from": "2022-12-01", "until": "2023-01-20"},
    }


def test_bitcoin_s_news_is_tested_strictly(bitcoin: dict[str, Any]) -> None:
    result = backtest(bitcoin)
    assert result.strict and not result.refused and not any(mark.red for mark in result.marks)
    assert result.measures.periods == len(result.at) >= 50
    assert str(result.signals.text_at.max()) == "2023-01-18T23:59:59.999999", "a day's news is known at its end"
    held = result.comparisons.by_name["hold"].measures.total_return
    assert held is not None and held > 0, "Bitcoin rose in January 2023"


def test_a_sweep_is_judged_by_how_its_best_was_chosen(bitcoin: dict[str, Any]) -> None:
    sweep = sweep_backtests(bitcoin, {"signals.threshold": ["0.3", "0.36", "0.4"], "rules.hold": ["flat", "keep"]})
    assert len(sweep.results) == 6
    returns = [result.returns for result in sweep.results.values()]
    returns = [np.array(of) for of in dict.fromkeys(tuple(np.round(each, 10)) for each in returns)]
    expected = probability_of_overfitting(np.stack(returns, axis=1), 16).probability
    assert sweep.evidence.overfitting == expected
    last = list(sweep.results.values())[-1]
    distinct = {tuple(np.round(result.returns, 10)) for result in sweep.results.values()}
    assert last.judgement.trials.count == len(distinct) > 1, "what earns the same is one trial"
    with pytest.raises(BadRecipe, match="give 2 to 1,000, each value once"):
        sweep_backtests(bitcoin, {"rules.hold": ["flat"]})
    with pytest.raises(BadRecipe, match="is tested on other dates"):
        sweep_backtests(bitcoin, {"test.until": ["2023-01-10", "2023-01-20"]})


def test_years_that_a_version_learnt_from_are_refused(shared: Path, dated_tone: Any, tmp_path: Path) -> None:
    tweets = tmp_path / "tweets.jsonl"
    with tweets.open("w") as file:
        for table in sorted((shared / "data" / "stocknet" / "tweets").glob("A*.jsonl")):
            for line in table.read_text().splitlines()[:200]:
                tweet = json.loads(line)
                at = datetime.strptime(tweet["created_at"], "%a %b %d %H:%M:%S %z %Y").isoformat()
                file.write(json.dumps({"ticker": table.stem, "at": at, "text": tweet["text"]}) + "\n")
    texts = {"name": "news", "path": str(tweets), "text": "text", "published": "at", "group": "ticker"}
    recipe: Mapping[str, Any] = {
        "signals": {"adapter": "acme/tone", "texts": texts, "window": "session"},
        "prices": {"path": str(shared / "data" / "stocknet" / "prices"), "calendar": "XNYS"},
        "test": {"from": "2014-01-01", "until": "2016-01-01"},
    }
    with pytest.raises(LookAhead, match="no version of acme/tone had ended its knowledge by then"):
        backtest(recipe)
    red = backtest(recipe, allow_lookahead=True)
    assert not red.strict and red.refusals


def test_minutes_by_their_meeting_are_refused(shared: Path, dated_tone: Any, tmp_path: Path) -> None:
    minutes = tmp_path / "minutes"
    minutes.mkdir()
    for path in (shared / "data" / "fomc_minutes").glob("2022*.txt"):
        (minutes / path.name).write_text(path.read_text("utf-8")[:2000], "utf-8")
    releases = shared / "data" / "fomc_minutes" / "release_dates_raw.csv"
    recipe: dict[str, Any] = {
        "signals": {
            "adapter": "acme/tone",
            "texts": {"name": "fomc", "path": str(minutes), "releases": str(releases)},
            "ticker": ["SPY", "TLT", "GLD"],
            "window": "session",
        },
        "prices": {
            "path": [str(shared / "data" / "etf_prices" / f"{ticker}.csv") for ticker in ("SPY", "TLT", "GLD")],
            "calendar": "XNYS",
            "adjusted_as_of": "2026-03-27",
        },
        "test": {"from": "2022-01-01", "until": "2023-02-01"},
    }
    strict = backtest(recipe)
    assert strict.strict and "adjusted as of 2026-03-27" in " ".join(mark.sentence for mark in strict.marks)
    read = [len(texts) for texts in strict.signals.texts]
    assert sum(read) == 3 * 8, "eight meetings, whose minutes count for each of three"
    by_meeting = {"name": "fomc", "path": str(minutes), "kind": "statements"}  # dated by the day of the file's name
    early = backtest({**recipe, "signals": {**recipe["signals"], "texts": by_meeting}})
    write_signals(early.signals, tmp_path / "early.parquet")
    with pytest.raises(LookAhead, match="a text of it is not in the corpus"):
        table = {"path": str(tmp_path / "early.parquet"), "texts": recipe["signals"]["texts"]}
        backtest({**recipe, "signals": {**table, "ticker": ["SPY", "TLT", "GLD"]}})
