"""Make bases of one's own and use them strictly: a backtest of 2014 and 2015, and a base a year on the FOMC's minutes.

    python benchmarks/strict_base.py --data FOLDER [--home build/strict-base] [--only stocks|vintages]

FOLDER holds fed_speeches, fomc_statements, older_text, stocknet and fomc_minutes. The first base reads speeches and
statements up to the end of 2013 and a book of 1776; adapters on it learn each half-year from tweets and the returns
that followed them, and `ahf backtest` runs on what they say of later tweets: no row is marked. The vintages go on,
each from the one before, at the same number of tokens, and each is measured on every year. What is there already is
not made again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

import adapterhub_fin as ahf

BASE, TONE, VINTAGE = "bench/fin-2013", "bench/tweets", "bench/minutes"
UNTIL = "2013-12-31"
YEARS = range(2018, 2024)  # the last year that each vintage has read
BLOCK = 128


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def speeches(data: Path, home: Path) -> dict[str, Any]:
    """Return the corpus of the governors' speeches, each known at the end of its day in New York."""
    lines = (data / "fed_speeches" / "fed_speeches.jsonl").read_text(encoding="utf-8").splitlines()
    path = write_rows(home / "speeches.jsonl", [json.loads(line) for line in lines])
    dated = {"available_at": "date", "timezone": "America/New_York", "group": "id", "drop_missing": True}
    return {"name": "table", "path": str(path), "text": "text", **dated, "license": "NOASSERTION"}


def statements(data: Path, home: Path) -> dict[str, Any]:
    """Return the corpus of the FOMC's statements, which are released on the day that their file names."""
    folder = data / "fomc_statements"
    names = sorted(path.name for path in folder.glob("*.txt"))
    days = ["file,available_at", *(f"{name},{date.fromisoformat(name[:8]).isoformat()}" for name in names)]
    (home / "statements.csv").write_text("\n".join(days) + "\n", encoding="utf-8")
    dates = {"dates": str(home / "statements.csv"), "timezone": "America/New_York"}
    return {"name": "text", "path": str(folder), "glob": "*.txt", **dates}


def book(data: Path) -> dict[str, Any]:
    """Return the corpus of The Wealth of Nations, whose title page dates it."""
    stated = {"knowledge_end": "1776-12-31", "evidence": "the title page of the first edition: London, 1776"}
    return {"name": "text", "path": str(data / "older_text"), "glob": "*.txt", **stated}


def base_recipe(data: Path, home: Path) -> dict[str, Any]:
    """Return the recipe of the base until 2013."""
    return {
        "name": BASE,
        "base": {"new": "llama", "layers": 4, "width": 128, "heads": 4, "tokenizer": {"train": 4096}},
        "corpora": [speeches(data, home), statements(data, home), book(data)],
        "until": UNTIL,
        "training": {"tokens": 1_000_000, "batch_size": 32, "learning_rate": 3e-3, "block": BLOCK, "validation": 0.02},
    }


def tweets(data: Path, home: Path) -> Path:
    """Write the tweets of eight stocks, each with the direction of the session after it and when that was known."""
    from adapterhub_fin_markets.features.targets import direction_targets
    from adapterhub_fin_markets.prices.tables import read_prices

    prices = read_prices(data / "stocknet" / "prices", calendar="XNYS")
    made = direction_targets(prices, horizon=1)
    rows = []
    for table in sorted((data / "stocknet" / "tweets").glob("*.jsonl")):
        column = prices.tickers.index(table.stem)
        for line in table.read_text(encoding="utf-8").splitlines():
            tweet = json.loads(line)
            at = datetime.strptime(tweet["created_at"], "%a %b %d %H:%M:%S %z %Y").astimezone(UTC)
            row = int(np.searchsorted(made.decided_at, np.datetime64(at.replace(tzinfo=None), "us"), side="right"))
            if row == len(made.decided_at) or np.isnan(made.targets[row, column]):
                continue
            label = "up" if made.targets[row, column] > 0 else "down"
            known = made.label_known_at[row, column].astype("M8[us]").item().replace(tzinfo=UTC)
            dated = {"at": at.isoformat(), "known_at": known.isoformat()}
            rows.append({"ticker": table.stem, "text": tweet["text"], "label": label, **dated})
    return write_rows(home / "labelled_tweets.jsonl", rows)


def tweets_recipe(data: Path, home: Path) -> dict[str, Any]:
    """Return the recipe of the adapters: one each half-year from July 2014, on the base until 2013."""
    columns = {"text": "text", "label": "label", "available_at": "at", "label_known_at": "known_at"}
    return {
        "name": TONE,
        "base": {"version": BASE},
        "method": {"name": "lora", "rank": 8},
        "head": "classify",
        "corpus": {"name": "table", "path": str(tweets(data, home)), **columns, "splitter": {"validation": 0.1}},
        "schedule": {"windows": "6mo", "start": "2014-07-01", "end": "2015-07-01", "embargo": "2d"},
        "training": {"max_steps": 250, "batch_size": 32, "learning_rate": 1e-3, "max_length": 64, "baseline": False},
    }


def backtest_recipe(data: Path, home: Path) -> dict[str, Any]:
    """Return the recipe of the backtest on tweets from July 2014 to the end of 2015."""
    columns = {"text": "text", "published": "at", "group": "ticker"}
    texts = {"name": "news", "path": str(home / "labelled_tweets.jsonl"), **columns}
    return {
        "name": "tweets-strict",
        "signals": {"adapter": TONE, "texts": texts, "window": "session"},
        "prices": {"path": str(data / "stocknet" / "prices"), "calendar": "XNYS"},
        "rules": {"positions": "long-short", "size": 0.125, "costs_bp": 10},
        "test": {"from": "2014-01-01", "until": "2016-01-01"},
    }


