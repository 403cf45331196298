"""Run a backtest for each combination of options, and say how much of the best one is choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_markets.backtest.evidence import SweepEvidence, judge_sweep
from adapterhub_fin_markets.backtest.inputs import Inputs
from adapterhub_fin_markets.backtest.recipe import BacktestRecipe
from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.backtest.run import run_recipe

MOST = 1000  # combinations


@dataclass(frozen=True, eq=False)
class BacktestSweep:
    """Hold a backtest for each combination, by its overrides, and the evidence for the best of them."""

    results: Mapping[str, BacktestResult]
    evidence: SweepEvidence

    def record(self) -> dict[str, Any]:
        """Return the sweep as plain JSON values: of each combination the measures, and the evidence."""
        return {
            "combinations": {
                name: {"strict": result.strict, "measures": result.measures.document()}
                for name, result in self.results.items()
            },
            "evidence": self.evidence.document(),
        }


def sweep_backtests(
    recipe: str | Path | Mapping[str, Any],
    over: Mapping[str, Sequence[str]],
    overrides: Sequence[str] = (),
    *,
    allow_lookahead: bool = False,
    loading: Mapping[str, Any] | None = None,
) -> BacktestSweep:
    """Return a backtest of each combination of values, as `a.b` by its values, each logged as a trial.

    The evidence is the probability of overfitting (Bailey and others 2015), and the p-value that no combination is
    better than holding (Hansen 2005). Prices, texts and signals that several combinations choose alike are read once.
    Raises BadRecipe for less than two combinations, more than 1,000, or tests on
    other dates, and what `backtest` raises.

    Example:
        >>> sweep = sweep_backtests("btc.yaml", {"signals.threshold": ["0.5", "0.7", "0.9"]})
        >>> sweep.evidence.overfitting
        0.41
    """
    combinations = [
        tuple(f"{key}={value}" for key, value in zip(over, values, strict=True)) for values in product(*over.values())
    ]
    if not 2 <= len(combinations) <= MOST or len(set(combinations)) < len(combinations):
        raise BadRecipe(f"there are {len(combinations):,} combinations: give 2 to {MOST:,}, each value once")
    recipes = {
        " ".join(combination): BacktestRecipe.read(recipe, [*overrides, *combination]) for combination in combinations
    }
    inputs = Inputs(allow_lookahead, loading)
    results = {name: run_recipe(each, inputs) for name, each in recipes.items()}
    first = next(iter(results.values()))
    for name, result in results.items():
        if result.at.tolist() != first.at.tolist():
            raise BadRecipe(f"{name} is tested on other dates than the first combination: set test.from and test.until")
    report = first.recipe.report
    evidence = judge_sweep(
        {name: result.returns for name, result in results.items()},
        first.comparisons.by_name["hold"].ledger.returns[1:],
        blocks=max(2, min(16, len(first.at) // 2 * 2)),
        resamples=report.bootstrap,
        seed=report.seed,
    )
    return BacktestSweep(results, evidence)
