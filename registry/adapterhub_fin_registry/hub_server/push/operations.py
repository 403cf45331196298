"""Turn the lines of a commit into operations, store its files, and apply the operations to the files of a commit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request, no_entry
from adapterhub_fin_registry.hub_server.push.commit_body import Line
from adapterhub_fin_registry.hub_server.push.disclosure import find
from adapterhub_fin_registry.hub_server.repo.folders import Folders
from adapterhub_fin_registry.hub_server.repo.repository import ServedRepository
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.hub_server.repo.tree import SIGNATURES, Blob, Commit, is_manifest_file, is_repository_file
from adapterhub_fin_registry.model.file_rules import clash, refusal, size_limit
from adapterhub_fin_registry.trust.signatures import LIMIT as SIGNATURE_LIMIT
from adapterhub_fin_registry.trust.signatures import MANIFEST

_SIGNATURE: Final = re.compile(re.escape(SIGNATURES) + r"[0-9a-f]{64}\.json")
FILES: Final = 4000  # in a commit; an adapter has a few dozen
_TEXT: Final = 2**20  # bytes of a card, a license, or .gitattributes
_MANIFEST: Final = 64 * 2**20  # bytes
_OID: Final = re.compile(r"[0-9a-f]{64}")
_TITLE: Final = 2000  # characters
_MESSAGE: Final = 50_000  # characters


@dataclass(frozen=True)
class Operations:
    """Represent the changes of a commit: files by path, and the paths and folders to delete."""

    files: Mapping[str, Blob] = field(default_factory=dict)
    deleted: Sequence[str] = ()
    deleted_folders: Sequence[str] = ()
    parent: str | None = None
    title: str = ""
    message: str = ""


def operations_of(
    lines: list[Line], repository: ServedRepository, state: State, by: str
) -> tuple[Operations, list[str]]:
    """Return the operations of a commit, and the SHA-256 of the files that are new in the state.

    No file is stored unless every line is valid. Raises HubError 400 for an invalid line.
    """
    if not lines or lines[0].key != "header" or any(line.key == "header" for line in lines[1:]):
        raise bad_request("a commit begins with its header, and has one")
    header = lines[0].value
    parent = header.get("parentCommit")
    parent = None if parent is None else body.text(parent, "parentCommit", 100)
    title = body.text(header.get("summary", ""), "summary", _TITLE)
    message = body.text(header.get("description", ""), "description", _MESSAGE)
    files: dict[str, Line] = {}
    deleted: dict[str, list[str]] = {"deletedFile": [], "deletedFolder": []}
    for line in lines[1:]:
        path = body.text(line.value.get("path"), "path", 2000)
        if line.key in deleted:
            deleted[line.key].append(path)
            continue
        if line.key not in ("file", "lfsFile"):
            raise bad_request(f"{line.key[:50]!r} isn't an operation that this server knows")
        if reason := path_refusal(path):
            raise bad_request(f"{path[:200]!r} {reason}, and can't be stored here: leave it out")
        if path in files:
            raise bad_request(f"{path} stands twice in the commit: send it once")
        if line.key == "file" and (line.file is None or line.value.get("encoding") != "base64"):
            raise bad_request("a file's content must come in base64")
        files[path] = line
    blobs = {path: _uploaded(line, repository) for path, line in files.items() if line.key == "lfsFile"}
    new: list[str] = []
    blobs |= {path: _stored(line, repository, state, by, new) for path, line in files.items() if line.key == "file"}
    return Operations(blobs, deleted["deletedFile"], deleted["deletedFolder"], parent, title, message), new


def _uploaded(line: Line, repository: ServedRepository) -> Blob:
    """Return a file that was uploaded by LFS, or that a version has. Raises HubError 400 for a missing one."""
    value: dict[str, Any] = line.value
    oid = value.get("oid")
    if value.get("algo") != "sha256" or not isinstance(oid, str) or not _OID.fullmatch(oid):
        raise bad_request("a file in LFS is named by its sha256")
    blob = find(repository, oid)
    if blob is None or value.get("size", blob.size) != blob.size:
        raise bad_request(f"{value['path'][:200]!r} was not uploaded: send its bytes first")
    return blob


def _stored(line: Line, repository: ServedRepository, state: State, by: str, new: list[str]) -> Blob:
    assert line.file is not None
    sha256 = line.file.finish()
    if state.keep(repository.name, line.file.path, sha256, by):
        new.append(sha256)
    return Blob(line.file.size, sha256, state.blob(repository.name, sha256))


def path_refusal(path: str) -> str | None:
    """Return why a repository can't store a file at this path, as the end of a sentence; None where it can."""
    if is_repository_file(path) or path == MANIFEST or _SIGNATURE.fullmatch(path):
        return None
    return refusal(path)


def path_limit(path: str) -> int:
    """Return the most bytes that a file at an allowed path may have."""
    if path == MANIFEST:
        return _MANIFEST
    if is_repository_file(path):
        return _TEXT
    return SIGNATURE_LIMIT if path.startswith(SIGNATURES) else size_limit(path)


def applied(head: Commit, operations: Operations) -> dict[str, Blob]:
    """Return the files of the head after the operations.

    Raises HubError 404 for a missing path to delete, 400 for a path that can't be stored or for too many files, and 413
    for a file that is too large.
    """
    tree = dict(head.files)
    for path in operations.deleted:
        if path not in tree:
            raise no_entry(path)
        del tree[path]
    folders = Folders(dict.fromkeys(tree, "")) if operations.deleted_folders else None
    for folder in operations.deleted_folders:
        inside = [path for path in folders.inside(folder.rstrip("/")) if path in tree] if folders else []
        if not folder.strip("/") or not inside:
            raise no_entry(folder)
        for path in inside:
            del tree[path]
    for path, blob in operations.files.items():
        if reason := path_refusal(path):
            raise bad_request(f"{path[:200]!r} {reason}, and can't be stored here: leave it out")
        if blob.size > path_limit(path):
            raise HubError(413, f"{path} has {blob.size} bytes, and {path_limit(path)} are the most it may have")
    tree |= operations.files
    if len(tree) > max(FILES, len(head.files)):
        raise bad_request(f"a repository has {FILES} files at most: push what belongs to one adapter")
    if two := clash(path for path in tree if not is_manifest_file(path)):
        raise bad_request(f"{two[0]!r} and {two[1]!r} are one file on some systems: rename one")
    return tree
