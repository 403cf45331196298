"""ahf train"""

from __future__ import annotations

from typing import Any

import click

from adapterhub_fin.cli.options import json_option, print_facts, print_json


@click.command("train")
@click.argument("recipe", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: --set method.rank=8.")
@click.option("--name", help="Where the version goes, as NAMESPACE/NAME.")
@click.option("--download", is_flag=True, help="Let the base be downloaded from the Hub.")
@json_option
def command(recipe: str | None, overrides: tuple[str, ...], name: str | None, download: bool, as_json: bool) -> None:
    """Train an adapter from a recipe and add it to the registry.

    RECIPE is a YAML file; without one, --set gives every key that has no default. The version's metrics are those of
    the held-out test part.

    \b
    Examples:
      ahf train recipes/tone.yaml
      ahf train --name acme/quick --set corpus.name=headlines --set corpus.rows=200 --set training.epochs=1
    """
    from adapterhub_fin.recipe import Recipe

    if name is not None:
        overrides = (*overrides, f"name={name}")
    whole = Recipe.read(recipe or {}, overrides).check()  # a slip is told at once, before torch is imported
    from adapterhub_fin import train

    run = train(whole, download=download)
    if as_json:
        print_json(_document(run))
        return
    rows: list[tuple[str, Any]] = [
        ("version", run.reference),
        ("digest", run.version.digest),
        *((f"test {metric}", f"{value:.4f}") for metric, value in run.metrics.items()),
        ("trained parameters", f"{run.trained_parameters:,}"),
        ("steps", run.steps),
        ("knowledge end", run.version.manifest.knowledge.end),
        *((f"rows {reason}", count) for reason, count in run.notes.items()),
    ]
    print_facts(rows)


def _document(run: Any) -> dict[str, Any]:
    return {
        "reference": run.reference,
        "digest": run.version.digest,
        "metrics": dict(run.metrics),
        "validation": dict(run.validation),
        "trained_parameters": run.trained_parameters,
        "steps": run.steps,
        "knowledge_end": run.version.manifest.knowledge.end,
        "notes": dict(run.notes),
        "path": str(run.version.files),
    }
