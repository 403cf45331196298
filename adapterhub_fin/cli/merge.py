"""Define `ahf merge`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.completing import PluginType, ReferenceOrFileType, SettingType, corpus_keys, merge_keys
from adapterhub_fin.cli.options import REFERENCE, base_options, interval_text
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table

OF_FLAGS = ("overrides", "check_overrides", "download")  # flags that are no argument of `merge` as they are

if TYPE_CHECKING:
    from adapterhub_fin.engine.merging.merge import Merge
    from adapterhub_fin_registry import Version


class Numbers(click.ParamType[tuple[float, ...]]):
    """Parse numbers separated by commas, such as 0.5,-0.2."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(float(number) for number in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} isn't a list of numbers such as 0.5,0.3,0.2", param, ctx)


class Rank(click.ParamType["int | float"]):
    """Parse a rank such as 16, or a share of the energy to keep such as 0.99."""

    name = "rank"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        text = str(value)
        try:
            return int(text) if text.strip().isdecimal() else float(text)
        except ValueError:
            self.fail(f"{value!r} is neither a rank such as 16 nor a share of the energy such as 0.99", param, ctx)


@click.command("merge")
@click.argument("references", nargs=-1, required=True, type=ReferenceOrFileType(), metavar="REFERENCE...|RECIPE")
@click.option("--into", metavar="NAME", help="The name of the new version.")
@click.option(
    "--weights",
    type=Numbers(),
    metavar="W,W,...",
    help="One weight for each adapter, of any sign; by default the merger's own, mostly 1/K.",
)
@click.option(
    "--weights-for",
    multiple=True,
    metavar="PATTERN=W,W,...",
    help="Weights for matching modules: --weights-for 'layer.0.*=1,0'.",
)
@click.option(
    "--using",
    default="linear",
    show_default=True,
    type=PluginType("merger"),
    metavar="MERGER",
    help="The merger; `ahf plugins` lists them.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    type=SettingType(merge_keys),
    metavar="OPTION=VALUE",
    help="An option of the merger, or with a recipe any of its keys.",
)
@click.option(
    "--rank",
    type=Rank(),
    metavar="N|SHARE",
    help="The rank, such as 16, or the share of the energy to keep, such as 0.99.",
)
@click.option(
    "--space",
    type=click.Choice(["exact", "dense", "factor"]),
    help="The space to merge in; by default the merger's own.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the merger's random draws.")
@click.option(
    "--head-from", type=REFERENCE, metavar="REFERENCE", help="Take this version's head instead of the average."
)
@click.option(
    "--check",
    "check",
    metavar="CORPUS",
    type=PluginType("corpus"),
    help="Evaluate the merge and its parents on a corpus, and record the metrics.",
)
@click.option(
    "--check-set",
    "check_overrides",
    multiple=True,
    type=SettingType(corpus_keys),
    metavar="KEY=VALUE",
    help="An option of that corpus.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    default="test",
    show_default=True,
    help="The rows of that corpus to evaluate on.",
)
@click.option("--description", default="", help="A description for people and search.")
@click.option("--license", help="The merge's license; by default its parents' licenses, joined by AND.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag for search; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Merge and print what would be stored, without storing it.")
@base_options
@json_option
@click.pass_context
def command(context: click.Context, /, references: tuple[str, ...], dry_run: bool, as_json: bool, **flags: Any) -> None:
    """Merge adapters of one base into a new version, without loading the base.

    The adapters may differ in rank, scaling and layers. Only --check loads the base: --base, --download and
    --batch-size are for it. In place of the references and flags, one YAML file can hold them all: its keys are
    references and the names of the flags, and --set changes any of them.

    \b
    Examples:
      ahf merge acme/tone@1 acme/tone --weights 0.7,0.3 --using svd --rank 2 --into acme/merged
      ahf merge acme/tone@1 acme/tone --using ties --set density=0.3 --into acme/merged --check headlines
      ahf merge acme/tone@1 --weights-for 'layer.0.*=0.5' --rank 0.99 --dry-run --json
      ahf merge merge.yaml --set using.density=0.5 --dry-run
    """
    recipe = _recipe_file(references)
    arguments = _from_flags(references, flags) if recipe is None else _from_recipe(recipe, context, flags)
    if arguments["into"] is None and not dry_run:
        where = "--into" if recipe is None else "the key into, or --into"
        raise click.UsageError(f"Give the name of the new version with {where}, or --dry-run.")
    from adapterhub_fin import merge

    result = merge(**arguments, download=flags["download"], dry_run=dry_run)
    if as_json:
        print_json(_document(result))
        return
    for warning in result.warnings:
        click.echo(f"note: {warning}", err=True)
    _print(result, arguments["using"])


def _recipe_file(references: tuple[str, ...]) -> str | None:
    """Return the one argument that is a YAML file; no reference ends so."""
    files = [text for text in references if text.endswith((".yaml", ".yml"))]
    if files and len(references) > 1:
        raise click.UsageError(f"Give the recipe {files[0]} alone: it names the adapters under references.")
    return files[0] if files else None


