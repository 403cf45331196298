"""Define `ahf embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.answering import load_to_answer
from adapterhub_fin.cli.completing import SettingType, reading_keys
from adapterhub_fin.cli.model_options import ModelCommand
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
from adapterhub_fin.plugin.console import print_json

if TYPE_CHECKING:
    from pydantic import BaseModel


def _model() -> type[BaseModel]:
    from adapterhub_fin.engine.inference.embedding import Embedding

    return Embedding


@click.command("embed", cls=ModelCommand, model=_model)
@click.argument("reference", type=REFERENCE)
@texts_argument
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a .npy file instead of JSON lines; of a table, where its rows go with their vectors.",
)
@click.option(
    "--table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .csv, .tsv, .jsonl or .parquet file of rows.",
)
@click.option("--as-of-row", is_flag=True, help="Of a table: embed each row by the version that its own time allows.")
@click.option("--time", metavar="COLUMN", help="The column of when each text could first be read.")
@click.option("--text", "text_columns", multiple=True, metavar="COLUMN", help="The column of the text, or several.")
@click.option("--timezone", metavar="ZONE", help="Zone of times without one; a date ends there.")
@click.option("--date-format", metavar="FORMAT", help="How dates are written, such as %d.%m.%Y or unix_ms.")
@click.option(
    "--yanked",
    type=click.Choice(("as_then", "before_yank", "left_out")),
    help="Of a table: what versions count for that were yanked since; by default as_then.",
)
@click.option("--skip-refused", is_flag=True, help="Leave out, and count, rows that no version may answer.")
@click.option("--align", metavar="first|REFERENCE", help="Rotate the vectors of every version onto those of one.")
@click.option("--align-on", metavar="DATE|TABLE", help="Fit rotations on rows from before DATE, or on another table.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    type=SettingType(reading_keys),
    metavar="KEY=VALUE",
    help="How the table is read: --set encoding=cp1252.",
)
@workers_option
@base_options
@fold_option
@as_of_options
@lock_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, which is the default; not with --out.")
def command(
    reference: str,
    texts: tuple[str, ...],
    file: Path | None,
    out: Path | None,
    table: Path | None,
    as_of_row: bool,
    time: str | None,
    text_columns: tuple[str, ...],
    timezone: str | None,
    date_format: str | None,
    yanked: str | None,
    skip_refused: bool,
    align: str | None,
    align_on: str | None,
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
    **options: Any,
) -> None:
    """Embed texts, or the rows of a table by their time, as vectors with an adapter.

    A vector pools one layer's hidden states over the text's tokens. Prints one JSON line for each text; --out writes a
    .npy file of float32 with shape (texts, hidden size). With --table and --as-of-row each row has a vector of the
    version that its own time allows, one column a dimension, with when it was known; rows that no version may answer
    are refused.

    \b
    Examples:
      ahf embed acme/tone "Margins widened in the third quarter."
      ahf embed acme/tone --out vectors.npy "Orders rose." "Orders fell."
      ahf embed acme/tone --pooling max --layer 1 --normalize "Orders rose."
      ahf embed acme/tone --table news.parquet --text title --time published --as-of-row --out features.parquet
    """
    if table is not None:
        if out is None or time is None or not as_of_row or texts or file or as_of or lock or fold:
            raise click.UsageError(
                "Give --table FILE with --as-of-row, --time COLUMN and --out FILE, and neither texts, --file, --as-of, "
                "--lock nor --fold."
            )
        dated = {"time": time, "text": text_columns or None, "timezone": timezone, "date_format": date_format}
        aligned = {"align": align, "align_on": align_on, "skip_refused": skip_refused, "include_base": include_base}
        aligned |= {} if yanked is None else {"yanked": yanked}
        loading: dict[str, Any] = {"base": base, "download": download, "reading": reading_options(overrides)}
        loading |= {"batch_size": batch_size, "workers": workers or 1}
        _embed_table(reference, table, out, as_json, **dated, **aligned, **loading, **options)
        return
    of_table = (as_of_row, time, text_columns, timezone, date_format, yanked, skip_refused, align, align_on, overrides)
    if any(of_table) or workers is not None:
        raise click.UsageError("--as-of-row and its options are for --table FILE.")
    if as_json and out is not None:
        raise click.UsageError("--json prints lines and --out writes a file: choose one")
    if out is not None and not out.parent.is_dir():
        raise click.BadParameter(f"the folder {out.parent} does not exist", param_hint="--out")
    inputs = read_texts(texts, file)
    adapter = load_to_answer(
        "embed",
        reference,
        base=base,
        as_of=as_of,
        include_base=include_base,
        lock=lock,
        download=download,
        fold=fold,
    )
    vectors = adapter.embed(inputs, batch_size, progress=True, **options)
    if out is None:
        for text, vector in zip(inputs, vectors.tolist(), strict=True):
            print_json(
                {"text": text, "embedding": vector, "reference": adapter.reference, **dated_by(as_of, include_base)}
            )
        return
    import numpy as np

    np.save(out, vectors)
    say_answering(adapter.reference, as_of, include_base)
    click.echo(f"{vectors.shape[0]} x {vectors.shape[1]} vectors are in {out}", err=True)


def _embed_table(reference: str, table: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Embed a table, and say what was done."""
    from adapterhub_fin import embed_table

    done = embed_table(reference, table, out, progress=True, **options)
    if done.warning:
        click.echo(f"warning: {done.warning}", err=True)
    if as_json:
        print_json({**done.record(), "out": str(out)})
        return
    for facts in done.versions.values():
        click.echo(f"{facts['reference']}, known until {facts['knowledge_end']}: {facts['rows']:,} rows", err=True)
    for version in done.yanked:
        click.echo(f"note: {version.sentence()}", err=True)
    if done.alignment is not None:
        click.echo(f"aligned on {done.alignment.onto} by {done.alignment.rows:,} rows", err=True)
    left_out = f", {done.refused:,} refused and left out" if done.refused else ""
    click.echo(f"{done.rows:,} rows in {out}{left_out}", err=True)
