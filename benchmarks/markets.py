"""Walk forward over twenty coins and eight stocks: a language model that reads sixteen features, beside plain numbers.

    python benchmarks/markets.py --coins FOLDER --stocknet FOLDER [--home build/markets]

A row is a ticker and a week. What was trained on the years before answers each year's rows: `regress` on prompts,
with and without resampling; a ridge and gradient boosting on the same sixteen numbers; for the stocks also `fusion` of
tweets and numbers, and of each alone. R2 and rank correlation are over all answered rows, and `within a week`
is the mean rank correlation among the tickers of a week. Intervals are of the stationary bootstrap over weeks, all
tickers of a week together. Stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.corpus import read_corpus
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.stats.bootstrap import stationary
from adapterhub_fin_markets.prices.stored import write_prices
from adapterhub_fin_markets.prices.tables import read_prices
from adapterhub_fin_plugins.metrics import r2, spearman

BASE_END = np.datetime64("2021-09-01")  # of minilm: decisions before it ignore the base
BLOCK = 4  # weeks, of the bootstrap
METRICS: Mapping[str, Callable[..., float]] = {"R2": r2, "rank correlation": spearman}  # over all rows
EMBARGO = "7d"
Answers = dict[str, np.ndarray]  # at, target, answer: (rows,) each


def coins(folder: Path, out: Path) -> None:
    """Store the coins' bars; the tables' other columns are of unknown making."""
    names = ["Date", "Open", "High", "Low", "Close", "Volume"]
    tables = {file.stem.partition(".")[2]: pd.read_csv(file)[names] for file in sorted(folder.glob("*.csv"))}
    prices = read_prices(tables, calendar="24/7", repair=["not-positive"])
    print(f"coins: {prices.close.shape}, repaired {prices.repairs}, {prices.universe}", flush=True)
    write_prices(prices, out)


def stocks(folder: Path, out: Path, tweets: Path) -> None:
    """Store the stocks' bars, and their tweets in one table."""
    prices = read_prices(folder / "prices", calendar="XNYS")
    print(f"stocks: {prices.close.shape}, {prices.universe}", flush=True)
    write_prices(prices, out)
    with tweets.open("w") as file:
        for table in sorted((folder / "tweets").glob("*.jsonl")):
            for line in table.read_text().splitlines():
                tweet = json.loads(line)
                at = pd.to_datetime(tweet["created_at"], format="%a %b %d %H:%M:%S %z %Y").isoformat()
                file.write(json.dumps({"ticker": table.stem, "at": at, "text": tweet["text"]}) + "\n")


def recipe(
    name: str, prices: Path, start: str, head: Any, training: Mapping[str, Any], **corpus: Any
) -> dict[str, Any]:
    """Return the recipe of one series: a version for each year from `start`."""
    return {
        "name": name,
        "base": "minilm",
        "method": "lora",
        "head": head,
        "corpus": {
            "name": "market-features",
            "path": str(prices),
            "license": "NOASSERTION",
            "splitter": {"validation": 0.15},
            **corpus,
        },
        "schedule": {"windows": "yearly", "start": start, "embargo": EMBARGO},
        "training": {"seed": 0, "metric": "spearman", "baseline": False, **training},
    }


