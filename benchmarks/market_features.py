"""CPU seconds of reading prices and computing twelve features in a new process, beside pandas in another.

    python benchmarks/market_features.py [--tickers 500] [--days 2516] [--repeats 3]

Both read the same parquet file of invented prices (a row a ticker and session of XNYS) and compute the same twelve
features. pandas does it as most people would, with groupby; it neither checks prices nor says when a cell was known.
RSI, MACD, Bollinger and ATR are called a ticker at a time there too. What the two differ by is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

NAMES = (
    "return_1 return_5 return_20 volume_ratio volatility_20 rsi_14 macd bb_position atr_ratio vwap_distance range_1 "
    "gap_1"
)


def write_prices(path: Path, tickers: int, days: int) -> None:
    """Write invented prices of sessions of XNYS, as a long table."""
    import pyarrow as pa
    import pyarrow.parquet

    from adapterhub_fin.plugin import sessions

    listed = sessions("XNYS", date(2015, 1, 1), date(2026, 12, 31)).days[:days]
    rng = np.random.default_rng(0)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.015, (days, tickers)), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.005, close.shape))
    table = {
        "Date": np.repeat(np.array(listed, "M8[D]"), tickers),
        "Ticker": np.tile([f"T{number:03}" for number in range(tickers)], days),
        "Open": open_.ravel(),
        "High": (np.maximum(open_, close) * 1.01).ravel(),
        "Low": (np.minimum(open_, close) * 0.99).ravel(),
        "Close": close.ravel(),
        "Volume": rng.integers(10_000, 1_000_000, close.size).astype(float),
    }
    pyarrow.parquet.write_table(pa.table(table), path)


def ours(path: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return the CPU seconds of each step so far, and the last value of each feature of one ticker."""
    steps = {"start of Python": time.process_time()}
    from adapterhub_fin_markets.features.table import compute_features
    from adapterhub_fin_markets.prices.tables import read_prices

    steps["imports"] = time.process_time()
    prices = read_prices(path, calendar="XNYS")
    steps["reading"] = time.process_time()
    table = compute_features(prices, NAMES)
    steps["features"] = time.process_time()
    return steps, {name: float(table[name][-1, 7]) for name in table}


def by_pandas(path: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return the CPU seconds of each step so far, and the last value of each feature of one ticker."""
    steps = {"start of Python": time.process_time()}
    import pandas as pd
    import talib

    steps["imports"] = time.process_time()
    rows = pd.read_parquet(path).sort_values(["Ticker", "Date"], ignore_index=True)
    steps["reading"] = time.process_time()
    tickers = rows.groupby("Ticker", sort=False)
    close, volume = rows["Close"], rows["Volume"]

    def rolled(values: Any, how: str, bars: int = 20) -> Any:
        return getattr(values.groupby(rows["Ticker"], sort=False).rolling(bars), how)().reset_index(level=0, drop=True)

    def each(function: Any, *columns: str) -> Any:
        parts = [function(*(part[column].to_numpy() for column in columns)) for _, part in tickers]
        return pd.Series(np.concatenate(parts), rows.index)

    def bollinger(values: np.ndarray) -> np.ndarray:
        upper, _, lower = talib.BBANDS(values, 20)
        return (values - lower) / (upper - lower)

    typical = (rows["High"] + rows["Low"] + close) / 3
    returns = tickers["Close"].pct_change()
    made = {
        "return_1": returns,
        "return_5": tickers["Close"].pct_change(5),
        "return_20": tickers["Close"].pct_change(20),
        "volume_ratio": volume / rolled(volume, "mean"),
        "volatility_20": rolled(returns, "std"),
        "rsi_14": each(lambda values: talib.RSI(values, 14), "Close"),
        "macd": each(lambda values: talib.MACD(values)[0] / values, "Close"),
        "bb_position": each(bollinger, "Close"),
        "atr_ratio": each(talib.ATR, "High", "Low", "Close") / close,
        "vwap_distance": 1 - rolled(typical * volume, "sum") / rolled(volume, "sum") / close,
        "range_1": (rows["High"] - rows["Low"]) / close,
        "gap_1": rows["Open"] / tickers["Close"].shift() - 1,
    }
    steps["features"] = time.process_time()
    last = tickers.tail(1).index[7]
    return steps, {name: float(series[last]) for name, series in made.items()}


def measure(which: str, path: Path) -> dict[str, Any]:
    """Run one of the two in this process."""
    steps, values = ours(path) if which == "ours" else by_pandas(path)
    seconds = np.diff([0, *steps.values()])
    return {"seconds": dict(zip(steps, seconds.tolist(), strict=True)), "values": values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tickers", type=int, default=500)
    parser.add_argument("--days", type=int, default=2516)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure[0], Path(arguments.measure[1]))))
        return
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "pandas": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prices.parquet"
        write_prices(path, arguments.tickers, arguments.days)
        for _ in range(arguments.repeats):
            for which, done in runs.items():
                command = [sys.executable, __file__, "--measure", which, str(path)]
                done.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    totals = {which: [sum(run["seconds"].values()) for run in done] for which, done in runs.items()}
    for which, done in runs.items():
        best = done[int(np.argmin(totals[which]))]
        steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in best["seconds"].items())
        print(f"{which}: {min(totals[which]):.2f} CPU s ({steps}); all runs {np.round(totals[which], 2).tolist()}")
    print(f"ratio of the best: {min(totals['ours']) / min(totals['pandas']):.2f}")
    first, other = (runs[which][0]["values"] for which in runs)
    apart = max(abs(first[name] - other[name]) for name in first)
    print(f"greatest difference in the last row of one ticker: {apart:.1e}")


if __name__ == "__main__":
    main()
