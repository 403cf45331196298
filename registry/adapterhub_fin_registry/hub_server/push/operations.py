"""The lines of a commit as operations, its files kept by their sha256."""

from __future__ import annotations

import re
from typing import Any, Final

from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.errors import bad_request
from adapterhub_fin_registry.hub_server.push.changes import Operations, path_refusal
from adapterhub_fin_registry.hub_server.push.commit_body import Line
from adapterhub_fin_registry.hub_server.push.disclosure import find
from adapterhub_fin_registry.hub_server.repo.repository import ServedRepository
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.hub_server.repo.tree import Blob

_OID: Final = re.compile(r"[0-9a-f]{64}")
_TITLE: Final = 2000
_MESSAGE: Final = 50_000


def operations_of(
    lines: list[Line], repository: ServedRepository, state: State, by: str
) -> tuple[Operations, list[str]]:
    """What a commit asks for, and which of its files are new; nothing is kept unless every line is understood."""
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
    blobs |= {path: _kept(line, repository, state, by, new) for path, line in files.items() if line.key == "file"}
    return Operations(blobs, deleted["deletedFile"], deleted["deletedFolder"], parent, title, message), new


def _uploaded(line: Line, repository: ServedRepository) -> Blob:
    """The file that came by LFS before, or that a version has."""
    said: dict[str, Any] = line.value
    oid = said.get("oid")
    if said.get("algo") != "sha256" or not isinstance(oid, str) or not _OID.fullmatch(oid):
        raise bad_request("a file in LFS is named by its sha256")
    found = find(repository, oid)
    if found is None or said.get("size", found.size) != found.size:
        raise bad_request(f"{said['path'][:200]!r} was not uploaded: send its bytes first")
    return found


def _kept(line: Line, repository: ServedRepository, state: State, by: str, new: list[str]) -> Blob:
    assert line.file is not None
    sha256 = line.file.finish()
    if state.keep(repository.name, line.file.path, sha256, by):
        new.append(sha256)
    return Blob(line.file.size, sha256, state.blob(repository.name, sha256))
