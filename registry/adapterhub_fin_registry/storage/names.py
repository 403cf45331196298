"""List the names of a registry, and say which of them can't be listed."""

from __future__ import annotations

import os
from pathlib import Path

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.io.safe_read import (
    refuse_links,
    unreadable,
)
from adapterhub_fin_registry.model.reference import is_segment
from adapterhub_fin_registry.storage.name_folder import NameFolder


def name_folders(root: Path) -> list[NameFolder]:
    """Return every name that has a folder under a root, sorted, without those of a namespace that can't be listed.

    Raises Corrupted if the namespaces can't be listed.
    """
    return [NameFolder(root, f"{namespace}/{name}") for namespace, names in _namespaces(root) for name in names or ()]


def listable(root: Path) -> list[NameFolder]:
    """Return every name whose versions can be listed; `troubles` returns the others.

    Raises Corrupted if the namespaces can't be listed.
    """
    return [name_folder for name_folder in name_folders(root) if name_folder.is_listable()]


def troubles(root: Path) -> dict[str, str]:
    """Return why a namespace or a name can't be listed, for each that can't.

    Raises Corrupted if the namespaces can't be listed.
    """
    problems = closed_namespaces(root)
    return problems | {
        name_folder.name: reason for name_folder in name_folders(root) if (reason := name_folder.trouble())
    }


def closed_namespaces(root: Path) -> dict[str, str]:
    """Return why the names of a namespace can't be listed, for each namespace of which they can't.

    Raises Corrupted if the namespaces can't be listed.
    """
    closed = [namespace for namespace, names in _namespaces(root) if names is None]
    return {namespace: reason for namespace in closed if (reason := trouble(root, namespace))}


def trouble(root: Path, name: str) -> str | None:
    """Return why one namespace or one name can't be listed; None if it can."""
    if "/" in name:
        return NameFolder(root, name).trouble()
    try:
        _segments(root / "adapters" / name)
    except Corrupted as error:
        return str(error)
    return None


def _namespaces(root: Path) -> list[tuple[str, list[str] | None]]:
    """Return each namespace with its names, or with None if they can't be listed."""
    adapters = root / "adapters"
    namespaces: list[tuple[str, list[str] | None]] = []
    for namespace in _segments(adapters):
        try:
            namespaces.append((namespace, _segments(adapters / namespace)))
        except Corrupted:
            namespaces.append((namespace, None))  # reported by `troubles`
    return namespaces


def _segments(folder: Path) -> list[str]:
    # Only what the grammar allows is a name, and a link may lead out of the root.
    try:
        refuse_links(folder.parent, folder)
        with os.scandir(folder) as scan:
            return sorted(e.name for e in scan if is_segment(e.name) and e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error
