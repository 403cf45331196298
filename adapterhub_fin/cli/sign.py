"""Define `ahf sign`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_facts, print_json

if TYPE_CHECKING:
    from adapterhub_fin_registry.trust.keys import Kind, PublicKey


@click.command("sign")
@click.argument("reference", required=False, type=REFERENCE)
@click.option("--key", type=click.Path(path_type=Path), help="The private key to sign with, a PEM file.")
@click.option(
    "--new-key",
    type=click.Path(path_type=Path),
    help="Write a new private key to this file, and its public key as .pub.",
)
@click.option(
    "--kind",
    type=click.Choice(["p256", "ed25519"]),
    default="p256",
    show_default=True,
    help="The kind of the new key; model_signing verifies only p256.",
)
@click.option("--encrypt", is_flag=True, help="Ask for a passphrase to encrypt the new key with.")
@json_option
def command(
    reference: str | None, key: Path | None, new_key: Path | None, kind: Kind, encrypt: bool, as_json: bool
) -> None:
    """Sign a version, or create a signing key.

    The version is verified first. Its signature is stored next to it and leaves its files and digest unchanged. A
    passphrase is read from AHF_KEY_PASSPHRASE, or else prompted for.

    \b
    Examples:
      ahf sign --new-key desk.pem
      ahf sign acme/tone@1 --key desk.pem
    """
    if new_key is not None:
        if reference is not None or key is not None:
            raise click.UsageError("Create the key first, then sign with it: ahf sign REFERENCE --key FILE.")
        _create_key(new_key, kind, encrypt, as_json)
    elif reference is None or key is None:
        raise click.UsageError("Give a REFERENCE and --key FILE, or --new-key FILE.")
    else:
        _sign(reference, key, as_json)


def _create_key(path: Path, kind: Kind, encrypt: bool, as_json: bool) -> None:
    import sys

    from adapterhub_fin_registry.trust.keys import PASSPHRASE

    passphrase = os.environ.get(PASSPHRASE) or None
    if encrypt and passphrase is None:
        if not sys.stdin.isatty():
            raise click.UsageError(f"There is no terminal to ask for a passphrase: set {PASSPHRASE}.")
        passphrase = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    public = write_new_key(path, kind, passphrase)
    facts = {"private": str(path), "public": str(path.with_suffix(".pub")), "fingerprint": public.fingerprint}
    if as_json:
        print_json(facts)
    else:
        print_facts(list(facts.items()))


def write_new_key(path: str | os.PathLike[str], kind: Kind = "p256", passphrase: str | None = None) -> PublicKey:
    """Write a new private key, readable by its owner only, and its public key next to it as `.pub`.

    Without a passphrase the key isn't encrypted. Raises BadKey if either file exists, because no key is overwritten,
    or can't be written.
    """
    from adapterhub_fin.errors import BadKey
    from adapterhub_fin_registry.trust.keys import PublicKey, new_key

    path = Path(path).expanduser()
    public_path = path.with_suffix(".pub")
    if public_path == path:
        raise BadKey(f"{path} is the name of the public key: give the private key another suffix, such as .pem")
    for target in (path, public_path):
        if os.path.lexists(target):
            raise BadKey(f"{target} exists already, and no key is overwritten: name another file")
    private, public = new_key(kind, passphrase)
    _write(path, private, 0o600)
    _write(public_path, public, 0o644)
    return PublicKey.parse(public, public_path.name)


def _write(path: Path, data: bytes, mode: int) -> None:
    from adapterhub_fin.errors import BadKey

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    except OSError as error:
        raise BadKey(f"the key {path} can't be written ({error.strerror}): name a file in a folder of yours") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sign(reference: str, path: Path, as_json: bool) -> None:
    import sys

    from adapterhub_fin.registries import configured_registries
    from adapterhub_fin_registry.trust.keys import PrivateKey

    def ask() -> str:
        return str(click.prompt(f"Passphrase of {path}", hide_input=True, err=True))

    key = PrivateKey.read(path, ask if sys.stdin.isatty() else None)
    registry = configured_registries().answering(reference)
    version = registry.resolve(reference)
    signature = registry.sign(version, key)
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
