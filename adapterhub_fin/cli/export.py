"""ahf export"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import click

from adapterhub_fin.cli.options import REFERENCE, json_option, print_json, printable

if TYPE_CHECKING:
    from adapterhub_fin.engine.folding.into_base import Folded


@click.command("export")
@click.argument("reference", type=REFERENCE)
@click.argument("folder", type=click.Path())
@click.option(
    "--layout", type=click.Choice(["peft", "vllm", "merged"]), default="peft", show_default=True, help="What to write."
)
@click.option("--without-head", is_flag=True, help="For vllm: leave out the modules that were trained whole.")
@click.option("--base", metavar="FOLDER|ID", help="For merged: the base, where it is not found by its recorded id.")
@click.option("--download", is_flag=True, help="For merged: let the base be downloaded from the Hub.")
@click.option(
    "--into",
    type=click.Choice(["dequantised", "original"]),
    help="For merged: which weights of a base that was quantized in training; dequantised by default.",
)
@click.option(
    "--engine",
    type=click.Choice(["vllm", "sglang", "lorax", "tgi"]),
    help="Also say how this engine serves the adapter's folder.",
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
    """Write a version to a plain folder, for PEFT, for vLLM, or folded into its base.

    peft is every file as it is stored; vllm is what vLLM's loader of LoRA reads, or an error that says what it would
    not; merged is the whole model, which Transformers loads by itself. The folder must be new or empty, and is there
    whole or not at all. --engine prints the command that serves it, and a request that asks for it.

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
    for line in _measured(done.folded) if done.folded else ():
        click.echo(printable(line), err=True)
    click.echo(done.folder)
    for line in done.launch.lines() if done.launch else ():
        click.echo(printable(line))


def _measured(folded: Folded) -> Iterator[str]:
    """What a person wants to know of a fold: how much, into what, and what is lost of it by each choice."""
    from adapterhub_fin.exporting.finding import some

    into = f"the {folded.into} weights of {folded.base}" if folded.into else folded.base
    yield f"folded {len(folded.changed)} changes into {into}, in {' and '.join(folded.dtypes)}"
    if folded.brought:
        yield f"brought whole: {some(folded.brought)}"
    if folded.untied:
        yield f"stored apart from now on: {', '.join(folded.untied)}"
    for choice, loss in folded.losses.items():
        written = " (written)" if choice == (folded.into or choice) else ""
        yield f"{choice}: off by {loss:.2g} of the change{written}"
