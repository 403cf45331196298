"""What a commit asks for, and the files that it makes of those there are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapterhub_fin_registry.hub_server.errors import HubError, bad_request, no_entry
from adapterhub_fin_registry.hub_server.repo.folders import Folders
from adapterhub_fin_registry.hub_server.repo.tree import SIGNATURES, Blob, Commit, is_beside, is_manifests
from adapterhub_fin_registry.model.file_rules import clash, refusal, size_limit
from adapterhub_fin_registry.trust.signatures import LIMIT as SIGNATURE_LIMIT
from adapterhub_fin_registry.trust.signatures import MANIFEST

_SIGNATURE: Final = re.compile(re.escape(SIGNATURES) + r"[0-9a-f]{64}\.json")
FILES: Final = 4000  # of a repository at one commit; an adapter has a few dozen
_TEXT: Final = 2**20  # bytes of a card, a license, or .gitattributes
_MANIFEST: Final = 64 * 2**20


@dataclass(frozen=True)
class Operations:
    """What a commit asks for: files by path, and paths and folders to delete."""

    files: Mapping[str, Blob] = field(default_factory=dict)
    deleted: Sequence[str] = ()
    deleted_folders: Sequence[str] = ()
    parent: str | None = None
    title: str = ""
    message: str = ""


def path_refusal(path: str) -> str | None:
    """Why a repository can't hold a file of this path, as the end of a sentence; None where it can."""
    if is_beside(path) or path == MANIFEST or _SIGNATURE.fullmatch(path):
        return None
    return refusal(path)


def path_limit(path: str) -> int:
    """The most bytes that a file of an allowed path may have."""
    if path == MANIFEST:
        return _MANIFEST
    if is_beside(path):
        return _TEXT
    return SIGNATURE_LIMIT if path.startswith(SIGNATURES) else size_limit(path)


def applied(head: Commit, asked: Operations) -> dict[str, Blob]:
    """The files of the head as the operations change them."""
    tree = dict(head.files)
    for path in asked.deleted:
        if path not in tree:
            raise no_entry(path)
        del tree[path]
    folders = Folders(dict.fromkeys(tree, "")) if asked.deleted_folders else None
    for folder in asked.deleted_folders:
        inside = [path for path in folders.inside(folder.rstrip("/")) if path in tree] if folders else []
        if not folder.strip("/") or not inside:
            raise no_entry(folder)
        for path in inside:
            del tree[path]
    for path, blob in asked.files.items():
        if reason := path_refusal(path):
            raise bad_request(f"{path[:200]!r} {reason}, and can't be stored here: leave it out")
        if blob.size > path_limit(path):
            raise HubError(413, f"{path} has {blob.size} bytes, and {path_limit(path)} are the most it may have")
    tree |= asked.files
    if len(tree) > max(FILES, len(head.files)):
        raise bad_request(f"a repository has {FILES} files at most: push what belongs to one adapter")
    if two := clash(path for path in tree if not is_manifests(path)):
        raise bad_request(f"{two[0]!r} and {two[1]!r} are one file on some systems: rename one")
    return tree
