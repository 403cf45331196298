"""ahf merge"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.options import (
    REFERENCE,
    base_options,
    interval_text,
    json_option,
    print_facts,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from adapterhub_fin.engine.merging.merge import Merge
    from adapterhub_fin_registry import Version


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them, such as 0.5,-0.2."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(float(number) for number in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 0.5,0.3,0.2", param, ctx)


class Rank(click.ParamType["int | float"]):
    """A rank such as 16, or a share of the energy to keep such as 0.99."""

    name = "rank"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        text = str(value)
        try:
            return int(text) if text.strip().isdecimal() else float(text)
        except ValueError:
            self.fail(f"{value!r} is neither a rank such as 16 nor a share of the energy such as 0.99", param, ctx)


@click.command("merge")
@click.argument("references", nargs=-1, required=True, type=REFERENCE, metavar="REFERENCE...")
@click.option("--into", metavar="NAME", help="The name of the new version.")
@click.option(
    "--weights",
    type=Numbers(),
    metavar="W,W,...",
    help="One an adapter, of any sign; by default the merger's own, mostly 1/K.",
)
@click.option(
    "--weights-for",
    multiple=True,
    metavar="PATTERN=W,W,...",
    help="Weights of some modules: --weights-for 'layer.0.*=1,0'.",
)
@click.option("--using", default="linear", show_default=True, metavar="MERGER", help="How; `ahf plugins` lists them.")
@click.option("--set", "overrides", multiple=True, metavar="OPTION=VALUE", help="An option of the merger.")
@click.option("--rank", type=Rank(), metavar="N|SHARE", help="A rank such as 16, or the energy to keep such as 0.99.")
@click.option(
    "--space",
    type=click.Choice(["exact", "dense", "factor"]),
    help="Where it computes; by default what the merger says.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what the merger draws.")
@click.option("--head-from", type=REFERENCE, metavar="REFERENCE", help="Whose head is taken, instead of an average.")
@click.option(
    "--check", "check", metavar="CORPUS", help="Measure the merge and its parents on a corpus, and record it."
)
@click.option("--check-set", "check_overrides", multiple=True, metavar="KEY=VALUE", help="An option of that corpus.")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    default="test",
    show_default=True,
    help="Its rows that are measured.",
)
@click.option("--description", default="", help="For people and search.")
@click.option("--license", help="Of the merge; by default its parents', joined by AND.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="For search; may be given several times.")
@click.option("--dry-run", is_flag=True, help="Merge, say what would be stored, and store nothing.")
@base_options
@json_option
def command(
    references: tuple[str, ...],
    into: str | None,
    weights: tuple[float, ...] | None,
    weights_for: tuple[str, ...],
    using: str,
    overrides: tuple[str, ...],
    rank: int | float | None,
    space: str | None,
    seed: int,
    head_from: str | None,
    check: str | None,
    check_overrides: tuple[str, ...],
    split: str,
    description: str,
    license: str | None,
    tags: tuple[str, ...],
    dry_run: bool,
    base: str | None,
    download: bool,
    batch_size: int,
    as_json: bool,
) -> None:
    """Merge adapters of one base into a new version, without the base.

    Each may have its own rank, scale and layers. --base, --download and --batch-size are for --check, which loads it.

    \b
    Examples:
      ahf merge acme/tone@1 acme/tone --weights 0.7,0.3 --using svd --rank 2 --into acme/merged
      ahf merge acme/tone@1 acme/tone --using ties --set density=0.3 --into acme/merged --check headlines
      ahf merge acme/tone@1 --weights-for 'layer.0.*=0.5' --rank 0.99 --dry-run --json
    """
    if into is None and not dry_run:
        raise click.UsageError("Give the name of the new version with --into, or --dry-run.")
    if check_overrides and check is None:
        raise click.UsageError("--check-set is for the corpus of --check.")
    from adapterhub_fin.plugin.descriptions import Merger
    from adapterhub_fin.plugin.manager import extensions
    from adapterhub_fin.recipe.overrides import override
    from adapterhub_fin.recipe.recipe import CorpusChoice

    corpus = None if check is None else CorpusChoice.read(check, check_overrides)
    patterns = _patterns(weights_for)
    options = override({}, overrides, extensions().get(Merger, using).load_options())
    from adapterhub_fin import merge

    made = merge(
        references,
        into=into,
        weights=weights,
        using=using,
        options=options,
        rank=rank,
        space=space,
        seed=seed,
        weights_for=patterns,
        head_from=head_from,
        description=description,
        license=license,
        tags=tags,
        check=corpus,
        split=split,  # type: ignore[arg-type]
        base=base,
        download=download,
        batch_size=batch_size,
        dry_run=dry_run,
    )
    if as_json:
        print_json(_document(made))
        return
    for warning in made.warnings:
        click.echo(f"note: {warning}", err=True)
    _print(made, using)


def _patterns(given: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Weights by pattern, in the order that decides."""
    found: dict[str, tuple[float, ...]] = {}
    for pattern, weights in map(_pattern, given):
        if pattern in found:
            raise click.BadParameter(f"{pattern!r} is given twice: give it once", param_hint="--weights-for")
        found[pattern] = weights
    return found


