"""Where what can be made again is kept: never in a registry's own folder."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

from adapterhub_fin_registry.errors import Corrupted


def cache_folder(registry_id: str) -> Path:
    """The folder of one registry's caches: under AHF_CACHE, else under the platform's folder for the user's caches."""
    try:
        segment = str(UUID(registry_id))
    except ValueError as error:
        raise Corrupted(
            f"registry.json has the id {registry_id!r}, which isn't a UUID: restore it from a copy"
        ) from error
    return caches() / "registries" / segment


def caches() -> Path:
    """The folder of all caches: AHF_CACHE, else the platform's folder for the user's caches."""
    if not (cache := os.environ.get("AHF_CACHE")):
        from platformdirs import user_cache_path

        cache = str(user_cache_path("adapterhub_fin"))
    return Path(cache).absolute()
