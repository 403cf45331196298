"""Define `ahf backtest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapterhub_fin.plugin import json_option, print_facts, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin_markets.backtest.result import BacktestResult
    from adapterhub_fin_markets.backtest.sweeping import BacktestSweep


@click.command("backtest")
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, such as rules.costs_bp=5."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER", help="Write the report here."
)
@click.option("--over", multiple=True, metavar="KEY=A,B,...", help="Backtest each value, and judge the choice.")
@click.option("--allow-lookahead", is_flag=True, help="Use what knew the future, and mark every page red.")
@click.option("--base", metavar="FOLDER|ID", help="The base, if its recorded id doesn't find it.")
@click.option("--download", is_flag=True, help="Allow downloading the base from the Hub.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Texts per forward pass.")
@json_option
def command(
    recipe: str,
    overrides: tuple[str, ...],
    out: Path | None,
    over: tuple[str, ...],
    allow_lookahead: bool,
    base: str | None,
    download: bool,
    batch_size: int,
    as_json: bool,
) -> None:
    """Run signals through prices, and refuse what could not have been known.

    RECIPE is YAML: signals (an adapter and dated texts, or a table of `ahf signals`), prices, rules, test and report.
    When each signal was known is recomputed from the texts and the registry. A signal that its decision could not have
    used ends the run with the row and the reason. With --over each combination is a trial, and the probability that the
    best one was chosen by chance is printed.

    \b
    Examples:
      ahf backtest btc.yaml --out report
      ahf backtest btc.yaml --set rules.costs_bp=5 --json
      ahf backtest btc.yaml --over signals.min_confidence=0.5,0.7,0.9
      ahf backtest btc.yaml --allow-lookahead --out red
    """
    if over and out is not None:
        raise click.UsageError("--out is for one backtest, and --over makes several: choose one")
    from adapterhub_fin_markets.backtest.run import backtest
    from adapterhub_fin_markets.backtest.sweeping import sweep_backtests
    from adapterhub_fin_markets.report.writing import check_folder, write_report

    if out is not None:
        check_folder(out)
    loading = {"base": base, "download": download, "batch_size": batch_size, "progress": not as_json}
    if over:
        values = dict(_values(item) for item in over)
        sweep = sweep_backtests(recipe, values, overrides, allow_lookahead=allow_lookahead, loading=loading)
        print_json(sweep.record()) if as_json else _print_sweep(sweep)
        return
    result = backtest(recipe, overrides, allow_lookahead=allow_lookahead, loading=loading)
    if out is not None:
        write_report(result, out)
    if as_json:
        print_json(result.record())
    else:
        _print(result, out)


def _values(item: str) -> tuple[str, list[str]]:
    key, separator, values = item.partition("=")
    if not separator:
        raise click.UsageError(f"--over {item} must read KEY=A,B, such as signals.threshold=0.5,0.7")
    return key, [value.strip() for value in values.split(",")]


def _print_sweep(sweep: BacktestSweep) -> None:
    """Print each combination, and how much of the best is choice."""
    rows = [
        (name, *(_number(getattr(result.measures, of)) for of in ("sharpe", "total_return", "max_drawdown")))
        for name, result in sweep.results.items()
    ]
    print_table(("combination", "sharpe", "total return", "max drawdown"), rows)
    click.echo()
    evidence = sweep.evidence
    parts = {
        "probability of overfitting": evidence.overfitting,
        "p that none is better than holding (SPA)": evidence.spa,
    }
    print_table(("evidence", "value"), [(name, _number(value)) for name, value in parts.items()])
    for name, reason in evidence.reasons.items():
        click.echo(f"{name}: {reason}")
    if not all(result.strict for result in sweep.results.values()):
        click.echo("LOOK-AHEAD: a combination may have known the future")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"


def _print(result: BacktestResult, out: Path | None) -> None:
    """Print the head, the measures with their intervals, and what must be said of them."""
    measured, judgement = result.measures, result.judgement
    from adapterhub_fin_markets.backtest.trials import LOWER_BOUND

    print_facts(
        [
            ("backtest", result.recipe.name or "-"),
            ("periods", f"{measured.periods:,}, {result.at[0]}Z to {result.at[-1]}Z"),
            ("signals", f"{len(result.signals):,} of {len(result.signals.tickers):,} tickers"),
            ("trials", f"{judgement.trials.count:,}, {LOWER_BOUND}"),
            *(("yanked", each.sentence("signals", left_out_of="texts")) for each in result.yanked),
            *((f"refused, {reason}", f"{rows:,}") for reason, rows in result.refused.items()),
            *((f"unfilled, {reason}", f"{rows:,}") for reason, rows in result.ledger.unfilled.items()),
        ]
    )
    click.echo()
    print_table(
        ("measure", "value", "95 % interval"), [_line(result, name) for name in measured.values() if name != "periods"]
    )
    click.echo()
    print_table(("evidence", "value"), _evidence(result))
    click.echo()
    for mark in result.marks:
        click.echo(f"{'LOOK-AHEAD' if mark.red else 'note'}: {mark.sentence}")
    click.echo("strict: no row is marked" if result.strict else "not strict: this result may have known the future")
    if out is not None:
        click.echo(f"the report is in {out / 'report.html'}")


def _line(result: BacktestResult, name: str) -> tuple[str, str, str]:
    value = result.measures.values()[name]
    interval = getattr(result.judgement.intervals, name, None)
    between = f"{interval[0]:,.4f} to {interval[1]:,.4f}" if interval else ""
    return name.replace("_", " "), _number(value), between if value is not None else result.measures.reasons[name]


def _evidence(result: BacktestResult) -> list[tuple[str, str]]:
    evidence, judgement = result.judgement.evidence, result.judgement
    parts = {
        "probability that the true Sharpe ratio is above 0": evidence.probability,
        "the same, above what so many trials show by chance": evidence.deflated,
        "annual Sharpe ratio after correction for trials": evidence.haircut,
        "years that would show it above 0": evidence.minimum_years,
        "p of signals at the wrong time": None if judgement.placebo is None else judgement.placebo.p,
    }
    return [(name, _number(value)) for name, value in parts.items()]