def stocks(data: Path, home: Path, registry: Any) -> None:
    """Make the base and its adapters where they are not there, and print the strict backtest."""
    from strict_backtests import show

    if BASE not in registry.names():
        made = ahf.pretrain(base_recipe(data, home))
        print(made, flush=True)
    base = registry.resolve(BASE)
    print(
        f"base {base.reference}: knows until {base.manifest.knowledge.end}, {dict(base.manifest.metrics)}", flush=True
    )
    for entry in base.manifest.knowledge.inputs:
        print(f"  {entry.input}: {entry.at}, {entry.kind} ({entry.evidence})", flush=True)
    for step in ahf.train_series(tweets_recipe(data, home)).steps:
        end = step.version.manifest.knowledge.end
        print(f"{step.version.reference}: knows until {end}, {dict(step.version.manifest.metrics)}", flush=True)
    show("tweets, long-short", backtest_recipe(data, home), home / "tweets-strict")


def vintage_recipe(data: Path) -> dict[str, Any]:
    """Return the recipe of the vintages: a base a year, each going on from the one before."""
    folder = data / "fomc_minutes"
    releases = str(folder / "release_dates_raw.csv")
    return {
        "name": VINTAGE,
        "base": {"new": "llama", "layers": 3, "width": 128, "heads": 4, "tokenizer": {"train": 2048}},
        "corpus": {"name": "fomc", "path": str(folder), "glob": "2*.txt", "releases": releases},
        "schedule": {"windows": "yearly", "start": f"{YEARS[0] + 1}-01-01", "end": f"{YEARS[-1] + 1}-01-01"},
        "training": {"tokens": 600_000, "batch_size": 16, "learning_rate": 3e-3, "block": BLOCK},
    }


def from_scratch(given: Mapping[str, Any], year: int, registry: Any) -> str:
    """Return a base of the same shape that read all minutes up to a year, from scratch, on one vintage's tokens."""
    name = f"bench/minutes-{year}"
    if name not in registry.names():
        recipe = {key: value for key, value in given.items() if key != "schedule"}
        ahf.pretrain({**recipe, "name": name, "until": f"{year}-12-31"})
    return f"{name}@1"


def bits_per_byte(folder: Path, texts: Sequence[str]) -> float:
    """Return a causal base's loss on texts, in bits a byte, each text read in windows of BLOCK tokens."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    nats = 0.0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt", verbose=False).input_ids[0]
        for part in ids.split(BLOCK):
            if len(part) > 1:
                with torch.inference_mode():
                    nats += model(input_ids=part[None], labels=part[None]).loss.item() * (len(part) - 1)
    return nats / np.log(2) / sum(len(text.encode()) for text in texts)


def vintages(data: Path, home: Path, registry: Any) -> None:
    """Make the vintages, measure each on the minutes that came out in every year, and draw the result."""
    from adapterhub_fin.plugin import corpus_options, load_corpus

    given = vintage_recipe(data)
    made = ahf.pretrain_series(given)
    rows = load_corpus(*corpus_options(given["corpus"])).table
    years = np.array([at.year for at in rows["available_at"]])
    texts = {int(year): [rows["text"][int(row)] for row in np.flatnonzero(years == year)] for year in np.unique(years)}
    table: dict[int, dict[int, float]] = {}
    for year, version in zip(YEARS, made.versions, strict=True):
        folder = registry.path(version)
        table[year] = {tested: bits_per_byte(folder, texts[tested]) for tested in sorted(texts) if tested >= 2019}
        losses = "  ".join(f"{tested} {loss:.3f}" for tested, loss in table[year].items())
        print(f"until {year} ({version.reference}): bits a byte in {losses}", flush=True)
    for year in YEARS:
        loss, stale = table[year][year + 1], table[YEARS[0]][year + 1]
        alone = bits_per_byte(registry.path(registry.resolve(from_scratch(given, year, registry))), texts[year + 1])
        print(
            f"{year + 1}: by the vintage of {year} {loss:.3f}, by that of {YEARS[0]} {stale:.3f}, by a base from "
            f"scratch until {year} on as many tokens as one vintage {alone:.3f}",
            flush=True,
        )
    draw(table, home / "vintages.png")


def draw(table: Mapping[int, Mapping[int, float]], path: Path) -> None:
    """Draw each vintage's loss by the year of the text: filled where the text is later than all that it has read."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for number, (year, losses) in enumerate(table.items()):
        colour = f"C{number}"
        axes.plot(list(losses), list(losses.values()), color=colour, linewidth=1, label=f"until {year}")
        later = {tested: loss for tested, loss in losses.items() if tested > year}
        axes.plot(list(later), list(later.values()), "o", color=colour)
    axes.set_xlabel("year in which the minutes came out (dots: later than all that the base has read)")
    axes.set_ylabel("bits a byte")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    print(f"picture: {path.name}", flush=True)


def main() -> None:
    """Make what is missing, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=Path("build/strict-base"))
    parser.add_argument("--only", choices=["stocks", "vintages"])
    arguments = parser.parse_args()
    home = arguments.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["AHF_HOME"] = str(home / "registry")
    registry = ahf.Registry()
    if arguments.only != "vintages":
        stocks(arguments.data, home, registry)
    if arguments.only != "stocks":
        vintages(arguments.data, home, registry)


if __name__ == "__main__":
    main()
