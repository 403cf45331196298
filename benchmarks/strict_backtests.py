"""Backtests that nothing marks: Bitcoin's news of 2023, the FOMC's minutes by release, and tweets that are refused.

    python benchmarks/strict_backtests.py --data FOLDER [--home build/strict]

FOLDER holds crypto_news, market_api, fomc_minutes, etf_prices and stocknet. The adapter is that of recipes/tone.yaml,
which knows until December 2021, trained into `home` where it is not there yet. Reports are written beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NAME = "bench/tone"


def bitcoin(data: Path, home: Path) -> dict[str, Any]:
    """Return the recipe of Bitcoin's news, dated by day: each is known at its day's end."""
    shutil.copy(data / "market_api" / "BTCUSDT_1d.csv", home / "BTC.csv")
    news = {"name": "news", "path": str(data / "crypto_news" / "btc.json"), "by_day": "news", "timezone": "UTC"}
    return {
        "name": "bitcoin",
        "signals": {
            "adapter": NAME,
            "texts": {**news, "end_label": "sentiment"},  # written by a later model: cut off
            "ticker": "BTC",
            "threshold": 0.7,
        },
        "prices": {"path": str(home / "BTC.csv"), "calendar": "24/7", "currency": "USD"},
        "rules": {"positions": "long-short", "size": 1.0, "costs_bp": 10},
        "test": {"from": "2022-11-29", "until": "2023-12-21"},
    }


def minutes(data: Path) -> dict[str, Any]:
    """Return the recipe of the FOMC's minutes, dated by the day of their release, on three funds."""
    folder = data / "fomc_minutes"
    texts = {"name": "fomc", "path": str(folder), "releases": str(folder / "release_dates_raw.csv")}
    tickers = ["GLD", "SPY", "TLT"]
    return {
        "name": "minutes",
        "signals": {"adapter": NAME, "texts": texts, "ticker": tickers, "window": "session"},
        "prices": {
            "path": [str(data / "etf_prices" / f"{ticker}.csv") for ticker in tickers],
            "calendar": "XNYS",
            "adjusted_as_of": "2026-03-27",
        },
        "rules": {"positions": "long-short", "costs_bp": 10},
        "test": {"from": "2022-01-01", "until": "2025-01-01"},
    }


def tweets(data: Path, home: Path) -> dict[str, Any]:
    """Return the recipe of eight stocks' tweets of 2014 and 2015, which the base had read."""
    with (home / "tweets.jsonl").open("w") as file:
        for table in sorted((data / "stocknet" / "tweets").glob("*.jsonl")):
            for line in table.read_text().splitlines():
                tweet = json.loads(line)
                at = datetime.strptime(tweet["created_at"], "%a %b %d %H:%M:%S %z %Y").isoformat()
                file.write(json.dumps({"ticker": table.stem, "at": at, "text": tweet["text"]}) + "\n")
    texts = {"name": "news", "path": str(home / "tweets.jsonl"), "text": "text", "published": "at", "group": "ticker"}
    return {
        "name": "tweets",
        "signals": {"adapter": NAME, "texts": texts, "window": "session"},
        "prices": {"path": str(data / "stocknet" / "prices"), "calendar": "XNYS"},
        "test": {"from": "2014-01-01", "until": "2016-01-01"},
    }


def show(title: str, recipe: Mapping[str, Any], report: Path, *overrides: str) -> None:
    """Run a backtest, write its report, and print a line of it and of each strategy beside it."""
    from adapterhub_fin_markets.backtest.run import backtest
    from adapterhub_fin_markets.report.writing import write_report

    result = backtest(recipe, overrides)
    write_report(result, report)
    measures, judgement = result.measures, result.judgement
    low, high = judgement.intervals.sharpe or (float("nan"), float("nan"))
    p = float("nan") if judgement.placebo is None else judgement.placebo.p
    print(
        f"| {title} | {measures.total_return:+.1%} | {measures.sharpe or 0:.2f} [{low:.2f}, {high:.2f}] | "
        f"{measures.max_drawdown:.0%} | {measures.turnover:.2f} | {p:.2f} |",
        flush=True,
    )
    for name, other in result.comparisons.by_name.items():
        of = other.measures
        sharpe = "-" if of.sharpe is None else f"{of.sharpe:.2f}"
        print(f"| {title}: {name} | {of.total_return:+.1%} | {sharpe} | {of.max_drawdown:.0%} | {of.turnover:.2f} | |")
    print(f"strict: {result.strict}; refused: {dict(result.refused)}; trials: {judgement.trials.count}", flush=True)
    for mark in result.marks:
        print(f"{'RED' if mark.red else 'note'}: {mark.sentence}", flush=True)


def main() -> None:
    """Train the adapter where it is not there, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=Path("build/strict"))
    arguments = parser.parse_args()
    home = arguments.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["AHF_HOME"] = str(home / "registry")
    import adapterhub_fin as ahf
    from adapterhub_fin_markets.backtest.run import backtest
    from adapterhub_fin_markets.backtest.sweeping import sweep_backtests

    if NAME not in ahf.Registry().names():
        ahf.train(ROOT / "recipes" / "tone.yaml", overrides=[f"name={NAME}"])
    btc = bitcoin(arguments.data, home)
    show("Bitcoin, long-short, HOLD keeps", btc, home / "bitcoin")
    show("Bitcoin, long-short, HOLD is flat", btc, home / "bitcoin-flat", "rules.hold=flat")
    show("Bitcoin, long-only, HOLD keeps", btc, home / "bitcoin-long", "rules.positions=long-only")
    sweep = sweep_backtests(
        btc, {"signals.threshold": ["0.5", "0.6", "0.7", "0.8", "0.9"], "rules.hold": ["keep", "flat"]}
    )
    print(f"ten combinations: overfitting {sweep.evidence.overfitting:.2f}, SPA p {sweep.evidence.spa:.2f}", flush=True)
    show("minutes of the FOMC", minutes(arguments.data), home / "minutes")
    try:
        backtest(tweets(arguments.data, home))
    except ahf.LookAhead as error:
        print(f"tweets: refused: {error}")


if __name__ == "__main__":
    main()
