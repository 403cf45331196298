"""ahf sign"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapterhub_fin.cli.options import REFERENCE, json_option, print_facts, print_json

if TYPE_CHECKING:
    from adapterhub_fin_registry.trust.keys import Kind


@click.command("sign")
@click.argument("reference", required=False, type=REFERENCE)
@click.option("--key", type=click.Path(path_type=Path), help="The private key to sign with, a PEM file.")
@click.option("--new-key", type=click.Path(path_type=Path), help="Write a new key here, and its public half as .pub.")
@click.option(
    "--kind",
    type=click.Choice(["p256", "ed25519"]),
    default="p256",
    show_default=True,
    help="Of the new key; model_signing verifies p256 alone.",
)
@click.option("--encrypt", is_flag=True, help="Ask for a passphrase to encrypt the new key with.")
@json_option
def command(
    reference: str | None, key: Path | None, new_key: Path | None, kind: Kind, encrypt: bool, as_json: bool
) -> None:
    """Sign a version, or make a key to sign with.

    The version is verified first. Its signature is stored beside it and changes nothing of it. A passphrase is read
    from AHF_KEY_PASSPHRASE, else asked for.

    \b
    Examples:
      ahf sign --new-key desk.pem
      ahf sign acme/tone@1 --key desk.pem
    """
    if new_key is not None:
        if reference is not None or key is not None:
            raise click.UsageError("Make the key first, then sign with it: ahf sign REFERENCE --key FILE.")
        _make(new_key, kind, encrypt, as_json)
    elif reference is None or key is None:
        raise click.UsageError("Give a REFERENCE and --key FILE, or --new-key FILE.")
    else:
        _sign(reference, key, as_json)


def _make(path: Path, kind: Kind, encrypt: bool, as_json: bool) -> None:
    import os
    import sys

    from adapterhub_fin.cli.key_files import write_new_key
    from adapterhub_fin_registry.trust.keys import PASSPHRASE

    passphrase = os.environ.get(PASSPHRASE) or None
    if encrypt and passphrase is None:
        if not sys.stdin.isatty():
            raise click.UsageError(f"There is nobody to ask for a passphrase: put it into {PASSPHRASE}.")
        passphrase = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    public = write_new_key(path, kind, passphrase)
    facts = {"private": str(path), "public": str(path.with_suffix(".pub")), "fingerprint": public.fingerprint}
    if as_json:
        print_json(facts)
    else:
        print_facts(list(facts.items()))


def _sign(reference: str, path: Path, as_json: bool) -> None:
    import sys

    from adapterhub_fin.registries import configured_registries
    from adapterhub_fin_registry.trust.keys import PrivateKey

    def ask() -> str:
        return str(click.prompt(f"Passphrase of {path}", hide_input=True, err=True))

    key = PrivateKey.read(path, ask if sys.stdin.isatty() else None)
    registry = configured_registries().answering(reference)
    version = registry.resolve(reference)
    signature = registry.sign(version.reference, key)
    if as_json:
        print_json(
            {
                "reference": version.reference,
                "digest": version.digest,
                "fingerprint": key.public.fingerprint,
                "signature": str(version.folder / "signatures" / signature.file_name),
            }
        )
    else:
        click.echo(f"{version.reference} is signed by {key.public.fingerprint}")
