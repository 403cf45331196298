"""Sweeps of backtests: what combinations share is read once, and each says what it does by itself."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import yaml

from adapterhub_fin_markets.backtest import inputs
from adapterhub_fin_markets.backtest.run import backtest
from adapterhub_fin_markets.backtest.sweeping import BacktestSweep, sweep_backtests
from adapterhub_fin_markets.prices.choice import PricesChoice

QUICK = {"bootstrap": 100, "placebo": 20}


def test_the_command_imports_nothing_that_it_does_not_use(pair: Any) -> None:
    """Each of these takes longer to import than a small backtest to run."""
    (pair.folder / "pair.yaml").write_text(yaml.safe_dump(pair.recipe()))
    backtest(pair.recipe())  # whose answers are cached then
    code = "import sys; from adapterhub_fin.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code, "backtest", str(pair.folder / "pair.yaml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["strict"] and "numpy" in done.stderr.split()
    assert not {"torch", "transformers", "arch", "statsmodels", "matplotlib"} & set(done.stderr.split())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each input was read, or made; it is read all the same."""
    counted: Counter[str] = Counter()

    def count(owner: Any, attribute: str, name: str) -> None:
        original = getattr(owner, attribute)

        def counting(*arguments: Any, **options: Any) -> Any:
            counted[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(owner, attribute, counting)

    count(PricesChoice, "read", "prices")
    count(inputs, "read_texts", "texts")
    count(inputs, "signals_of", "signals")
    count(inputs, "read_signals", "tables")
    count(inputs, "verified", "checked tables")
    return counted


def same_as_alone(sweep: BacktestSweep, document: Mapping[str, Any]) -> None:
    """Check that each combination of a sweep earns and says what it does by itself, but for the trials beside it."""
    for name, result in sweep.results.items():
        alone = backtest(document, name.split())
        assert alone.signals.digest == result.signals.digest and alone.judgement.key == result.judgement.key
        one, other = ({**each.record(), "evidence": None, "trials": None} for each in (alone, result))
        assert one == other


def test_a_sweep_over_rules_reads_once(pair: Any, reads: Counter[str]) -> None:
    sweep = sweep_backtests(pair.recipe(report=QUICK), {"rules.costs_bp": ["0", "20"], "rules.hold": ["flat", "keep"]})
    assert reads == {"prices": 1, "texts": 1, "signals": 1}
    assert len({result.judgement.key for result in sweep.results.values()}) == 4
    same_as_alone(sweep, pair.recipe(report=QUICK))
    table = pair.table_recipe(next(iter(sweep.results.values())).signals, report=QUICK)
    reads.clear()
    sweep_backtests(table, {"rules.costs_bp": ["0", "20", "30"]})
    assert reads == {"prices": 1, "texts": 1, "tables": 1, "checked tables": 1}


@pytest.mark.parametrize(
    ("key", "values", "again"),
    [
        ("signals.threshold", ["0.0", "0.99"], {"signals"}),
        ("signals.ticker", ["[AAA]", "[AAA,BBB]"], {"texts", "signals"}),
        ("signals.texts.path", ["{}/news.csv", "{}/others.csv"], {"texts", "signals"}),
        ("prices.path", ["{}/prices.csv", "{}/others-prices.csv"], {"prices", "signals"}),
        ("prices.allow", ["[]", "[interpolated]"], {"prices", "signals"}),
        ("report.seed", ["0", "1"], set()),
    ],
)
def test_what_a_combination_changes_is_read_anew(
    pair: Any, reads: Counter[str], key: str, values: list[str], again: set[str]
) -> None:
    lines = (pair.folder / "news.csv").read_text().splitlines()
    (pair.folder / "others.csv").write_text("\n".join(line.replace("rose", "fell") for line in lines))
    header, *rows = csv.reader((pair.folder / "prices.csv").open())
    with (pair.folder / "others-prices.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *([*row[:2], *(float(cell) ** 0.5 for cell in row[2:])] for row in rows)])
    given = [value.format(pair.folder) for value in values]
    sweep = sweep_backtests(pair.recipe(report=QUICK), {key: given})
    assert reads == {name: 2 if name in again else 1 for name in ("prices", "texts", "signals")}
    one, other = sweep.results.values()
    assert (one.signals.digest == other.signals.digest) == (not key.startswith("signals."))
    assert np.array_equal(one.prices.close[:, 0], other.prices.close[:, 0]) == (key != "prices.path")
    same_as_alone(sweep, pair.recipe(report=QUICK))
