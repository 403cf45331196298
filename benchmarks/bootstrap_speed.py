"""How fast metrics that are means over rows are resampled: 20 metrics, 5,000 rows, 10,000 draws.

    python benchmarks/bootstrap_speed.py

Beside it the same by one draw after another, as `scipy.stats.bootstrap` and a plain loop do, on fewer draws, scaled up.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from adapterhub_fin.stats.bootstrap import resampled, resampled_means


def cpu_seconds(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=int, default=20)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=200, help="draws of what is scaled up")
    asked = parser.parse_args()
    scores = np.random.default_rng(0).random((asked.rows, asked.metrics))
    ones, rows = np.ones_like(scores), np.arange(asked.rows)
    ours = cpu_seconds(lambda: resampled_means(scores, ones, rows, resamples=asked.draws, seed=0))
    functions = {
        str(column): lambda truth, given, c=column: float(np.mean(given[:, c])) for column in range(asked.metrics)
    }
    loop = cpu_seconds(lambda: resampled(functions, rows, scores, rows, resamples=asked.few, seed=0))
    theirs = cpu_seconds(
        lambda: scipy_stats.bootstrap((scores,), np.mean, n_resamples=asked.few, method="percentile", axis=0, batch=20)
    )
    scale = asked.draws / asked.few
    print(f"{asked.metrics} metrics, {asked.rows:,} rows, {asked.draws:,} draws, CPU seconds:")
    print(f"  by sums (ours)               {ours:8.2f}")
    print(f"  one draw after another       {loop * scale:8.2f}   {loop * scale / ours:6.1f} times as long")
    print(f"  scipy.stats.bootstrap        {theirs * scale:8.2f}   {theirs * scale / ours:6.1f} times as long")


if __name__ == "__main__":
    main()
