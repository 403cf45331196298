"""Define `ahf forgetting`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.completing import PluginType
from adapterhub_fin.cli.options import (
    REFERENCE,
    as_of_options,
    base_options,
    dated_by,
    interval_text,
    lock_option,
    say_answering,
)
from adapterhub_fin.cli.part_options import part_options
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table


@click.command("forgetting")
@click.argument("reference", type=REFERENCE)
@click.argument("corpus", type=PluginType("corpus"))
@part_options("Which rows to measure on")
@click.option("--metric", help="By default perplexity for heads that write text, else the head's own.")
@click.option(
    "--sample", type=click.IntRange(1), default=1000, show_default=True, help="Rows at most; of more, a seeded sample."
)
@click.option(
    "--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Bootstrap resamples of the rows."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of sample and resampling.")
@click.option("--record", is_flag=True, help="Store the result as an event of the version.")
@base_options
@as_of_options
@lock_option
@json_option
def command(
    reference: str,
    corpus: str,
    overrides: tuple[str, ...],
    metric: str | None,
    split: str,
    sample: int,
    resamples: int,
    seed: int,
    record: bool,
    base: str | None,
    download: bool,
    batch_size: int,
    as_of: str | None,
    include_base: bool,
    lock: str | None,
    as_json: bool,
) -> None:
    """Measure what tuning made a version forget, on other corpora.

    A version that writes text is measured by perplexity, beside its base. Another is measured by a metric of its head,
    beside the version that it started from.

    \b
    Examples:
      ahf forgetting acme/notes headlines
      ahf forgetting acme/notes table --set path=general.csv --set text=body --split all
      ahf forgetting acme/notes headlines --set rows=90 --record --json
    """
    from adapterhub_fin.recipe.choices import CorpusChoice

    CorpusChoice.read(corpus, overrides)  # refuse a wrong option before torch is imported
    from adapterhub_fin import forgetting

    result = forgetting(
        reference,
        corpus,
        metric=metric,
        split=split,  # type: ignore[arg-type]
        overrides=overrides,
        sample=sample,
        resamples=resamples,
        seed=seed,
        batch_size=batch_size,
        record=record,
        base=base,
        as_of=as_of,
        include_base=include_base,
        lock=lock,
        download=download,
    )
    assert result.version is not None, "it is that of a stored version"
    if as_json:
        used = {"reference": result.version.reference, "digest": result.version.digest}
        print_json({**used, **dated_by(as_of, include_base), **result.body()})
        return
    say_answering(result.version.reference, as_of, include_base)
    against = "its base" if result.against == "base" else result.against
    print_facts(
        [("corpus", f"{result.corpus} ({result.corpus_digest})"), ("rows", f"{result.rows:,} ({result.split})")]
    )
    click.echo()
    rows = [
        (against, f"{result.before:.4f}", interval_text(result.before_interval)),
        (result.version.reference, f"{result.after:.4f}", interval_text(result.after_interval)),
        (result.change_kind, f"{result.change:+.4f}", interval_text(result.change_interval)),
    ]
    print_table(("", result.metric, "95 % interval"), rows)
    if result.rows_seen:
        click.echo(f"warning: training saw the text of {result.rows_seen:,} of these rows", err=True)
