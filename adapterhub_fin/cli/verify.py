"""Define `ahf verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin.engine.evaluation.against import Against
    from adapterhub_fin_registry import Registry, RegistryChain
    from adapterhub_fin_registry.trust.keys import PublicKey


@click.command("verify")
@click.argument("references", nargs=-1, type=REFERENCE)
@click.option("--all", "everything", is_flag=True, help="Verify every version of every registry.")
@click.option(
    "--key",
    "key_files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A public key; one of those given must have signed. May be repeated.",
)
@click.option(
    "--against",
    "corpora",
    multiple=True,
    metavar="CORPUS",
    help="A corpus, or its path, that a base says it was trained on: compare the rows. May be repeated.",
)
@json_option
def command(
    references: tuple[str, ...],
    everything: bool,
    key_files: tuple[Path, ...],
    corpora: tuple[str, ...],
    as_json: bool,
) -> None:
    """Verify stored versions: hash their files and compare with the manifests.

    A name without a version means all of its versions. It also prints who signed them, among the keys given or else
    those that the configuration trusts, and which rules of the policy they break. The exit status is 1 if a version's
    bytes differ from its manifest, if none of the given keys signed it, or if the policy refuses it.

    --against reads the text of one base again, up to the end that it records, and compares rows and dates with the
    manifest; of token shards it takes their folder. Text with a false date is beyond detection.

    \b
    Examples:
      ahf verify acme/tone@1
      ahf verify --all --json
      ahf verify acme/fin@1 --against data/speeches.jsonl
    """
    from adapterhub_fin.registries import configured_registries
    from adapterhub_fin_registry.trust.client_config import Configuration
    from adapterhub_fin_registry.trust.keys import PublicKey

    if bool(references) == everything:
        raise click.UsageError("Give references, or --all.")
    if corpora and len(references) != 1:
        raise click.UsageError("--against compares the text of one base: give one reference.")
    keys = [PublicKey.read(path) for path in key_files] or Configuration.read().policy.public_keys()
    registries = configured_registries()
    selected = _selected(registries, references, everything)
    rows = [
        _row(registry, reference, keys, must=bool(key_files), problem=problem)
        for registry, reference, problem in selected
    ]
    if corpora and len(selected) != 1:
        raise click.UsageError(f"--against compares one version: give its number, as in {references[0]}@1.")
    compared = _compare(rows[0], selected[0][0], corpora) if corpora and not rows[0]["error"] else None
    if as_json:
        print_json(rows)
    else:
        print_table(("version", "state", "signed by"), [(row["reference"], _state(row), _who(row)) for row in rows])
    if compared is not None and compared.agrees and not as_json:
        click.echo(compared)
    if any(row["error"] or row["violations"] for row in rows):
        raise click.exceptions.Exit(1)


def _compare(row: dict[str, Any], registry: Registry, corpora: Sequence[str]) -> Against:
    """Compare a base that is intact with its corpora, and note in its row what came of it."""
    from adapterhub_fin import verify_against

    result = verify_against(row["reference"], *corpora, registry=registry)
    row["against"] = {"rows": result.rows, "digest": result.digest, "problems": list(result.problems)}
    row["error"] = "; ".join(result.problems) or None
    return result


def _row(
    registry: Registry, reference: str, keys: Sequence[PublicKey], *, must: bool, problem: str | None
) -> dict[str, Any]:
    """Verify one version; with `must`, it is an error if none of the keys signed it.

    With a `problem`, the reference is a name or a namespace that can't be listed, so there is no version to verify.
    """
    from adapterhub_fin.errors import AdapterHubError
    from adapterhub_fin_registry.trust.signatures import signers

    row: dict[str, Any] = {"reference": reference, "digest": None, "error": problem}
    row |= {"signatures": 0, "signed_by": [], "violations": []}
    if problem:
        return row
    try:
        version = registry.verify(reference)
        signatures = registry.signatures(version)
        row |= {"reference": version.reference, "digest": version.digest, "signatures": len(signatures)}
        row["signed_by"] = [{"name": key.name, "fingerprint": key.fingerprint} for key in signers(signatures, keys)]
        row["violations"] = registry.violations(version)
    except AdapterHubError as error:
        row["error"] = str(error)
        return row
    if must and not row["signed_by"]:
        names = ", ".join(key.name for key in keys)
        row["error"] = f"{version.reference} isn't signed by {names}: sign it, or get the public key of its signer"
    return row


def _state(row: dict[str, Any]) -> str:
    return "; ".join(filter(None, (row["error"] or f"intact, {row['digest']}", *row["violations"])))


def _who(row: dict[str, Any]) -> str:
    if row["signed_by"]:
        return ", ".join(f"{key['name']} ({key['fingerprint'][:16]})" for key in row["signed_by"])
    return "an unknown key" if row["signatures"] else ""


def _selected(
    registries: RegistryChain, references: Sequence[str], everything: bool
) -> list[tuple[Registry, str, str | None]]:
    """Return the selected references, damaged versions included, each with its registry and problem.

    The problem is None for a version, and a message for a name or a namespace that can't be listed.
    """
    from adapterhub_fin_registry import Reference, parse_reference

    selected: list[tuple[Registry, str, str | None]] = []
    if everything:
        for registry in (member.registry for member in registries.members if not member.registry.is_remote):
            readable = [version.reference for name in registry.names() for version in registry.versions(name)]
            damaged = registry.damaged()
            unlistable = {name: problem for name, problem in damaged.items() if "@" not in name}
            selected += [
                (registry, reference, unlistable.get(reference)) for reference in sorted([*readable, *damaged])
            ]
        return selected
    for text in references:
        target = parse_reference(text)
        registry = registries.answering(target)
        bare = isinstance(target, Reference) and target.is_bare
        of_name = [v.reference for v in registry.versions(text)] + sorted(registry.damaged(text)) if bare else []
        selected += [(registry, reference, None) for reference in of_name or [text]]
    return selected
