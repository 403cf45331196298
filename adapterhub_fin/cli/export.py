"""Define `ahf export`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from adapterhub_fin.cli.completing import PluginType, SettingType, reading_keys
from adapterhub_fin.cli.options import REFERENCE, reading_options
from adapterhub_fin.cli.part_options import part_options
from adapterhub_fin.plugin.console import json_option, print_json, printable

if TYPE_CHECKING:
    from adapterhub_fin.engine.folding.into_base import Folded


@click.command("export")
@click.argument("reference", type=REFERENCE)
@click.argument("folder", type=click.Path())
@click.option(
    "--layout",
    type=click.Choice(["peft", "vllm", "merged", "onnx"]),
    default="peft",
    show_default=True,
    help="The layout of the folder.",
)
@click.option("--without-head", is_flag=True, help="For vllm: leave out modules_to_save.")
@click.option("--base", metavar="FOLDER|ID", help="For merged and onnx: the base, if its recorded id doesn't find it.")
@click.option("--download", is_flag=True, help="For merged and onnx: allow downloading the base from the Hub.")
@click.option(
    "--into",
    type=click.Choice(["dequantised", "original"]),
    help="For merged, if the base was quantized in training: the weights to merge into; dequantised by default.",
)
@click.option(
    "--engine",
    type=click.Choice(["vllm", "sglang", "lorax", "tgi"]),
    help="Also print how to serve the folder with this engine.",
)
@click.option(
    "--precision", help="For onnx: fp32, the default; int8, by blocks; or int8-dynamic, faster and further off."
)
@click.option(
    "--corpus",
    type=PluginType("corpus"),
    help="For onnx: compare the graph with torch on this corpus; by default that of the version's own recipe.",
)
@part_options("For onnx: which part of it, validation by default", default=None)
@click.option(
    "--table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For onnx: compare on the rows of a .csv, .tsv, .jsonl or .parquet file instead.",
)
@click.option("--text", multiple=True, metavar="COLUMN", help="The column of the table's text; several are joined.")
@click.option(
    "--read",
    "reading",
    multiple=True,
    type=SettingType(reading_keys),
    metavar="KEY=VALUE",
    help="How the table is read, where not as the version's own: --read encoding=cp1252.",
)
@click.option("--sample", type=int, help="For onnx: rows that are compared, at most; 1000 by default.")
@click.option(
    "--max-labels-changed",
    type=float,
    metavar="SHARE",
    help="For onnx: refuse it if more of the rows get another label; 0.01 by default.",
)
@click.option(
    "--max-change",
    type=float,
    metavar="AMOUNT",
    help="For onnx: refuse it if a probability moves further; 0.05 by default, and 0.001 in fp32. Of a number it is in "
    "units of the head's scale, of a vector one minus the cosine.",
)
@click.option("--pooling", help="For onnx, of embeddings: mean, first, last or max.")
@click.option("--layer", type=int, help="For onnx, of embeddings: which states; -1 is the last layer.")
@click.option("--normalize", is_flag=True, help="For onnx, of embeddings: scale every vector to length one.")
@json_option
def command(
    reference: str,
    folder: str,
    layout: str,
    without_head: bool,
    base: str | None,
    download: bool,
    into: Literal["dequantised", "original"] | None,
    engine: str | None,
    table: Path | None,
    text: tuple[str, ...],
    reading: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Export a version to a folder: for PEFT, for vLLM, merged into its base, or as an ONNX graph.

    The layout peft copies every file as stored. The layout vllm writes what vLLM's LoRA loader reads, or fails and says
    what it can't read. The layout merged writes the full model, which Transformers loads by itself. The layout onnx
    writes the full model as a graph that onnxruntime, tokenizers and numpy answer with alone, once it was compared with
    torch on rows. The folder must be new or empty; it is written completely or not at all. --engine prints the command
    that serves it and a request.

    \b
    Examples:
      ahf export acme/tone exported/tone
      ahf export acme/notes exported/notes --layout vllm --json
      ahf export acme/tone exported/tone-merged --layout merged
      ahf export acme/tone desk/tone-int8 --layout onnx --precision int8
      ahf export acme/tone desk/tone --layout onnx --table news.csv --text headline --max-change 0.01
      ahf export acme/notes exported/notes-sglang --engine sglang
    """
    if table is not None:
        options |= {"table": table, "text": text or None, "reading": reading_options(reading) or None}
    elif text or reading:
        raise click.UsageError("--text and --read are for the file of --table.")
    from adapterhub_fin import export

    done = export(
        reference,
        folder,
        layout=layout,
        without_head=without_head,
        base=base,
        download=download,
        into=into,
        engine=engine,
        **{name: value for name, value in options.items() if value not in (None, (), False)},
    )
    if as_json:
        print_json(
            {
                "reference": done.version.reference,
                "digest": done.version.digest,
                "folder": str(done.folder),
                "layout": layout,
                "left_out": list(done.left_out),
                "notes": [asdict(note) for note in done.notes],
                "folded": asdict(done.folded) if done.folded else None,
                **({"manifest": done.graph} if done.graph else {}),
                **({"launch": asdict(done.launch)} if done.launch else {}),
            }
        )
        return
    for name in done.left_out:
        click.echo(printable(f"left out: {name}"), err=True)
    for note in done.notes:
        click.echo(printable(f"{note.says}: {note.do}"), err=True)
    for line in _merged_lines(done.folded) if done.folded else ():
        click.echo(printable(line), err=True)
    if done.graph is not None:
        click.echo(printable(_graph_line(done.graph)), err=True)
    click.echo(done.folder)
    for line in done.launch.lines() if done.launch else ():
        click.echo(printable(line))


def _graph_line(manifest: Mapping[str, Any]) -> str:
    """Return how far a graph's answers are from torch's."""
    measured = manifest["measured"]
    origin = measured["table"] if "table" in measured else f"{measured['corpus']}, {measured['split']}"
    labels = f"{measured['labels_changed']} labels changed, " if "labels_changed" in measured else ""
    of = {"probability": "of a probability", "value": "of a value", "1 - cosine": "of one minus a cosine"}
    change = f"the largest change {of[measured['unit']]} is {measured['largest_change']:.2g}"
    return f"{manifest['precision']}: {labels}{change}, on {measured['rows']:,} rows ({origin})"


def _merged_lines(folded: Folded) -> Iterator[str]:
    """Yield what was merged into which weights, and the relative error of each choice of weights."""
    from adapterhub_fin.exporting.finding import some

    into = f"the {folded.into} weights of {folded.base}" if folded.into else folded.base
    yield f"merged {len(folded.changed)} changes into {into}, in {' and '.join(folded.dtypes)}"
    if folded.full_parameters:
        yield f"replaced by modules_to_save: {some(folded.full_parameters)}"
    if folded.untied:
        yield f"no longer tied: {', '.join(folded.untied)}"
    for choice, loss in folded.losses.items():
        written = " (written)" if choice == (folded.into or choice) else ""
        yield f"{choice}: relative error of the change {loss:.2g}{written}"
