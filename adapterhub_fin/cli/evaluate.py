"""Define `ahf evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from adapterhub_fin.cli.part_options import part_options, units_option
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin.engine.data.units import Units
    from adapterhub_fin.engine.evaluation.evaluate import Evaluation
    from adapterhub_fin.engine.evaluation.measuring import Slice


@click.command("evaluate")
@click.argument("reference", type=REFERENCE)
@click.argument("corpus", required=False, type=PluginType("corpus"))
@click.option("--from-recipe", is_flag=True, help="Use the corpus of the version's own recipe.")
@part_options("Which rows to evaluate on")
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Slice the rows by year, quarter, month, length, label, group, or a column that the corpus keeps (slices).",
)
@units_option
@click.option(
    "--resamples",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Bootstrap resamples for the intervals.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of resampling, and of sampled answers.",
)
@click.option(
    "--as", "name", metavar="NAME", help="Call the rows NAME, such as desk-2024; search finds eval.NAME.SPLIT.METRIC."
)
@click.option("--no-record", is_flag=True, help="Evaluate without recording the metrics.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what each row got, its answer among it, to this .parquet or .jsonl file.",
)
@click.option("--generate", is_flag=True, help="Let the version write an answer to each row, and compare it.")
@click.option("--labels", metavar="A,B,...", help="With --generate: the labels to choose from, if answers are labels.")
@click.option(
    "--prompt",
    metavar="TEMPLATE",
    help="With --generate: how a row's text is asked; {text} stands for it. Rows of messages need none.",
)
@click.option("--chat", is_flag=True, help="With --generate: ask a row's text as a user's message.")
@click.option(
    "--similarity-base",
    metavar="BASE",
    help="With --generate: the base whose token states compare answers (BERTScore), such as minilm; own for the "
    "version's own base.",
)
@click.option("--max-new-tokens", type=int, help="With --generate: tokens to write, at most; by default 128.")
@click.option("--temperature", type=float, help="With --generate: 0, the default, takes the most likely token.")
@click.option("--top-p", type=float, help="With --generate: sample from the most likely tokens of this probability.")
@click.option("--top-k", type=int, help="With --generate: sample from this many of the most likely tokens.")
@click.option("--repetition-penalty", type=float, help="With --generate: above 1 makes earlier tokens less likely.")
@base_options
@as_of_options
@lock_option
@json_option
def command(
    reference: str,
    corpus: str | None,
    from_recipe: bool,
    overrides: tuple[str, ...],
    split: str,
    by: tuple[str, ...],
    units: Units | None,
    resamples: int,
    seed: int,
    name: str | None,
    no_record: bool,
    out: Path | None,
    generate: bool,
    labels: str | None,
    prompt: str | None,
    chat: bool,
    similarity_base: str | None,
    base: str | None,
    download: bool,
    batch_size: int,
    as_of: str | None,
    include_base: bool,
    lock: str | None,
    as_json: bool,
    **decoding: Any,
) -> None:
    """Evaluate a version on a corpus and record its metrics.

    Each metric comes with its 95 % bootstrap interval over the rows. CORPUS is the name of a corpus; --set gives its
    options and how it is split. What each row got is stored beside the metrics, without its text. With --generate, the
    version writes its answers, and they are compared with the rows' own: the last turn of a conversation, or the label
    of a text.

    \b
    Examples:
      ahf evaluate acme/tone --from-recipe
      ahf evaluate acme/tone headlines --set rows=200 --set splitter.by=time
      ahf evaluate acme/tone --from-recipe --by year --by length
      ahf evaluate acme/tone@1 headlines --set rows=90 --split all --no-record --json
      ahf evaluate acme/notes --from-recipe --generate --prompt "{text} So:" --max-new-tokens 8 --out answers.jsonl
    """
    from adapterhub_fin.recipe.choices import CorpusChoice

    if (corpus is None) != from_recipe:
        raise click.UsageError("Give the name of a corpus, or --from-recipe for the version's own.")
    if corpus is not None:
        CorpusChoice.read(corpus, overrides)  # refuse a wrong option before torch is imported
    if out is not None:
        from adapterhub_fin.engine.evaluation.outcomes_file import check_out, write_outcomes

        check_out(out)
    writing = {
        "labels": None if labels is None else [label.strip() for label in labels.split(",")],
        **({} if prompt is None else {"prompt": prompt}),
        "chat": chat,
        "similarity_base": similarity_base,
        **{name: value for name, value in decoding.items() if value is not None},
    }
    from adapterhub_fin import evaluate

    evaluation = evaluate(
        reference,
        corpus,
        split=split,  # type: ignore[arg-type]
        overrides=overrides,
        by=by,
        units=units,
        name=name,
        resamples=resamples,
        seed=seed,
        batch_size=batch_size,
        record=not no_record,
        generate=generate,
        **writing,
        base=base,
        as_of=as_of,
        include_base=include_base,
        lock=lock,
        download=download,
    )
    if out is not None:
        write_outcomes(out, evaluation.outcomes)
    if as_json:
        used = {"reference": evaluation.reference, "digest": evaluation.version.digest, **dated_by(as_of, include_base)}
        print_json({**used, **evaluation.body(), "event": evaluation.event})
        return
    say_answering(evaluation.reference, as_of, include_base)
    _print(evaluation)


def _seen(evaluation: Evaluation) -> str:
    if evaluation.rows_seen is None:
        return "unknown: the hashes of its training rows are not here, so some of these rows may be among them"
    if evaluation.seen_in_training:
        return f"{evaluation.rows_seen:,} OF THESE ROWS: the metrics are not those of unseen text"
    return "no"


def _print(evaluation: Evaluation) -> None:
    called = f", called {evaluation.name}" if evaluation.name else ""
    facts = [("corpus", f"{evaluation.corpus} ({evaluation.corpus_digest}){called}"), ("split", evaluation.split)]
    units = evaluation.bootstrap["units"]
    facts += [("rows", f"{evaluation.rows:,}" + (f", drawn in {units:,} groups" if units < evaluation.rows else ""))]
    facts += [("seen in training", _seen(evaluation))]
    facts += [("recorded", f"as event {evaluation.event}" if evaluation.event is not None else "no")]
    print_facts(facts)
    click.echo()
    rows = [
        (name, f"{value:.4f}", interval_text(evaluation.intervals[name])) for name, value in evaluation.metrics.items()
    ]
    print_table(("metric", "value", "95 % interval"), rows)
    for by, slices in evaluation.slices.items():
        click.echo()
        print_table((by, "rows", *evaluation.metrics), [_slice_row(each) for each in slices])
    for name, reason in (evaluation.generation or {}).get("left_out", {}).items():
        click.echo(f"not measured: {name}: {reason}")


def _slice_row(part: Slice) -> tuple[str, ...]:
    cells = (
        "undefined" if value is None else f"{value:.4f} ({interval_text(part.intervals[name])})"
        for name, value in part.metrics.items()
    )
    return part.value, f"{part.rows:,}", *cells
