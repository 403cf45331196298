"""Manifests by their commits, which never change, in the user's cache: a list of versions reads each of them once."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.io.cache import caches

_SHA256: Final = 64  # letters of the hash before the bytes, by which a file that was cut is told


def recall(hub: Hub, repository: str, commit: str) -> bytes | None:
    """The manifest of a commit that was read before."""
    try:
        kept = _place(hub, repository, commit).read_bytes()
    except OSError:
        return None
    digest, data = kept[:_SHA256], kept[_SHA256:]
    return data if hashlib.sha256(data).hexdigest().encode() == digest else None


def learn(hub: Hub, repository: str, commit: str, data: bytes) -> None:
    """Keep the manifest of a commit; a cache that can't be written costs only the next reading."""
    path = _place(hub, repository, commit)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            draft.write_bytes(hashlib.sha256(data).hexdigest().encode() + data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _place(hub: Hub, repository: str, commit: str) -> Path:
    return caches() / "manifests" / hub.key / hashlib.sha256(repository.encode()).hexdigest()[:16] / commit
