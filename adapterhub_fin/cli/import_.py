"""ahf import"""

from __future__ import annotations

from typing import Any

import click

from adapterhub_fin.cli.options import json_option, print_json, printable


@click.command("import")
@click.argument("folder", type=click.Path())
@click.option("--as", "name", required=True, metavar="NAMESPACE/NAME", help="The name it gets here.")
@click.option("--base", metavar="FOLDER|ID", help="The base's folder or Hub id, where FOLDER names none or a path.")
@click.option("--base-id", metavar="ID", help="The id to record for a base in a folder, such as acme/base.")
@click.option("--labels", metavar="A,B,...", help="A classifier's labels in the order of its outputs.")
@click.option("--allow-pickle", is_flag=True, help="Read an adapter_model.bin, its tensors and nothing else.")
@click.option("--knowledge-end", metavar="DATE", help="The last date of what it was trained on; with --evidence.")
@click.option("--evidence", metavar="TEXT", help="Where that date is stated: a card, a paper, a record.")
@click.option("--base-knowledge-end", metavar="DATE", help="The same of its base; with --base-evidence.")
@click.option("--base-evidence", metavar="TEXT", help="Where the base's date is stated.")
@click.option("--license", metavar="ID", help="The adapter's license, such as Apache-2.0.")
@json_option
def command(
    folder: str,
    name: str,
    base: str | None,
    base_id: str | None,
    labels: str | None,
    allow_pickle: bool,
    knowledge_end: str | None,
    evidence: str | None,
    base_knowledge_end: str | None,
    base_evidence: str | None,
    license: str | None,
    as_json: bool,
) -> None:
    """Take in a PEFT folder that another trainer made.

    What a registry may not hold is left behind and listed. The base is declared by the folder, and the first load
    verifies it; of a base in a folder the fingerprint is taken now, and its path is not recorded. What carries no date
    is bounded by this moment.

    \b
    Examples:
      ahf import runs/my-lora --as acme/mine
      ahf import runs/my-lora --as acme/mine --base models/base --base-id acme/base
      ahf import runs/my-lora --as acme/mine --labels negative,neutral,positive --json
      ahf import runs/my-lora --as acme/mine --knowledge-end 2021-03-01 --evidence "the desk's own record"
    """
    from adapterhub_fin import import_folder

    taken = import_folder(
        folder,
        name,
        base=_base(base, base_id, knowledge_end=base_knowledge_end, evidence=base_evidence),
        corpus=_given(knowledge_end=knowledge_end, evidence=evidence),
        labels=labels.split(",") if labels else None,
        allow_pickle=allow_pickle,
        license=license,
    )
    if as_json:
        version = taken.version
        print_json(
            {
                "reference": version.reference,
                "digest": version.digest,
                "dropped": list(taken.dropped),
                "repairs": list(taken.repairs),
                "warnings": list(taken.warnings),
                "path": str(version.files),
            }
        )
        return
    for word, said in (("left behind", taken.dropped), ("repaired", taken.repairs), ("warning", taken.warnings)):
        for each in said:
            click.echo(printable(f"{word}: {each}"), err=True)
    click.echo(taken.version.reference)


def _base(base: str | None, base_id: str | None, **dates: str | None) -> dict[str, Any] | None:
    from adapterhub_fin.recipe.recipe import named_base

    named = {} if base is None else named_base(base)
    if base_id is not None and named.get("id", base_id) != base_id:
        raise click.UsageError(f"--base {base} is an id already, and --base-id {base_id} another: give one of them.")
    return _given(**{**named, **({} if base_id is None else {"id": base_id}), **dates})


def _given(**options: str | None) -> dict[str, Any] | None:
    return {key: value for key, value in options.items() if value is not None} or None
