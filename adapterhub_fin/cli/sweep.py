"""Define `ahf sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.completing import SettingType, recipe_keys
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin.engine.sweeping.sweep import Sweep


@click.command("sweep")
@click.argument("recipe", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--over",
    multiple=True,
    required=True,
    type=SettingType(recipe_keys),
    metavar="KEY=VALUES",
    help="Values of a key: method.rank=4,8, or a range, training.learning_rate=1e-5..1e-3,log.",
)
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Runs of each combination.")
@click.option(
    "--search",
    type=click.Choice(["grid", "random", "optuna"]),
    default="grid",
    show_default=True,
    help="Try every combination, draw --trials of them, or let Optuna propose and prune them.",
)
@click.option("--trials", type=click.IntRange(1), help="How many combinations random and optuna try.")
@click.option("--search-seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of random and optuna.")
@click.option(
    "--folds", type=click.IntRange(2), help="Cross-validate in so many folds; by default the validation part chooses."
)
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    type=SettingType(recipe_keys),
    metavar="KEY=VALUE",
    help="Override a key of the recipe: --set training.epochs=3.",
)
@click.option("--name", help="The name of the new version, as NAMESPACE/NAME.")
@click.option("--download", is_flag=True, help="Allow downloading the base from the Hub.")
@click.option("--restart", is_flag=True, help="Discard what the same sweep has done before.")
@click.option("--report", "report_into", metavar="FOLDER", help="Draw the scores as an HTML page into a folder.")
@json_option
def command(
    recipe: str | None,
    over: tuple[str, ...],
    seeds: int,
    search: str,
    trials: int | None,
    search_seed: int,
    folds: int | None,
    processes: int,
    overrides: tuple[str, ...],
    name: str | None,
    download: bool,
    restart: bool,
    report_into: str | None,
    as_json: bool,
) -> None:
    """Search a recipe's options, and store the version that validates best.

    Each combination is trained with --seeds seeds, each run in a process of its own. The test part is measured once, of
    the winner, and its manifest records how many runs it was chosen from. A sweep that was stopped or killed goes on
    with the same command. The exit status is 1 if a run failed; the table says why, and the others still compete.

    \b
    Examples:
      ahf sweep recipes/tone.yaml --over method.rank=4,8,16,32 --seeds 5 --processes 2
      ahf sweep recipes/tone.yaml --over training.learning_rate=1e-5..1e-3,log --search optuna --trials 20 --seeds 1
      ahf sweep recipes/tone.yaml --over method.rank=4,8 --folds 5 --seeds 1 --report reports/sweep --json
    """
    from adapterhub_fin.engine.sweeping.options import over_of

    swept = over_of(over)
    if name is not None:
        overrides = (*overrides, f"name={name}")
    if report_into is not None:
        from adapterhub_fin.reporting.report import check_installed

        check_installed()
    from adapterhub_fin import sweep
    from adapterhub_fin.plugin.progress_lines import announcing

    try:
        with announcing():
            result = sweep(
                recipe or {},
                over=swept,
                seeds=seeds,
                search=search,  # type: ignore[arg-type]
                trials=trials,
                search_seed=search_seed,
                folds=folds,
                processes=processes,
                overrides=overrides,
                download=download,
                restart=restart,
            )
    except KeyboardInterrupt:
        click.echo("stopped: the same command goes on from what has been done", err=True)
        raise click.exceptions.Exit(130) from None
    page = None if report_into is None else result.report(report_into).page
    if as_json:
        print_json({**result.document(), **({} if page is None else {"page": str(page)})})
    else:
        _print(result)
        if page is not None:
            click.echo(f"\n{page}")
    if result.failed:
        raise click.exceptions.Exit(1)


def _print(result: Sweep) -> None:
    columns = (*result.winner.options, f"validation {result.metric}", "95 % interval", "seeds", "")
    print_table(columns, result.table())
    click.echo()
    selection, manifest = result.selection, result.version.manifest
    rows: list[tuple[str, Any]] = [
        ("version", result.version.reference),
        ("digest", result.version.digest),
        ("selected by", selection.validated()),
        ("seed", f"{result.seed}, the winner's best on the validation part"),
        *((f"test {metric}", f"{value:.4f}, {selection.tested()}") for metric, value in manifest.metrics.items()),
    ]
    print_facts(rows)
