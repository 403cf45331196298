"""New keys, as files of their owner's."""

from __future__ import annotations

import os
from pathlib import Path

from adapterhub_fin.errors import BadKey
from adapterhub_fin_registry.trust.keys import Kind, PublicKey, new_key


def write_new_key(path: str | os.PathLike[str], kind: Kind = "p256", passphrase: str | None = None) -> PublicKey:
    """Write a new private key, which its owner alone may read, and its public half beside it as `.pub`.

    Nothing is overwritten: BadKey where either file is there. Without a passphrase the key isn't encrypted.
    """
    path = Path(path).expanduser()
    public_path = path.with_suffix(".pub")
    if public_path == path:
        raise BadKey(f"{path} is the name that the public key gets: give the private one another, such as .pem")
    for target in (path, public_path):
        if os.path.lexists(target):
            raise BadKey(f"{target} is there already, and no key is overwritten: name another file")
    private, public = new_key(kind, passphrase)
    _write(path, private, 0o600)
    _write(public_path, public, 0o644)
    return PublicKey.parse(public, public_path.name)


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    except OSError as error:
        raise BadKey(f"the key {path} can't be written ({error.strerror}): name a file in a folder of yours") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
