"""Record which texts a version was trained on, as hashes under the registry's own id, in the version's folder.

They tell whether training saw a row, under any name. They are no part of the version and never leave the registry: with
hashes that anybody could compute, anybody could test guesses against a desk's training data. Under another registry id
than the one they were made with, they tell nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.safe_read import ABSENT, open_regular

NAME: Final = "training-hashes"
_SIZE: Final = 16  # bytes of a hash: of 2**32 texts, two share one with a chance of 2**-65


@dataclass(frozen=True)
class TrainingHashes:
    """Hold the texts of training and validation, as hashes."""

    key: bytes
    hashes: frozenset[bytes]

    def holds(self, text: str) -> bool:
        """Return whether a text is one of them; the caller normalizes case, spaces and so on."""
        return _hash(self.key, text) in self.hashes


def encode_hashes(identity: str, texts: Iterable[str]) -> bytes:
    """Return the bytes of the file: a hash of nothing, which identifies the key; the sorted hashes; a hash of all that.

    `identity` is the registry's id.
    """
    key = identity.encode()
    hashes = sorted({_hash(key, text) for text in texts})
    data = b"".join([_hash(key, None), *hashes])
    return data + _seal(key, data)


def read_hashes(folder: Path, identity: str | None) -> TrainingHashes | None:
    """Return the hashes in a version's folder; None if there are none, or if they were made under another id.

    Raises Corrupted for a damaged file, which could report as unseen what was seen.
    """
    path = folder / NAME
    try:
        with open_regular(path) as file:
            data = file.read()
    except ABSENT:
        return None
    except OSError as error:
        raise Corrupted(f"{path} can't be read ({error.strerror}): fix its permissions, or remove it") from error
    key = (identity or "").encode()
    if identity is None or not compare_digest(data[:_SIZE], _hash(key, None)):
        return None
    body, seal = data[:-_SIZE], data[-_SIZE:]
    if len(data) < 2 * _SIZE or len(data) % _SIZE or not compare_digest(seal, _seal(key, body)):
        raise Corrupted(
            f"{path} is damaged: restore it from a copy, or remove it, after which what was seen is unknown"
        )
    return TrainingHashes(key, frozenset(body[start : start + _SIZE] for start in range(_SIZE, len(body), _SIZE)))


def has_hashes(folder: Path, data: bytes) -> bool:
    """Return whether a version's folder holds exactly these bytes."""
    try:
        with open_regular(folder / NAME) as file:
            return file.read() == data
    except OSError:
        return False  # so that they are written


def _hash(key: bytes, text: str | None) -> bytes:
    data = b"" if text is None else text.encode("utf-8", "surrogatepass")
    return blake2b(data, key=key, digest_size=_SIZE, person=b"ahf key" if text is None else b"ahf text").digest()


def _seal(key: bytes, data: bytes) -> bytes:
    return blake2b(data, key=key, digest_size=_SIZE, person=b"ahf seal").digest()
