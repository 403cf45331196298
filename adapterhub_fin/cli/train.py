"""Define `ahf train`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from adapterhub_fin.cli.completing import SettingType, recipe_keys
from adapterhub_fin.cli.options import interval_text
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table

LEFT_OUT = (
    "repeated",
    "conflicting",
    "under embargo",
    "dropped as copies",
)  # notes that count rows which are in no split


@click.command("train")
@click.argument("recipe", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    type=SettingType(recipe_keys),
    metavar="KEY=VALUE",
    help="Override a key of the recipe: --set method.rank=8.",
)
@click.option("--name", help="The name of the new version, as NAMESPACE/NAME.")
@click.option("--download", is_flag=True, help="Allow downloading the base from the Hub.")
@click.option("--dry-run", is_flag=True, help="Check everything and print what would be done; no weights are read.")
@click.option("--resume", is_flag=True, help="Continue the interrupted run of this recipe.")
@click.option("--restart", is_flag=True, help="Discard that run and start again.")
@json_option
def command(
    recipe: str | None,
    overrides: tuple[str, ...],
    name: str | None,
    download: bool,
    dry_run: bool,
    resume: bool,
    restart: bool,
    as_json: bool,
) -> None:
    """Train an adapter from a recipe and add it to the registry.

    RECIPE is a YAML file; without one, --set gives every key that has no default. The version's metrics are measured on
    the held-out test split. After Ctrl-C, --resume continues the run and ends with the same weights.

    A recipe with a schedule trains one version for each window. Run the same command again to continue: it skips the
    windows whose inputs have not changed.

    \b
    Examples:
      ahf train recipes/tone.yaml
      ahf train recipes/tone.yaml --dry-run
      ahf train --name acme/quick --set corpus.name=headlines --set corpus.rows=200 --set training.epochs=1
      ahf train recipes/tone.yaml --set schedule.windows=quarterly --set schedule.start=2019-01-01 --dry-run
    """
    from adapterhub_fin.recipe.recipe import Recipe

    if name is not None:
        overrides = (*overrides, f"name={name}")
    checked = Recipe.read(recipe or {}, overrides).check()  # refuse a wrong key before torch is imported
    if dry_run:
        (_preview if checked.schedule is None else _preview_series)(checked, download, as_json)
        return
    from adapterhub_fin import train, train_series
    from adapterhub_fin.engine.training.distributed import is_first
    from adapterhub_fin.engine.training.facts import label_facts, note_facts
    from adapterhub_fin.plugin.progress_lines import announcing

    flag = "" if checked.schedule is not None else " with --resume"
    try:
        with announcing():
            if checked.schedule is not None:
                series = train_series(checked, download=download, resume=resume, restart=restart)
            else:
                run = train(checked, download=download, resume=resume, restart=restart)
    except KeyboardInterrupt:
        click.echo(f"stopped: the same command{flag} continues from the last checkpoint, if there was one", err=True)
        raise click.exceptions.Exit(130) from None
    if not is_first():
        return  # of several processes, only the first prints
    if checked.schedule is not None:
        _print_series(series, as_json)
        return
    if as_json:
        print_json(_document(run))
        return
    rows: list[tuple[str, Any]] = [
        ("version", run.reference),
        ("digest", run.version.digest),
        *((f"test {metric}", f"{value:.4f}") for metric, value in run.metrics.items()),
        *_baseline_rows(run),
        *(("forgetting", each.sentence()) for each in run.forgetting),
        ("trained parameters", f"{run.trained_parameters:,}"),
        ("steps", run.steps),
        ("knowledge end", run.version.manifest.knowledge.end),
        *note_facts(run.notes),
        *label_facts(run.labels),
    ]
    print_facts(rows)


def _baseline_rows(run: Any) -> list[tuple[str, str]]:
    """Return the cheap baseline beside the test metrics, or why there is none."""
    if (baseline := run.baseline) is None:
        return [(what, f"not measured, since {reason}") for what, reason in run.unmeasured.items()]
    rows = [
        (f"baseline {metric}", f"{value:.4f}  {interval_text(baseline.intervals[metric])}".rstrip())
        for metric, value in baseline.metrics.items()
    ]
    return [*rows, ("verdict", baseline.sentence())]


def _plain(labels: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {label: dict(splits) for label, splits in labels.items()}


def _preview(recipe: Any, download: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from adapterhub_fin import preview
    from adapterhub_fin.engine.data.describe import dates_of, token_lengths
    from adapterhub_fin_registry.model.knowledge import format_instant

    plan = preview(recipe, download=download)
    rows = {split: len(table) for split, table in plan.corpora.splits.items()}
    examples = {split: len(table) for split, table in plan.examples.items()}
    document = plan.recipe.document()
    tokens = {split: token_lengths(table, plan.recipe.training.max_length) for split, table in plan.examples.items()}
    dates = {split: spanned for split, table in plan.corpora.splits.items() if (spanned := dates_of(table)) is not None}
    if as_json:
        print_json(
            {
                "recipe": document,
                "rows": rows,
                "examples": examples,
                "steps": plan.steps,
                "trained_parameters": plan.trained_parameters,
                **({} if plan.stages is None else {"stages": plan.stages.documents(plan.corpora)}),
                "notes": dict(plan.corpora.notes),
                "labels": _plain(plan.corpora.labels),
                "tokens": {split: asdict(length) for split, length in tokens.items()},
                "dates": {
                    split: {
                        "first": format_instant(spanned.first),
                        "last": format_instant(spanned.last),
                        "gaps": [[format_instant(at) for at in gap] for gap in spanned.gaps],
                    }
                    for split, spanned in dates.items()
                },
                "warnings": list(plan.warnings),
            }
        )
        return
    import yaml

    from adapterhub_fin.plugin.console import speaks_unicode

    click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=speaks_unicode()))
    print_facts(plan.facts())


def _preview_series(recipe: Any, download: bool, as_json: bool) -> None:
    from adapterhub_fin import preview_series
    from adapterhub_fin_registry.model.knowledge import format_instant

    plan = preview_series(recipe, download=download)
    if as_json:
        print_json(
            [
                {
                    **_days(step.window),
                    "rows": dict(step.rows),
                    "notes": dict(step.notes),
                    "knowledge_end": format_instant(step.knowledge_end),
                    "version": step.version.reference if step.version else None,
                }
                for step in plan
            ]
        )
        return
    print_table(
        ("window", "cut-off", "test until", "train", "validation", "test", "left out", "knows until", "version"),
        [
            (
                f"{number} of {len(plan)}",
                step.window.cutoff,
                step.window.until,
                *(step.rows[split] for split in ("train", "validation", "test")),
                sum(count for reason, count in step.notes.items() if reason.startswith(LEFT_OUT)),
                format_instant(step.knowledge_end),
                step.version.reference if step.version else "to be trained",
            )
            for number, step in enumerate(plan, 1)
        ],
    )


def _days(window: Any) -> dict[str, str | None]:
    return {name: None if day is None else str(day) for name, day in vars(window).items()}


def _print_series(series: Any, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "name": series.name,
                "steps": [
                    {
                        **_days(step.window),
                        "reference": step.version.reference,
                        "digest": step.version.digest,
                        "trained": step.trained,
                        "metrics": step.version.data["metrics"],
                        "knowledge_end": step.version.data["knowledge"]["end"],
                    }
                    for step in series.steps
                ],
            }
        )
        return
    metrics = list(series.versions[0].data["metrics"])
    print_table(
        ("cut-off", "version", "", "knowledge end", *(f"test {name}" for name in metrics)),
        [
            (
                step.window.cutoff,
                step.version.reference,
                "trained" if step.trained else "unchanged",
                step.version.data["knowledge"]["end"],
                *(f"{step.version.data['metrics'][name]:.4f}" for name in metrics),
            )
            for step in series.steps
        ],
    )


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
        "labels": _plain(run.labels),
        "baseline": None if run.baseline is None else run.baseline.body(),
        "forgetting": [each.body() for each in run.forgetting],
        "unmeasured": dict(run.unmeasured),
        "warnings": list(run.warnings),
        "path": str(run.version.files),
    }
