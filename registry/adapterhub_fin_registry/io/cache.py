"""Locate the caches: data that can be rebuilt, kept outside every registry's own folder.

This module stays apart from `hash_cache` so that listing a registry doesn't import sqlite3.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

from adapterhub_fin_registry.errors import Corrupted


def cache_folder(registry_id: str) -> Path:
    """Return the folder of one registry's caches, under `caches()`.

    Raises Corrupted if the registry's id isn't a UUID.
    """
    try:
        segment = str(UUID(registry_id))
    except ValueError as error:
        raise Corrupted(
            f"registry.json has the id {registry_id!r}, which isn't a UUID: restore it from a copy"
        ) from error
    return caches() / "registries" / segment


def caches() -> Path:
    """Return the folder of all caches: AHF_CACHE, else the platform's folder for the user's caches."""
    if not (cache := os.environ.get("AHF_CACHE")):
        from platformdirs import user_cache_path

        cache = str(user_cache_path("adapterhub_fin"))
    return Path(cache).absolute()
