"""ahf import"""

from __future__ import annotations

from pathlib import Path

import click

from adapterhub_fin.cli.options import json_option, print_json


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--as", "name", required=True, metavar="NAMESPACE/NAME", help="The name it gets here.")
@click.option("--base", metavar="ID", help="The base's Hub id, where the folder names none or a path.")
@click.option("--labels", metavar="A,B,...", help="A classifier's labels in the order of its outputs.")
@json_option
def command(folder: Path, name: str, base: str | None, labels: str | None, as_json: bool) -> None:
    """Take in a PEFT folder that another trainer made.

    What a registry may not hold is left behind and listed. The base is declared by the folder; the first load
    verifies it.

    \b
    Examples:
      ahf import runs/my-lora --as acme/mine
      ahf import runs/my-lora --as acme/mine --labels negative,neutral,positive --json
    """
    from adapterhub_fin import import_folder

    taken = import_folder(folder, name, base=base, labels=labels.split(",") if labels else None)
    if as_json:
        version = taken.version
        print_json(
            {
                "reference": version.reference,
                "digest": version.digest,
                "dropped": list(taken.dropped),
                "path": str(version.files),
            }
        )
        return
    for dropped in taken.dropped:
        click.echo(f"left behind: {dropped}", err=True)
    click.echo(taken.version.reference)
