"""CPU seconds of a backtest of 500 tickers x 2,520 days: its parts, and `ahf backtest` all in.

    python benchmarks/backtest.py [--texts 20000] [--folder SCRATCH]

Prices are random walks; the texts are five sentences, dated at random, each of one ticker. A tiny adapter answers them
once, before anything is measured: what answering costs is in RESULTS.md elsewhere.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import yaml

TICKERS, DAYS = [f"T{number:03}" for number in range(500)], 2520
TEXTS = ("Profit rose.", "Profit fell.", "The board meets in May.", "Orders rose on demand.", "Sales dropped.")


def write_material(folder: Path, texts: int) -> None:
    """Write prices, texts and a recipe, and train a tiny adapter whose knowledge ends before them."""
    import adapterhub_fin as ahf
    from adapterhub_fin.plugin import sessions
    from adapterhub_fin.testing import tiny_corpus, tiny_encoder
    from adapterhub_fin_markets.prices.stored import write_prices
    from adapterhub_fin_markets.prices.tables import read_prices

    rng = np.random.default_rng(0)
    days = np.array(list(sessions("XNYS", *(np.datetime64(day).item() for day in ("2012-01-03", "2022-12-30"))).days))
    days = days[-DAYS:].astype("M8[D]")
    closes = 100 * np.cumprod(1 + rng.normal(0, 0.02, (DAYS, len(TICKERS))), 0)
    opens = np.concatenate([closes[:1], closes[:-1]]) * (1 + rng.normal(0, 0.002, closes.shape))
    table = {
        "date": np.repeat(days, len(TICKERS)),
        "ticker": TICKERS * DAYS,
        "open": opens.ravel(),
        "high": np.maximum(opens, closes).ravel() * 1.001,
        "low": np.minimum(opens, closes).ravel() * 0.999,
        "close": closes.ravel(),
        "volume": np.full(closes.size, 1e6),
    }
    write_prices(read_prices(pa.table(table), calendar="XNYS"), folder / "prices.parquet")
    at = np.sort(rng.integers(0, DAYS, texts))
    news = {
        "published": [f"{day}T15:30:00Z" for day in days[at]],
        "ticker": [TICKERS[number] for number in rng.integers(0, len(TICKERS), texts)],
        "headline": [TEXTS[number] for number in rng.integers(0, len(TEXTS), texts)],
    }
    pa.parquet.write_table(pa.table(news), folder / "news.parquet")
    (folder / "encoder").mkdir()
    dated = {"knowledge_end": "2010-12-31", "evidence": "invented"}
    base = {"id": "bench/tiny", "path": str(tiny_encoder(folder / "encoder")), **dated}
    corpus = {"name": tiny_corpus(), "splitter": {"by": "stratified"}}
    ahf.train(name="bench/tone", base=base, corpus=corpus, training={"epochs": 1, "max_length": 32})
    documents = {"name": "news", "path": str(folder / "news.parquet"), "text": "headline", "published": "published"}
    recipe = {
        "signals": {"adapter": "bench/tone", "texts": {**documents, "group": "ticker"}, "window": "session"},
        "prices": {"path": str(folder / "prices.parquet")},
        "rules": {"positions": "long-short", "hold": "flat"},
    }
    (folder / "bench.yaml").write_text(yaml.safe_dump(recipe))


def cpu(compute: Callable[[], object], times: int = 3) -> float:
    """Return the least CPU seconds of this process over a few runs."""
    spent = []
    for _ in range(times):
        start = time.process_time()
        compute()
        spent.append(time.process_time() - start)
    return min(spent)


def parts(folder: Path) -> None:
    """Print the CPU seconds of twelve features, the ledger and 2,000 bootstraps, each warm."""
    from adapterhub_fin_markets.backtest.intervals import bootstrap_intervals
    from adapterhub_fin_markets.backtest.ledger import run_ledger
    from adapterhub_fin_markets.backtest.orders import Orders
    from adapterhub_fin_markets.backtest.rules import Rules
    from adapterhub_fin_markets.features.catalogue import FEATURES
    from adapterhub_fin_markets.features.table import compute_features
    from adapterhub_fin_markets.prices.tables import read_prices

    prices = read_prices(folder / "prices.parquet")
    weight = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], prices.close.shape) / len(TICKERS)
    weight[0] = np.nan
    sized_at = np.broadcast_to(np.arange(DAYS)[:, None] - 1, weight.shape)
    orders, rules = Orders(weight, sized_at), Rules(positions="long-short")
    names = [feature.name for feature in FEATURES][:12]
    ledger = run_ledger(prices, orders, rules)
    spent = {
        "reading": cpu(lambda: read_prices(folder / "prices.parquet")),
        "twelve features": cpu(lambda: compute_features(prices, names)),
        "ledger": cpu(lambda: run_ledger(prices, orders, rules)),
        "2,000 bootstraps": cpu(lambda: bootstrap_intervals(ledger.returns[1:], a_year=252)),
    }
    for name, seconds in spent.items():
        print(f"{name}: {seconds:.2f} s", flush=True)
    print(f"features, ledger and bootstraps: {sum(spent.values()) - spent['reading']:.2f} s (asked: 2)", flush=True)


def all_in(folder: Path) -> None:
    """Print the CPU seconds of `ahf backtest` as a process of its own, with its report and without."""
    command = [sys.executable, "-m", "adapterhub_fin.cli", "backtest", str(folder / "bench.yaml"), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # answers the texts, once
    for name, more in {"without a report": [], "with its report": ["--out", str(folder / "report")]}.items():
        spent = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        print(f"ahf backtest, {name}: {min(spent):.2f} s (asked: 5)", flush=True)


def main() -> None:
    """Write the material, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        os.environ.update(
            {"AHF_HOME": str(folder / "home"), "AHF_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        )
        write_material(folder, arguments.texts)
        parts(folder)
        all_in(folder)


if __name__ == "__main__":
    main()
