"""Define `ahf plan`."""

from __future__ import annotations

from typing import Any

import click

from adapterhub_fin.cli.completing import SettingType, recipe_keys
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table


@click.command("plan")
@click.argument("recipe", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    type=SettingType(recipe_keys),
    metavar="KEY=VALUE",
    help="Override a key of the recipe: --set method.rank=8.",
)
@click.option("--download", is_flag=True, help="Allow downloading the base from the Hub.")
@click.option(
    "--device", metavar="cpu|cuda|SIZE", help="Where it would run; a size such as 24GB means a GPU with that memory."
)
@click.option(
    "--time", "measure", is_flag=True, help="Measure this machine's speed for a second, to estimate the time."
)
@json_option
def command(
    recipe: str | None,
    overrides: tuple[str, ...],
    download: bool,
    device: str | None,
    measure: bool,
    as_json: bool,
) -> None:
    """Estimate a run's parameters, memory and time without loading any weights.

    RECIPE is a YAML file, as for `ahf train`. No weights are read: a fake model without memory runs one training step.
    If the run does not fit, changes that save memory are listed, each with the memory that the run would then need.

    \b
    Examples:
      ahf plan recipes/tone.yaml
      ahf plan recipes/tone.yaml --set training.batch_size=64 --device 24GB
    """
    from adapterhub_fin.recipe.recipe import Recipe

    checked = Recipe.read(recipe or {}, overrides).check()  # refuse a wrong key before torch is imported
    from adapterhub_fin import plan
    from adapterhub_fin.engine.planning.machine import size_text

    estimate = plan(checked, download=download, device=device, measure=measure)
    if as_json:
        print_json(_document(estimate))
        return
    print_facts(estimate.facts())
    if estimate.changes:
        click.echo()
        print_table(("change", "memory", ""), [(c.setting, size_text(c.bytes), _verdict(c)) for c in estimate.changes])
    for assumption in estimate.assumptions:
        click.echo(f"assumed: {assumption}", err=True)


def _verdict(change: Any) -> str:
    if change.advised:
        return "fits: try this first"
    return "fits" if change.fits else ""


def _document(estimate: Any) -> dict[str, Any]:
    names = (
        "device",
        "parameters",
        "trained_parameters",
        "steps",
        "rows",
        "length",
        "peak_phase",
        "bytes",
        "available",
    )
    return {
        "recipe": estimate.recipe.document(),
        **{name: getattr(estimate, name) for name in names},
        "fits": estimate.fits,
        "memory": dict(estimate.memory),
        "largest": dict(estimate.largest),
        "changes": [vars(change) for change in estimate.changes],
        "seconds": estimate.seconds,
        "assumptions": list(estimate.assumptions),
        "warnings": list(estimate.warnings),
    }
