"""Define `ahf pretrain`."""

from __future__ import annotations

from typing import Any

import click

from adapterhub_fin.cli.completing import SettingType, pretrain_keys
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table


@click.command("pretrain")
@click.argument("recipe", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    type=SettingType(pretrain_keys),
    metavar="KEY=VALUE",
    help="Override a key of the recipe: --set base.layers=8.",
)
@click.option("--name", help="The name of the new version, as NAMESPACE/NAME.")
@click.option("--dry-run", is_flag=True, help="Check everything and print what would be done; nothing is trained.")
@click.option("--resume", is_flag=True, help="Continue the interrupted run of this recipe.")
@click.option("--restart", is_flag=True, help="Discard that run and start again.")
@json_option
def command(
    recipe: str | None,
    overrides: tuple[str, ...],
    name: str | None,
    dry_run: bool,
    resume: bool,
    restart: bool,
    as_json: bool,
) -> None:
    """Train a base of your own on dated text, and add it to the registry.

    RECIPE is a YAML file; without one, --set gives every key that has no default. The base knows nothing after the end
    of `until`, its tokenizer included: its knowledge end is the date of its last row. After Ctrl-C, --resume continues
    the run and ends with the same weights.

    A recipe with a schedule trains one base for each cut-off, each going on from the one before. Run the same command
    again to continue: it skips those whose inputs have not changed.

    \b
    Examples:
      ahf pretrain recipes/base.yaml
      ahf pretrain recipes/base.yaml --dry-run --set training.max_steps=100
      ahf pretrain recipes/base.yaml --name acme/fin-2013 --set until=2013-12-31
      ahf train recipes/tone.yaml --set base=acme/fin-2013@1
    """
    from adapterhub_fin.recipe.pretrain_recipe import PretrainRecipe

    if name is not None:
        overrides = (*overrides, f"name={name}")
    checked = PretrainRecipe.read(recipe or {}, overrides).check()
    if dry_run:
        (_preview if checked.schedule is None else _preview_series)(checked, as_json)
        return
    from adapterhub_fin import pretrain, pretrain_series
    from adapterhub_fin.engine.training.distributed import is_first
    from adapterhub_fin.plugin.progress_lines import announcing

    flag = "" if checked.schedule is not None else " with --resume"
    try:
        with announcing():
            made: Any = (pretrain if checked.schedule is None else pretrain_series)(
                checked, resume=resume, restart=restart
            )
    except KeyboardInterrupt:
        click.echo(f"stopped: the same command{flag} continues from the last checkpoint, if there was one", err=True)
        raise click.exceptions.Exit(130) from None
    if not is_first():
        return  # of several processes, only the first prints
    if checked.schedule is not None:
        _print_series(made, as_json)
    elif as_json:
        print_json(_document(made))
    else:
        print_facts(made.facts())


def _document(made: Any) -> dict[str, Any]:
    return {
        "reference": made.reference,
        "digest": made.version.digest,
        "metrics": dict(made.metrics),
        "measured_on": made.version.data["measured_on"],
        "validation": dict(made.validation),
        "parameters": made.parameters,
        "steps": made.steps,
        "tokens": made.tokens,
        "knowledge_end": made.version.manifest.knowledge.end,
        "path": str(made.folder),
    }


def _preview(recipe: Any, as_json: bool) -> None:
    from adapterhub_fin import preview_pretrain
    from adapterhub_fin.plugin.progress_lines import announcing

    with announcing():
        prepared = preview_pretrain(recipe)
    document = prepared.recipe.document()
    if as_json:
        print_json({"recipe": document, **prepared.document()})
        return
    import yaml

    from adapterhub_fin.plugin.console import speaks_unicode

    click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=speaks_unicode()))
    print_facts(prepared.facts())


def _preview_series(recipe: Any, as_json: bool) -> None:
    from adapterhub_fin.engine.pretraining.series import plan_vintages
    from adapterhub_fin_registry.model.knowledge import format_instant

    _, plan = plan_vintages(recipe)
    rows = [dict(planned.cut.counts) for planned in plan]
    if as_json:
        print_json(
            [
                {"cutoff": str(each.cutoff), "rows": counts, "knowledge_end": format_instant(each.cut.known.at)}
                for each, counts in zip(plan, rows, strict=True)
            ]
        )
        return
    print_table(
        ("window", "cut-off", "train", "validation", "test", "knows until"),
        [
            (
                f"{number} of {len(plan)}",
                each.cutoff,
                *(f"{counts.get(split, 0):,}" for split in ("train", "validation", "test")),
                format_instant(each.cut.known.at),
            )
            for number, (each, counts) in enumerate(zip(plan, rows, strict=True), 1)
        ],
    )


def _print_series(made: Any, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "cutoff": str(each.cutoff),
                    "reference": each.version.reference,
                    "digest": each.version.digest,
                    "trained": each.trained,
                    "metrics": each.version.data["metrics"],
                    "measured_on": each.version.data["measured_on"],
                    "knowledge_end": each.version.manifest.knowledge.end,
                }
                for each in made
            ]
        )
        return
    print_table(
        ("cut-off", "version", "", "knowledge end", "measured on", "loss"),
        [
            (
                each.cutoff,
                each.version.reference,
                "trained" if each.trained else "unchanged",
                each.version.manifest.knowledge.end,
                each.version.data["measured_on"]["split"],
                f"{each.version.data['metrics']['loss']:.4f}",
            )
            for each in made
        ],
    )
