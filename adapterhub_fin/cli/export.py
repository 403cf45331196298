"""Define `ahf export`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_json, printable

if TYPE_CHECKING:
    from adapterhub_fin.engine.folding.into_base import Folded


@click.command("export")
@click.argument("reference", type=REFERENCE)
@click.argument("folder", type=click.Path())
@click.option(
    "--layout",
    type=click.Choice(["peft", "vllm", "merged"]),
    default="peft",
    show_default=True,
    help="The layout of the folder.",
)
@click.option("--without-head", is_flag=True, help="For vllm: leave out modules_to_save.")
@click.option("--base", metavar="FOLDER|ID", help="For merged: the base, if its recorded id doesn't find it.")
@click.option("--download", is_flag=True, help="For merged: allow downloading the base from the Hub.")
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
    as_json: bool,
) -> None:
    """Export a version to a folder: for PEFT, for vLLM, or merged into its base.

    The layout peft copies every file as stored. The layout vllm writes what vLLM's LoRA loader reads, or fails and says
    what it can't read. The layout merged writes the full model, which Transformers loads by itself. The folder must be
    new or empty; it is written completely or not at all. --engine prints the command that serves it and a request.

    \b
    Examples:
      ahf export acme/tone exported/tone
      ahf export acme/notes exported/notes --layout vllm --json
      ahf export acme/tone exported/tone-merged --layout merged
      ahf export acme/notes exported/notes-sglang --engine sglang
    """
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
    click.echo(done.folder)
    for line in done.launch.lines() if done.launch else ():
        click.echo(printable(line))


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
