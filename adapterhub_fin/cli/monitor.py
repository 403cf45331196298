"""Define `ahf monitor`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.completing import PluginType, SettingType, reading_keys
from adapterhub_fin.cli.options import REFERENCE, as_of_options, base_options, dated_by, lock_option, say_answering
from adapterhub_fin.cli.part_options import part_options
from adapterhub_fin.plugin.console import json_option, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin.engine.monitoring.result import Monitoring

DRIFT = 3  # the exit status; 1 is an error and 2 wrong usage, as of every command


@click.command("monitor")
@click.argument("reference", type=REFERENCE)
@click.option(
    "--table",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The new rows: a .csv, .tsv, .jsonl or .parquet file.",
)
@click.option(
    "--text", "text_columns", multiple=True, metavar="COLUMN", help="The column of the text; several are joined."
)
@click.option("--label", metavar="COLUMN", help="The column of the true labels or numbers, where they are known.")
@click.option(
    "--read",
    "reading",
    multiple=True,
    type=SettingType(reading_keys),
    metavar="KEY=VALUE",
    help="How the table is read, where not as the version's own: --read encoding=cp1252.",
)
@click.option(
    "--corpus",
    type=PluginType("corpus"),
    help="Compare with this corpus, in place of the one of the version's recipe.",
)
@part_options("Which part of it")
@click.option("--evaluation", type=int, metavar="EVENT", help="Compare with the outcomes of this evaluation instead.")
@click.option("--alpha", type=float, default=0.01, show_default=True, help="Alarm below this corrected p.")
@click.option("--min-psi", type=float, default=0.1, show_default=True, help="Alarm from this PSI above chance.")
@click.option("--min-rows", type=int, default=50, show_default=True, help="Decide nothing with fewer rows on a side.")
@click.option("--sample", type=int, default=1000, show_default=True, help="Rows of a side that are embedded.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of sample and permutations.")
@click.option("--report", metavar="FOLDER", help="Write a page with pictures there.")
@base_options
@as_of_options
@lock_option
@json_option
def command(
    reference: str,
    table: Path,
    text_columns: tuple[str, ...],
    reading: tuple[str, ...],
    overrides: tuple[str, ...],
    as_of: str | None,
    include_base: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare what a version reads and answers today with what it was tested on.

    Signals are the texts' length, share of unknown tokens and embeddings, the answers, and, with --label, accuracy and
    calibration. The exit status is 3 if any of them drifted, else 0; too few rows are no alarm.

    \b
    Examples:
      ahf monitor acme/tone --table today.parquet
      ahf monitor acme/tone@1 --table today.csv --text headline --label tone --report watch --json
      ahf monitor acme/tone --table today.parquet --corpus headlines --set rows=90 --alpha 0.001
    """
    from adapterhub_fin import monitor

    watched = monitor(
        reference,
        table,
        text=text_columns or None,
        overrides=overrides,
        as_of=as_of,
        include_base=include_base,
        **options,
        **_reading(reading),
    )
    if as_json:
        print_json({**watched.body(), **dated_by(as_of, include_base)})
    else:
        say_answering(watched.version.reference, as_of, include_base)
        _print(watched)
    if watched.drifted:
        click.get_current_context().exit(DRIFT)


def _reading(settings: Sequence[str]) -> dict[str, Any]:
    from adapterhub_fin.plugin.overrides import override
    from adapterhub_fin.plugin.reading import TableReading

    return override({}, settings, TableReading) if settings else {}


def _print(watched: Monitoring) -> None:
    compared = ", ".join(f"{key} {value}" for key, value in watched.reference.items())
    click.echo(f"{watched.table}, {watched.rows:,} rows, against {compared}")
    click.echo()
    rows = [
        (signal.name, signal.before, signal.now, _number(signal.corrected_p), _number(signal.psi), signal.verdict)
        for signal in watched.signals
    ]
    print_table(("signal", "before", "now", "corrected p", "PSI", "verdict"), rows)
    click.echo()
    for signal in watched.signals:
        if signal.verdict == "undefined":
            click.echo(f"not compared: {signal.name}: {signal.reason}")
    click.echo(watched.sentence)
    if watched.page is not None:
        click.echo(f"{watched.page}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
