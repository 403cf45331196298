"""Define `ahf extract`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.merge import Rank
from adapterhub_fin.plugin.console import json_option, print_json, print_table, printable

if TYPE_CHECKING:
    from adapterhub_fin.engine.folding.extracting import Extraction


@click.command("extract")
@click.argument("tuned", type=click.Path())
@click.option("--base", required=True, metavar="FOLDER|ID", help="The model that was fine-tuned.")
@click.option("--into", required=True, metavar="NAME", help="The name of the new version.")
@click.option(
    "--rank",
    type=Rank(),
    default=32,
    show_default=True,
    metavar="N|SHARE",
    help="The rank of each matrix, such as 16, or the share of the energy to keep, such as 0.99.",
)
@click.option("--leave-out", multiple=True, metavar="PATTERN", help="Parameters to leave out, such as '*embeddings*'.")
@click.option("--corpus", metavar="NAME", help="The name of the fine-tuning data.")
@click.option("--knowledge-end", metavar="DATE", help="The last date of the fine-tuning data; with --evidence.")
@click.option("--evidence", metavar="TEXT", help="Where that date is stated: a model card, a paper, a record.")
@click.option(
    "--base-knowledge-end", metavar="DATE", help="The last date of the base's training data; with --base-evidence."
)
@click.option("--base-evidence", metavar="TEXT", help="Where the base's date is stated.")
@click.option("--description", default="", help="A description for people and search.")
@click.option("--license", metavar="ID", help="The adapter's license, such as Apache-2.0.")
@click.option("--download", is_flag=True, help="Allow downloading the base from the Hub.")
@json_option
def command(
    tuned: str,
    base: str,
    into: str,
    rank: int | float,
    leave_out: tuple[str, ...],
    corpus: str | None,
    knowledge_end: str | None,
    evidence: str | None,
    base_knowledge_end: str | None,
    base_evidence: str | None,
    description: str,
    license: str | None,
    download: bool,
    as_json: bool,
) -> None:
    """Extract a low-rank adapter from a fully fine-tuned model and its base.

    Each matrix's change is factored at the given rank; heads and norms are stored in full, as modules_to_save. If a
    date is not stated, the knowledge end is now.

    \b
    Examples:
      ahf extract runs/tuned --base models/base --rank 8 --into acme/extracted
      ahf extract runs/tuned --base models/base --rank 0.99 --leave-out '*embeddings*' --into acme/extracted --json
    """
    from adapterhub_fin import extract

    done = extract(
        tuned,
        base=_base(base, base_knowledge_end, base_evidence),
        into=into,
        rank=rank,
        leave_out=leave_out,
        corpus=_without_none(name=corpus, knowledge_end=knowledge_end, evidence=evidence),
        description=description,
        license=license,
        download=download,
    )
    if as_json:
        print_json(_as_json(done))
        return
    _print(done)


def _base(base: str, knowledge_end: str | None, evidence: str | None) -> dict[str, Any]:
    from adapterhub_fin.recipe.choices import named_base

    return {**named_base(base), **(_without_none(knowledge_end=knowledge_end, evidence=evidence) or {})}


def _without_none(**options: str | None) -> dict[str, Any] | None:
    return {key: value for key, value in options.items() if value is not None} or None


def _as_json(done: Extraction) -> dict[str, Any]:
    return {
        "reference": done.version.reference,
        "digest": done.version.digest,
        "energy": done.energy,
        "parameters": [
            {"name": p.name, "shape": p.shape, "rank": p.rank, "energy": p.energy, "size": p.size}
            for p in done.parameters
        ],
        "full_parameters": list(done.full_parameters),
        "left_out": dict(done.left_out),
        "unchanged": done.unchanged,
        "path": str(done.version.files),
    }


def _print(done: Extraction) -> None:
    rows = [
        (p.name, " x ".join(map(str, p.shape)), p.rank, f"{p.energy:.4f}", f"{p.size:.2g}") for p in done.parameters
    ]
    if rows:
        print_table(("parameter", "shape", "rank", "energy kept", "difference"), rows)
    for name in done.full_parameters:
        click.echo(printable(f"stored in full: {name}"), err=True)
    for name, size in done.left_out.items():
        click.echo(printable(f"left out: {name}, whose relative difference is {size:.2g}"), err=True)
    click.echo(done.version.reference)