def _pattern(text: str) -> tuple[str, tuple[float, ...]]:
    pattern, equals, numbers = text.rpartition("=")
    if not equals:
        raise click.BadParameter(
            f"{text!r} is no pattern with weights, such as 'layer.0.*=1,0'", param_hint="--weights-for"
        )
    return pattern, Numbers().convert(numbers, None, None)


def _document(made: Merge) -> dict[str, Any]:
    return {
        **(_stored(made.version) if made.version else {}),
        "parents": [
            {"reference": each.reference, "digest": each.digest, "weight": weight}
            for each, weight in zip(made.parents, made.weights, strict=True)
        ],
        "space": made.space,
        "head_from": made.head_from,
        "energy": made.energy,
        "modules": [
            {"name": each.name, "shape": each.shape, "rank": each.rank, "energy": each.energy} for each in made.modules
        ],
        "warnings": list(made.warnings),
        "evaluations": [
            {"reference": each.reference, "digest": each.version.digest, **each.body(), "event": each.event}
            for each in made.evaluations
        ],
    }


def _stored(version: Version) -> dict[str, Any]:
    return {
        "reference": version.reference,
        "digest": version.digest,
        "knowledge_end": version.manifest.knowledge.end,
        "path": str(version.files),
    }


def _print(made: Merge, using: str) -> None:
    version, ranks = made.version, sorted({each.rank for each in made.modules})
    facts = [("version", f"{version.reference} ({version.digest})" if version else "none: nothing was stored")]
    facts += [
        ("merged", f"{each.reference} with the weight {weight:g}")
        for each, weight in zip(made.parents, made.weights, strict=True)
    ]
    facts += [("using", f"{using}, in {made.space} space")]
    facts += [
        ("matrices", f"{len(made.modules):,}, of rank {' to '.join(map(str, dict.fromkeys(ranks[:1] + ranks[-1:])))}")
    ]
    facts += [("energy kept", _energy(made))]
    facts += [("head", f"of {made.head_from}" if made.head_from else _head(made))]
    if version:
        facts += [("knowledge end", version.manifest.knowledge.end)]
    print_facts(facts)
    if made.evaluations:
        click.echo()
        rows = [
            (each.reference, name, f"{value:.4f}", interval_text(each.intervals[name]))
            for each in made.evaluations
            for name, value in each.metrics.items()
        ]
        print_table(("version", "metric", "value", "95 % interval"), rows)


def _energy(made: Merge) -> str:
    if not made.modules or round(made.energy, 6) >= 1:
        return "all"
    worst = min(made.modules, key=lambda each: each.energy)
    mean = sum(each.energy for each in made.modules) / len(made.modules)
    return f"{mean:.1%} on average, and least {worst.energy:.1%} in {worst.name}"


def _head(made: Merge) -> str:
    head = made.parents[0].manifest.head
    return f"{head.name}, the parents' average" if head and head.modules_to_save else head.name if head else "none"
