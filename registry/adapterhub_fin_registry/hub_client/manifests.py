"""Cache manifests by commit in the user's cache, so that listing versions downloads each manifest once."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.io.cache import caches

_DIGEST_LENGTH: Final = 64  # hexadecimal digits before the manifest, which show whether the file is complete


def recall(hub: Hub, repository: str, commit: str) -> bytes | None:
    """Return the cached manifest of a commit; None where there is none or its file is damaged."""
    try:
        content = _path(hub, repository, commit).read_bytes()
    except OSError:
        return None
    digest, data = content[:_DIGEST_LENGTH], content[_DIGEST_LENGTH:]
    return data if hashlib.sha256(data).hexdigest().encode() == digest else None


def remember(hub: Hub, repository: str, commit: str, data: bytes) -> None:
    """Cache the manifest of a commit. A failure to write is ignored: the manifest is then downloaded again."""
    path = _path(hub, repository, commit)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            temporary.write_bytes(hashlib.sha256(data).hexdigest().encode() + data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _path(hub: Hub, repository: str, commit: str) -> Path:
    return caches() / "manifests" / hub.key / hashlib.sha256(repository.encode()).hexdigest()[:16] / commit
