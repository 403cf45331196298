"""Define `ahf probe`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from adapterhub_fin.cli.completing import PluginType
from adapterhub_fin.cli.options import REFERENCE, as_of_options, base_options, dated_by, lock_option, say_answering
from adapterhub_fin.cli.part_options import part_options
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table, printable

if TYPE_CHECKING:
    from adapterhub_fin.engine.probing.result import Probe
    from adapterhub_fin.stats.representations import Measured


@click.command("probe")
@click.argument("reference", type=REFERENCE)
@click.option("--corpus", type=PluginType("corpus"), help="The rows; by default those of the version's own recipe.")
@part_options("Which rows to read")
@click.option(
    "--sample", type=click.IntRange(2), default=1000, show_default=True, help="Rows at most; of more, a seeded sample."
)
@click.option(
    "--pooling",
    type=click.Choice(["mean", "first", "last", "max"]),
    default="mean",
    show_default=True,
    help="What makes one vector of a text's tokens.",
)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True, help="Folds of the probes.")
@click.option(
    "--resamples", type=click.IntRange(1), default=2000, show_default=True, help="Bootstrap resamples of the probes."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of sample, folds, intervals.")
@click.option("--vectors", metavar="FILE", help="Write a layer's vectors to a .parquet or .npz file.")
@click.option(
    "--layer", type=int, default=-1, show_default=True, help="Whose vectors: 0 is the embeddings, -1 the last."
)
@click.option("--report", metavar="FOLDER", help="Write a page with pictures to a folder.")
@base_options
@as_of_options
@lock_option
@json_option
def command(
    reference: str,
    corpus: str | None,
    overrides: tuple[str, ...],
    split: str,
    sample: int,
    pooling: str,
    folds: int,
    resamples: int,
    seed: int,
    vectors: str | None,
    layer: int,
    report: str | None,
    base: str | None,
    download: bool,
    batch_size: int,
    as_of: str | None,
    include_base: bool,
    lock: str | None,
    as_json: bool,
) -> None:
    """Compare a version's layers with those of its bare base.

    Linear probes predict the rows' labels or target from each layer, cross-validated by group and text. CKA and mean
    cosines compare the vectors themselves.

    \b
    Examples:
      ahf probe acme/tone
      ahf probe acme/tone@1 --corpus headlines --set rows=300 --split all --pooling last
      ahf probe acme/tone@1 --report reports/inside
      ahf probe acme/tone@1 --vectors layer1.parquet --layer 1 --json
    """
    if corpus is not None:
        from adapterhub_fin.recipe.choices import CorpusChoice

        CorpusChoice.read(corpus, overrides)  # refuse a wrong option before torch is imported
    from adapterhub_fin import probe

    result = probe(
        reference,
        corpus,
        split=split,  # type: ignore[arg-type]
        overrides=overrides,
        sample=sample,
        pooling=pooling,  # type: ignore[arg-type]
        folds=folds,
        resamples=resamples,
        seed=seed,
        batch_size=batch_size,
        vectors=vectors,
        layer=layer,
        report=report,
        base=base,
        as_of=as_of,
        include_base=include_base,
        lock=lock,
        download=download,
    )
    if as_json:
        used = {"reference": result.reference, "digest": result.version.digest, **dated_by(as_of, include_base)}
        print_json({**used, **result.body(), "page": result.page})
        return
    say_answering(result.reference, as_of, include_base)
    for warning in result.warnings:
        click.echo(printable(f"warning: {warning}"), err=True)
    _print(result)
    if result.page is not None:
        click.echo(result.page)


def _print(result: Probe) -> None:
    print_facts(
        [
            ("corpus", f"{result.corpus} ({result.corpus_digest})"),
            ("rows", f"{result.rows:,} of {result.rows_of_split:,} ({result.split}), {result.texts:,} distinct texts"),
            ("vectors", f"{result.pooling} over the tokens of a text"),
            *((f"no {name}", reason) for name, reason in result.unmeasured.items()),
        ]
    )
    if result.probes:
        click.echo()
        _print_probes(result)
    click.echo()
    names = [name for name in ("anisotropy", "within", "between", "separation") if name in result.similarities[-1].base]
    rows = [
        (
            each.layer,
            _cka(result.cka_debiased, each.layer),
            *(f"{_value(each.base.get(name))} -> {_value(each.tuned.get(name))}" for name in names),
        )
        for each in result.similarities
    ]
    print_table(("layer", "CKA, debiased", *names), rows)


def _print_probes(result: Probe) -> None:
    rows = [
        (
            each.layer,
            f"{each.base.value:.4f}",
            f"{each.tuned.value:.4f}",
            f"{each.difference.value:+.4f}",
            _ends(each.difference),
            f"{each.p:.4f}",
            f"{each.p_corrected:.4f}",
        )
        for each in result.probes
    ]
    columns = ("layer", f"{result.score} of base", "of version", "difference", "95 % interval", "p", "p, corrected")
    print_table(columns, rows)
    click.echo(
        f"one answer for all rows: {result.constant_score:.4f}; {result.settings['folds']} folds; the intervals are "
        "over rows, the folds staying as they are; p corrected over the layers (Holm)"
    )


def _ends(measured: Measured) -> str:
    return "" if measured.interval is None else f"{measured.interval[0]:+.4f} to {measured.interval[1]:+.4f}"


def _value(measured: Measured | None) -> str:
    return "-" if measured is None else f"{measured.value:.3f}"


def _cka(matrix: Sequence[Sequence[float | None]], layer: int) -> str:
    value = matrix[layer][layer] if matrix else None
    return "-" if value is None else f"{value:.3f}"
