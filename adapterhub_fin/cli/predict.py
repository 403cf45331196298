"""Define `ahf predict`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.answering import load_to_answer
from adapterhub_fin.cli.completing import SettingType, reading_keys
from adapterhub_fin.cli.options import (
    REFERENCE,
    as_of_options,
    base_options,
    dated_by,
    fold_option,
    lock_option,
    read_texts,
    reading_options,
    say_answering,
    texts_argument,
    workers_option,
)
from adapterhub_fin.plugin.console import json_option, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin_registry import Manifest, Version


@click.command("predict")
@click.argument("reference", type=REFERENCE)
@texts_argument
@click.option(
    "--table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .csv, .tsv, .jsonl or .parquet file of rows.",
)
@click.option(
    "--text",
    "text_columns",
    multiple=True,
    metavar="COLUMN",
    help="The column of the text; several are joined.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the rows go with their answers, in the form that the suffix says.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    type=SettingType(reading_keys),
    metavar="KEY=VALUE",
    help="How the table is read, where not as the version's own: --set encoding=cp1252.",
)
@workers_option
@base_options
@fold_option
@as_of_options
@lock_option
@json_option
def command(
    reference: str,
    texts: tuple[str, ...],
    file: Path | None,
    table: Path | None,
    text_columns: tuple[str, ...],
    out: Path | None,
    overrides: tuple[str, ...],
    workers: int | None,
    base: str | None,
    download: bool,
    batch_size: int,
    fold: bool,
    as_of: str | None,
    include_base: bool,
    lock: str | None,
    as_json: bool,
) -> None:
    """Predict labels, scores or numbers for texts, or for the rows of a table, with an adapter.

    The head defines the output: a label and its score, a number, or a language model's likelihood of the text. A table
    is read and written a part at a time; OUT appears when all its rows are answered. Its encoding, separator, header
    and na_values are those of the version's own recipe, or what --set says.

    \b
    Examples:
      ahf predict acme/tone "Margins widened in the third quarter."
      ahf predict acme/tone@1 --as-of now --json "Orders fell short of plan."
      ahf predict acme/tone --table news.csv --text headline --out answered.parquet
      ahf predict acme/tone --table desk.csv --set "separator=;" --set encoding=cp1252 --out answered.csv
    """
    of_table = out is not None or text_columns or overrides or workers is not None
    if (of_table and table is None) or (table is not None and (out is None or texts or file)):
        raise click.UsageError(
            "Give texts, or --table FILE with --out FILE, --text COLUMN if it is not found, and --set if it is written "
            "in another way."
        )
    inputs = [] if table is not None else read_texts(texts, file)
    reading = reading_options(overrides)

    def check(version: Version) -> None:
        from adapterhub_fin.engine.inference.table_reading import TableTexts

        if table is not None:
            TableTexts.of(table, version, text_columns, reading)

    adapter = load_to_answer(
        "predict",
        reference,
        base=base,
        as_of=as_of,
        include_base=include_base,
        lock=lock,
        download=download,
        fold=fold,
        check=check,
    )
    if table is not None and out is not None:
        count = adapter.predict_table(
            table, out, text=text_columns or None, batch_size=batch_size, workers=workers or 1, progress=True, **reading
        )
        used = {"reference": adapter.reference, "digest": adapter.version.digest, **dated_by(as_of, include_base)}
        if as_json:
            print_json({**used, "rows": count, "out": str(out)})
            return
        say_answering(adapter.reference, as_of, include_base)
        click.echo(f"{count:,} rows in {out}{_read_as(adapter.manifest, table, reading)}", err=True)
        return
    answers = [asdict(answer) for answer in adapter.predict(inputs, batch_size, progress=True)]
    if as_json:
        used = {"reference": adapter.reference, "digest": adapter.version.digest, **dated_by(as_of, include_base)}
        print_json({**used, "predictions": [{"text": t, **a} for t, a in zip(inputs, answers, strict=True)]})
        return
    say_answering(adapter.reference, as_of, include_base)
    columns = [name for name, value in answers[0].items() if not isinstance(value, dict)]
    rows = [
        (*(_cell(name, answer[name]) for name in columns), text) for text, answer in zip(inputs, answers, strict=True)
    ]
    print_table((*columns, "text"), rows)


def _read_as(manifest: Manifest, table: Path, given: dict[str, Any]) -> str:
    """Return how a table was read, where that is not as UTF-8 with commas."""
    from adapterhub_fin.engine.inference.table_reading import table_reading

    used = table_reading(manifest, table, given).model_dump(mode="json", exclude_defaults=True)
    options = ", ".join(f"{name} {value!r}" for name, value in used.items())
    return f"; {table.name} was read with {options}" if options else ""


def _cell(name: str, value: Any) -> str:
    """Return a cell: a score is between 0 and 1 and gets three decimals; other numbers get five digits."""
    if isinstance(value, float):
        return f"{value:.3f}" if name == "score" else f"{value:.5g}"
    return str(value)