def tested(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of each window, as training divides them."""
    parts = []
    for planned in ahf.preview_series(given):
        choice: CorpusChoice = planned.recipe.corpus
        parts.append(read_corpus(choice, planned.recipe.head.name).splits)
    return parts


def of_series(given: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> Answers:
    """Return what each window's version answers of its test rows."""
    series = ahf.train_series(given)
    predicted = []
    for step, splits in zip(series.steps, parts, strict=True):
        adapter = ahf.load(step.version.reference)
        predicted.append(np.array([answer.value for answer in adapter.predict(splits["test"])]))
    return together(parts, predicted)


def of_numbers(models: Sequence[Any], parts: Sequence[Mapping[str, Any]]) -> Answers:
    """Return what the best of some models on validation answers, window by window."""
    predicted = []
    for splits in parts:
        x, y = {}, {}
        for part in ("train", "validation", "test"):
            cells = [[np.nan if cell is None else cell for cell in row] for row in splits[part]["features"]]
            x[part], y[part] = np.array(cells, float), np.array(splits[part]["target"], float)
        fitted = [
            make_pipeline(SimpleImputer(), StandardScaler(), model).fit(x["train"], y["train"]) for model in models
        ]
        best = max(fitted, key=lambda model: spearman(y["validation"], model.predict(x["validation"])))
        predicted.append(best.predict(x["test"]))
    return together(parts, predicted)


def together(parts: Sequence[Mapping[str, Any]], predicted: Sequence[np.ndarray]) -> Answers:
    """Return all windows' test rows, in their order."""
    at = [
        np.array([value.replace(tzinfo=None) for value in splits["test"]["available_at"]], "M8[us]") for splits in parts
    ]
    target = [np.array(splits["test"]["target"], float) for splits in parts]
    return {"at": np.concatenate(at), "target": np.concatenate(target), "answer": np.concatenate(predicted)}


def line(name: str, answers: Answers) -> str:
    """Return one row of the table: each metric with its interval."""
    _, weeks = np.unique(answers["at"].astype("M8[D]"), return_inverse=True)
    rows = [np.flatnonzero(weeks == week) for week in range(weeks.max() + 1)]

    def cell(metric: Callable[..., float]) -> str:
        def drawn(chosen: np.ndarray) -> float:
            index = np.concatenate([rows[int(week)] for week in np.ravel(chosen)])
            return metric(answers["target"][index], answers["answer"][index])

        (low, high), _ = stationary(np.arange(len(rows), dtype=float), statistic=drawn, block=BLOCK, resamples=2000)
        return f"{metric(answers['target'], answers['answer']):+.3f} ({low:+.3f} to {high:+.3f})"

    within = np.array([spearman(answers["target"][week], answers["answer"][week]) for week in rows])
    (low, high), _ = stationary(within, block=BLOCK, resamples=2000)
    years = answers["at"].astype("M8[Y]")
    by_year = [
        f"{year} {spearman(answers['target'][years == year], answers['answer'][years == year]):+.2f}"
        for year in np.unique(years)
    ]
    marked = "*" if (answers["at"] < BASE_END).any() else ""
    cells = [*map(cell, METRICS.values()), f"{within.mean():+.3f} ({low:+.3f} to {high:+.3f})", ", ".join(by_year)]
    return f"| {name}{marked} | {' | '.join(cells)} |"


def study(title: str, prices: Path, start: str, training: Mapping[str, Any]) -> None:
    """Compare prompts with plain numbers over one universe."""
    slug = prices.stem
    plain = recipe(f"bench/{slug}", prices, start, "regress", training)
    resampled = recipe(f"bench/{slug}-resampled", prices, start, "regress", {**training, "sampling": {"by": "bucket"}})
    parts = tested(plain)
    table(
        title,
        parts,
        {
            "prompts, regress": lambda: of_series(plain, parts),
            "prompts, regress, resampled": lambda: of_series(resampled, parts),
            **plain_numbers(parts),
        },
    )


def fusion_study(prices: Path, tweets: Path, training: Mapping[str, Any]) -> None:
    """Compare tweets and numbers, and each alone, over the stocks of 2015."""
    texts: dict[str, Any] = {"name": "news", "path": str(tweets), "text": "text", "published": "at", "group": "ticker"}
    texts["near_duplicates"] = 0.8  # half of the tweets are passed on
    given = {
        reads: recipe(
            f"bench/stocks-fusion-{reads}",
            prices,
            "2015-01-01",
            {"name": "fusion", "answer": "number", "reads": reads},
            training,
            texts=texts,
            texts_most=5,
        )
        for reads in ("both", "text", "numbers")
    }
    parts = tested(given["both"])
    runs = {f"fusion, {reads}": (lambda one=one: of_series(one, parts)) for reads, one in given.items()}
    table("Stocks with tweets, 2015", parts, {**runs, **plain_numbers(parts)})


def plain_numbers(parts: Sequence[Mapping[str, Any]]) -> dict[str, Callable[[], Answers]]:
    """Return a ridge and gradient boosting, whose settings validation picks."""
    ridges = [Ridge(alpha=alpha) for alpha in (1, 10, 100, 1000, 10000)]
    boosted = [
        GradientBoostingRegressor(n_estimators=trees, learning_rate=0.05, max_depth=3, subsample=0.5, random_state=0)
        for trees in (25, 50, 100, 200)
    ]
    return {
        "ridge": lambda: of_numbers(ridges, parts),
        "gradient boosting": lambda: of_numbers(boosted, parts),
    }


def table(title: str, parts: Sequence[Mapping[str, Any]], runs: Mapping[str, Callable[[], Answers]]) -> None:
    """Print one table, a line as each run ends."""
    counts = ", ".join(f"{len(splits['train'])}/{len(splits['test'])}" for splits in parts)
    print(f"\n{title}: rows to learn from and to answer, by window: {counts}\n", flush=True)
    print(f"| | {' | '.join(METRICS)} | within a week | rank correlation by year |\n|---|---|---|---|---|", flush=True)
    for name, run in runs.items():
        print(line(name, run()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=Path)
    parser.add_argument("--stocknet", type=Path)
    parser.add_argument("--home", type=Path, default=Path("build/markets"))
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()
    home = arguments.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["AHF_HOME"] = str(home)
    training = {"epochs": arguments.epochs}
    if arguments.coins:
        coins(arguments.coins, home / "coins.parquet")
        study("Coins, 2022 to 2024", home / "coins.parquet", "2022-01-01", training)
    if arguments.stocknet:
        stocks(arguments.stocknet, home / "stocks.parquet", home / "tweets.jsonl")
        study("Stocks, 2014 to 2017", home / "stocks.parquet", "2014-01-01", training)
        fusion_study(home / "stocks.parquet", home / "tweets.jsonl", training)
    print(f"\n* answers decisions before {BASE_END}, where the base's own knowledge ends: it is ignored there")


if __name__ == "__main__":
    main()