def _from_flags(references: tuple[str, ...], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `merge` that the flags give, the options of merger and corpus checked without torch."""
    if flags["check_overrides"] and flags["check"] is None:
        raise click.UsageError("--check-set is for the corpus of --check.")
    from adapterhub_fin.plugin.descriptions import Merger
    from adapterhub_fin.plugin.manager import extensions
    from adapterhub_fin.plugin.overrides import override
    from adapterhub_fin.recipe.choices import CorpusChoice

    check = None if flags["check"] is None else CorpusChoice.read(flags["check"], flags["check_overrides"])
    model = extensions().get(Merger, flags["using"]).load_options()
    return {
        **{name: value for name, value in flags.items() if name not in OF_FLAGS},
        "references": references,
        "check": check,
        "weights_for": _patterns(flags["weights_for"]),
        "options": override({}, flags["overrides"], model),
    }


def _from_recipe(recipe: str, context: click.Context, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `merge` that a recipe gives, with --set and --into over it."""
    from click.core import ParameterSource

    given = [name for name in flags if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if beside := sorted(set(given) - {"into", "overrides", "download"}):
        flag = next(each for each in context.command.params if each.name == beside[0]).opts[0]
        raise click.UsageError(f"{flag} is a key of the recipe: write it there, or give --set KEY=VALUE.")
    from adapterhub_fin.recipe.merge_recipe import MergeRecipe

    into = [] if flags["into"] is None else [f"into={flags['into']}"]
    return MergeRecipe.read(recipe, [*flags["overrides"], *into]).arguments()


def _patterns(texts: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Return the weights by pattern; the order is kept, because the first pattern that matches decides."""
    by_pattern: dict[str, tuple[float, ...]] = {}
    for pattern, weights in map(_pattern, texts):
        if pattern in by_pattern:
            raise click.BadParameter(f"{pattern!r} is given twice: give it once", param_hint="--weights-for")
        by_pattern[pattern] = weights
    return by_pattern


def _pattern(text: str) -> tuple[str, tuple[float, ...]]:
    pattern, equals, numbers = text.rpartition("=")
    if not equals:
        raise click.BadParameter(
            f"{text!r} isn't a pattern with weights, such as 'layer.0.*=1,0'", param_hint="--weights-for"
        )
    return pattern, Numbers().convert(numbers, None, None)


def _document(result: Merge) -> dict[str, Any]:
    return {
        **(_stored(result.version) if result.version else {}),
        "parents": [
            {"reference": parent.reference, "digest": parent.digest, "weight": weight}
            for parent, weight in zip(result.parents, result.weights, strict=True)
        ],
        "space": result.space,
        "head_from": result.head_from,
        "energy": result.energy,
        "modules": [{"name": m.name, "shape": m.shape, "rank": m.rank, "energy": m.energy} for m in result.modules],
        "warnings": list(result.warnings),
        "evaluations": [
            {"reference": e.reference, "digest": e.version.digest, **e.body(), "event": e.event}
            for e in result.evaluations
        ],
    }


def _stored(version: Version) -> dict[str, Any]:
    return {
        "reference": version.reference,
        "digest": version.digest,
        "knowledge_end": version.manifest.knowledge.end,
        "path": str(version.files),
    }


def _print(result: Merge, using: str) -> None:
    version, ranks = result.version, sorted({module.rank for module in result.modules})
    facts = [("version", f"{version.reference} ({version.digest})" if version else "none: nothing was stored")]
    facts += [
        ("merged", f"{parent.reference} with the weight {weight:g}")
        for parent, weight in zip(result.parents, result.weights, strict=True)
    ]
    facts += [("using", f"{using}, in {result.space} space")]
    facts += [
        ("matrices", f"{len(result.modules):,}, of rank {' to '.join(map(str, dict.fromkeys(ranks[:1] + ranks[-1:])))}")
    ]
    facts += [("energy kept", _energy(result))]
    facts += [("head", f"from {result.head_from}" if result.head_from else _head(result))]
    if version:
        facts += [("knowledge end", version.manifest.knowledge.end)]
    print_facts(facts)
    if result.evaluations:
        click.echo()
        rows = [
            (evaluation.reference, name, f"{value:.4f}", interval_text(evaluation.intervals[name]))
            for evaluation in result.evaluations
            for name, value in evaluation.metrics.items()
        ]
        print_table(("version", "metric", "value", "95 % interval"), rows)


def _energy(result: Merge) -> str:
    if not result.modules or round(result.energy, 6) >= 1:
        return "all"
    worst = min(result.modules, key=lambda module: module.energy)
    mean = sum(module.energy for module in result.modules) / len(result.modules)
    return f"{mean:.1%} on average; least in {worst.name}, {worst.energy:.1%}"


def _head(result: Merge) -> str:
    head = result.parents[0].manifest.head
    return f"{head.name}, the parents' average" if head and head.modules_to_save else head.name if head else "none"
