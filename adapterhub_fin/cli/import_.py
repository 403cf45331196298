"""Define `ahf import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.plugin.console import json_option, print_json, printable

if TYPE_CHECKING:
    from adapterhub_fin.engine.importing.take_in import Import


@click.command("import")
@click.argument("folder", type=click.Path())
@click.option("--as", "name", required=True, metavar="NAMESPACE/NAME", help="The name of the new version.")
@click.option("--base", metavar="FOLDER|ID", help="The base's folder or Hub id, if FOLDER names none or a local path.")
@click.option("--base-id", metavar="ID", help="The id to record for a base in a folder, such as acme/base.")
@click.option("--labels", metavar="A,B,...", help="A classifier's labels, in the order of its outputs.")
@click.option("--allow-pickle", is_flag=True, help="Allow reading an adapter_model.bin, its tensors only.")
@click.option("--knowledge-end", metavar="DATE", help="The last date of the training data; with --evidence.")
@click.option("--evidence", metavar="TEXT", help="Where that date is stated: a model card, a paper, a record.")
@click.option(
    "--base-knowledge-end", metavar="DATE", help="The last date of the base's training data; with --base-evidence."
)
@click.option("--base-evidence", metavar="TEXT", help="Where the base's date is stated.")
@click.option("--license", metavar="ID", help="The adapter's or base's license, such as Apache-2.0.")
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
    """Import a PEFT folder or a base that was trained elsewhere.

    Files that a registry may not hold are left out and listed. The folder declares the base, and the first load
    verifies it. If the base is a local folder, its fingerprint is recorded now, and its path is not recorded. If a date
    is not stated, the knowledge end is now.

    A folder with a config.json and no adapter is a base, as save_pretrained writes it with its tokenizer: it is stored
    as a version of kind base. --knowledge-end is then its own date, and --base-id the Hub id to record.

    \b
    Examples:
      ahf import runs/my-lora --as acme/mine
      ahf import runs/my-lora --as acme/mine --base models/base --base-id acme/base
      ahf import runs/my-lora --as acme/mine --labels negative,neutral,positive --json
      ahf import runs/my-lora --as acme/mine --knowledge-end 2021-03-01 --evidence "the desk's own record"
      ahf import models/fin-2013 --as acme/fin --knowledge-end 2013-12-31 --evidence "its model card"
    """
    from adapterhub_fin import import_folder

    if _is_base_folder(folder):
        _refuse_of_adapters(
            folder,
            base=base,
            labels=labels,
            allow_pickle=allow_pickle or None,
            base_knowledge_end=base_knowledge_end,
            base_evidence=base_evidence,
        )
        from adapterhub_fin import add_base

        dated: dict[str, Any] = {"knowledge_end": knowledge_end, "evidence": evidence}
        _report(add_base(Path(folder), name, repository=base_id, license=license, **dated), as_json)
        return
    result = import_folder(
        folder,
        name,
        base=_base(base, base_id, knowledge_end=base_knowledge_end, evidence=base_evidence),
        corpus=_without_none(knowledge_end=knowledge_end, evidence=evidence),
        labels=labels.split(",") if labels else None,
        allow_pickle=allow_pickle,
        license=license,
    )
    _report(result, as_json)


def _is_base_folder(folder: str) -> bool:
    from adapterhub_fin.plugin.adapter_files import CONFIG

    return (Path(folder) / "config.json").is_file() and not (Path(folder) / CONFIG).is_file()


def _refuse_of_adapters(folder: str, **options: object) -> None:
    """Raise UsageError for an option that only an adapter has."""
    for name, value in options.items():
        if value is not None:
            raise click.UsageError(
                f"--{name.replace('_', '-')} is for an adapter, and {folder} is a base: leave it out."
            )


def _report(result: Import, as_json: bool) -> None:
    """Print what was imported, and on standard error what was left out."""
    if as_json:
        version = result.version
        print_json(
            {
                "reference": version.reference,
                "digest": version.digest,
                "dropped": list(result.dropped),
                "repairs": list(result.repairs),
                "warnings": list(result.warnings),
                "path": str(version.files),
            }
        )
        return
    for label, messages in (("left out", result.dropped), ("repaired", result.repairs), ("warning", result.warnings)):
        for message in messages:
            click.echo(printable(f"{label}: {message}"), err=True)
    click.echo(result.version.reference)


def _base(base: str | None, base_id: str | None, **dates: str | None) -> dict[str, Any] | None:
    from adapterhub_fin.recipe.choices import named_base

    choice = {} if base is None else named_base(base)
    if base_id is not None and choice.get("id", base_id) != base_id:
        raise click.UsageError(f"--base {base} and --base-id {base_id} are different ids: give one of them.")
    return _without_none(**{**choice, **({} if base_id is None else {"id": base_id}), **dates})


def _without_none(**options: str | None) -> dict[str, Any] | None:
    return {key: value for key, value in options.items() if value is not None} or None
