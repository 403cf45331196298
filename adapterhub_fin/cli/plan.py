"""ahf plan"""

from __future__ import annotations

from typing import Any

import click

from adapterhub_fin.cli.options import json_option, print_facts, print_json, print_table


@click.command("plan")
@click.argument("recipe", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: --set method.rank=8.")
@click.option("--download", is_flag=True, help="Let the base be downloaded from the Hub.")
@click.option(
    "--device", metavar="cpu|cuda|SIZE", help="Where it would run; a size such as 24GB is a GPU of that memory."
)
@click.option("--time", "measure", is_flag=True, help="Measure this machine's speed for a second, to tell the time.")
@json_option
def command(
    recipe: str | None,
    overrides: tuple[str, ...],
    download: bool,
    device: str | None,
    measure: bool,
    as_json: bool,
) -> None:
    """Estimate a run's parameters, memory and time before anything is loaded.

    RECIPE is a YAML file, as for `ahf train`. No weight is read: one training step runs on tensors without memory.
    Where the run does not fit, ways to need less are listed with what each would take.

    \b
    Examples:
      ahf plan recipes/tone.yaml
      ahf plan recipes/tone.yaml --set training.batch_size=64 --device 24GB
    """
    from adapterhub_fin.recipe.recipe import Recipe

    whole = Recipe.read(recipe or {}, overrides).check()  # a slip is told at once, before torch is imported
    from adapterhub_fin import plan

    found = plan(whole, download=download, device=device, measure=measure)
    if as_json:
        print_json(_document(found))
        return
    print_facts(_rows(found))
    if found.changes:
        click.echo()
        print_table(("change", "memory", ""), [(c.setting, size(c.bytes), _word(c)) for c in found.changes])
    for assumption in found.assumptions:
        click.echo(f"assumed: {assumption}", err=True)


def _word(change: Any) -> str:
    if change.advised:
        return "fits: try this first"
    return "fits" if change.fits else ""


def size(count: int) -> str:
    """Bytes for a person to read."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _rows(found: Any) -> list[tuple[str, str]]:
    verdict = "fits" if found.fits else "does not fit"
    return [
        ("device", found.device),
        ("parameters", f"{found.parameters:,}, of which {found.trained_parameters:,} are trained"),
        ("steps", f"{found.steps:,}"),
        ("largest batch", f"{found.rows} rows of {found.length} tokens"),
        *((f"  {kind}", size(count)) for kind, count in found.memory.items() if count),
        ("memory", f"{size(found.bytes)} in {found.peak_phase}; {size(found.available)} available: {verdict}"),
        ("time", f"about {_time(found.seconds)}" if found.seconds is not None else "unknown: --time measures"),
    ]


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _document(found: Any) -> dict[str, Any]:
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
        "recipe": found.recipe.document(),
        **{name: getattr(found, name) for name in names},
        "fits": found.fits,
        "memory": dict(found.memory),
        "largest": dict(found.largest),
        "changes": [vars(change) for change in found.changes],
        "seconds": found.seconds,
        "assumptions": list(found.assumptions),
        "warnings": list(found.warnings),
    }
