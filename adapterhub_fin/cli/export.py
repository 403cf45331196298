"""ahf export"""

from __future__ import annotations

from dataclasses import asdict

import click

from adapterhub_fin.cli.options import REFERENCE, json_option, print_json, printable


@click.command("export")
@click.argument("reference", type=REFERENCE)
@click.argument("folder", type=click.Path())
@click.option(
    "--layout", type=click.Choice(["peft", "vllm"]), default="peft", show_default=True, help="Who is to read it."
)
@click.option("--without-head", is_flag=True, help="For vllm: leave out the modules that were trained whole.")
@click.option(
    "--engine",
    type=click.Choice(["vllm", "sglang", "lorax", "tgi"]),
    help="Also say how this engine serves the folder.",
)
@json_option
def command(reference: str, folder: str, layout: str, without_head: bool, engine: str | None, as_json: bool) -> None:
    """Write a version to a plain folder, for PEFT or for vLLM.

    peft is every file as it is stored; vllm is what vLLM's loader of LoRA reads, or an error that says what it would
    not. The folder must be new or empty, and is there whole or not at all. --engine prints the command that serves it,
    and a request that asks for it.

    \b
    Examples:
      ahf export acme/tone exported/tone
      ahf export acme/notes exported/notes --layout vllm --json
      ahf export acme/notes exported/notes-sglang --engine sglang
    """
    from adapterhub_fin import export

    done = export(reference, folder, layout=layout, without_head=without_head, engine=engine)
    if as_json:
        print_json(
            {
                "reference": done.version.reference,
                "digest": done.version.digest,
                "folder": str(done.folder),
                "layout": layout,
                "left_out": list(done.left_out),
                "notes": [asdict(note) for note in done.notes],
                **({"launch": asdict(done.launch)} if done.launch else {}),
            }
        )
        return
    for name in done.left_out:
        click.echo(printable(f"left out: {name}"), err=True)
    for note in done.notes:
        click.echo(printable(f"{note.says}: {note.do}"), err=True)
    click.echo(done.folder)
    for line in done.launch.lines() if done.launch else ():
        click.echo(printable(line))
