"""Define `ahf compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.completing import PluginType
from adapterhub_fin.cli.options import REFERENCE, base_options, interval_text
from adapterhub_fin.cli.part_options import part_options, units_option
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin.engine.comparing.differences import Difference
    from adapterhub_fin.engine.comparing.evidence import Evidence


@click.command("compare")
@click.argument("contenders", nargs=-1, required=True, type=REFERENCE)
@click.option("--corpus", type=PluginType("corpus"), help="The rows; by default those of the first version's recipe.")
@part_options("Which rows to compare on")
@click.option(
    "--by", multiple=True, metavar="COLUMN", help="Compare on slices too: year, length, label or a kept column."
)
@click.option("--drop-seen", is_flag=True, help="Leave out rows that a version saw in training, in place of refusing.")
@units_option
@click.option(
    "--interval",
    type=click.Choice(["percentile", "bca"]),
    default="percentile",
    show_default=True,
    help="How intervals are made of the resamples.",
)
@click.option(
    "--level", type=click.FloatRange(0.5, 1, max_open=True), default=0.95, show_default=True, help="Of the intervals."
)
@click.option("--resamples", type=click.IntRange(100), default=2000, show_default=True, help="Bootstrap resamples.")
@click.option("--rounds", type=click.IntRange(100), default=10_000, show_default=True, help="Of a permutation test.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of resamples and rounds.")
@click.option("--all-metrics", is_flag=True, help="Print every metric's differences, not the deciding one's alone.")
@click.option("--metric", help="The metric that decides; by default the one that the head selects on.")
@click.option("--generate", is_flag=True, help="Let each contender write an answer to each row, and compare those.")
@click.option("--labels", metavar="A,B,...", help="With --generate: the labels to choose from, if answers are labels.")
@click.option(
    "--prompt",
    metavar="TEMPLATE",
    help="With --generate: how a row's text is asked; {text} stands for it. Rows of messages need none.",
)
@click.option("--chat", is_flag=True, help="With --generate: ask a row's text as a user's message.")
@click.option("--similarity-base", metavar="BASE", help="With --generate: the base that compares answers, as minilm.")
@click.option("--max-new-tokens", type=int, help="With --generate: tokens to write, at most; by default 128.")
@click.option("--report", metavar="FOLDER", help="Write a page with pictures to a folder.")
@base_options
@json_option
def command(
    contenders: tuple[str, ...],
    corpus: str | None,
    overrides: tuple[str, ...],
    all_metrics: bool,
    labels: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare versions on the same rows, with tests and a verdict.

    A contender is a version, or `base` for the bare base, or `bag-of-words`. The rows must be new to every version. The
    metric fixes the test, and p-values are corrected over all metrics, slices and pairs. With --generate the contenders
    write their answers, and `base:4` is the bare base after four training rows with theirs.

    \b
    Examples:
      ahf compare acme/tone@2 acme/tone@1 --resamples 10000 --interval bca
      ahf compare acme/tone@champion base bag-of-words --by length --report reports/better
      ahf compare acme/notes base --corpus headlines --set rows=60 --generate --max-new-tokens 8
      ahf compare acme/tone@1 acme/tone@2 --corpus headlines --set rows=300 --drop-seen --json
    """
    from adapterhub_fin.recipe.choices import CorpusChoice

    if corpus is not None:
        CorpusChoice.read(corpus, overrides)  # refuse a wrong option before torch is imported
    from adapterhub_fin import compare

    if labels is not None:
        options["labels"] = [label.strip() for label in labels.split(",")]
    given = {name: value for name, value in options.items() if value is not None}
    evidence = compare(*contenders, corpus=corpus, overrides=overrides, **given)
    if as_json:
        print_json(evidence.body())
        return
    _print(evidence, all_metrics)
    if evidence.page is not None:
        click.echo(f"\nthe page is {evidence.page}")


def _print(evidence: Evidence, all_metrics: bool) -> None:
    for sentence in (*evidence.verdicts, *evidence.caveats):
        click.echo(sentence)
    click.echo()
    facts = [("corpus", f"{evidence.corpus} ({evidence.corpus_digest})"), ("split", evidence.split)]
    print_facts([*facts, ("rows", f"{evidence.rows:,}, drawn by {evidence.units}")])
    click.echo()
    metrics = list(evidence.sides[0].metrics)
    rows = [
        (each.name, *(f"{each.metrics[name]:.4f} ({interval_text(each.intervals[name])})" for name in metrics))
        for each in evidence.sides
    ]
    print_table(("contender", *metrics), rows)
    click.echo()
    printed = [each for each in evidence.differences if all_metrics or each.metric == evidence.metric]
    print_table(
        ("a", "b", "metric", "rows", "a - b", "95 % interval", "test", "p", "corrected", "d_z", "Bayes factor"),
        [_difference(each) for each in printed],
    )
    click.echo()
    print_table(
        ("contender", "parameters", "memory", "ms a row", "rows a second", "is"),
        [_cost(side) for side in evidence.sides],
    )


def _difference(of: Difference) -> tuple[str, ...]:
    p = _number(getattr(of.test, "p", None), ".4f")
    effect, factor = of.effects["d_z"], getattr(of.bayes, "factor", None)
    return (
        of.a,
        of.b,
        of.metric,
        of.part,
        f"{of.difference:+.4f}",
        interval_text(of.interval),
        str(getattr(of.test, "name", of.test)),
        p,
        _number(of.corrected, ".4f"),
        "" if isinstance(effect, str) else f"{effect:+.3f}",
        _number(factor, ".3g"),
    )


def _cost(side: Any) -> tuple[str, ...]:
    cost = side.efficiency
    memory = "" if cost["memory"] is None else f"{cost['memory'] / 2**20:,.1f} MiB"
    numbers = (_number(cost[name], ".1f") for name in ("latency", "rows_per_second"))
    return side.name, f"{cost['parameters']:,}", memory, *numbers, side.described


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
