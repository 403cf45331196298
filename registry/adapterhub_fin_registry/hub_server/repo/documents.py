"""Repositories, files and commits as the JSON documents that clients read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from adapterhub_fin_registry.hub_server.errors import bad_request, no_entry
from adapterhub_fin_registry.hub_server.repo.repository import Ref, ServedRepository
from adapterhub_fin_registry.hub_server.repo.tree import CARD, Blob, Commit

PAGE: Final = 1000  # paths of one page of a tree


def repository_document(
    repository: ServedRepository, commit: Commit, *, files: bool = True, blobs: bool = False
) -> Any:
    """What `model_info` reads of a repository at a commit; a list leaves the files out."""
    found: dict[str, Any] = {
        "_id": commit.id[:24],
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.namespace,
        "sha": commit.id,
        "createdAt": _date(repository.created_at),
        "lastModified": _date(commit.date),
        "private": repository.kept.private,
        "gated": repository.kept.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "trendingScore": 0,
        **_described(repository, commit),
    }
    if files:
        found["siblings"] = [_sibling(path, blob, blobs) for path, blob in sorted(commit.files.items())]
        found["usedStorage"] = sum(blob.size for blob in commit.files.values())
    return found


def tree_documents(
    commit: Commit, path: str, *, recursive: bool, expand: bool, after: str = "", limit: int = PAGE
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of a folder of a commit, its folders first, and the cursor of the page after it.

    The work is linear in the page, whatever the commit holds: its paths are indexed once.
    """
    folder, (kind, _, last) = path.strip("/"), after.partition(":")
    if folder and not commit.folders.holds(folder):
        raise no_entry(path)
    if kind not in ("", "folder", "file"):
        raise bad_request("the cursor isn't one of this list: begin at its first page")
    folders = commit.folders.folders(folder, recursive=recursive, after=last) if kind != "file" else iter(())
    files = commit.folders.files(folder, recursive=recursive, after=last if kind == "file" else "")
    found = [_folder(each, commit, expand) for each in islice(folders, limit + 1)]
    found += [_file(each, commit.files[each], commit, expand) for each in islice(files, limit + 1 - len(found))]
    if len(found) <= limit:
        return found, None
    end = found[limit - 1]
    return found[:limit], f"{'file' if end['type'] == 'file' else 'folder'}:{end['path']}"


def paths_documents(commit: Commit, paths: Iterable[str], *, expand: bool) -> list[dict[str, Any]]:
    """Those of some paths that a commit has, files and folders."""
    found = []
    for path in dict.fromkeys(each.strip("/") for each in paths):
        if path in commit.files:
            found.append(_file(path, commit.files[path], commit, expand))
        elif path and commit.folders.holds(path):
            found.append(_folder(path, commit, expand))
    return found


def commit_document(commit: Commit) -> dict[str, Any]:
    """A commit in a list of commits."""
    return {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "date": _date(commit.date),
        "authors": [{"user": commit.author}],
    }


def refs_document(branches: Iterable[Ref], tags: Iterable[Ref]) -> dict[str, Any]:
    """The branches and the tags of a repository."""
    return {
        "branches": [_ref(ref, "heads") for ref in branches],
        "converts": [],
        "tags": [_ref(ref, "tags") for ref in tags],
        "pullRequests": [],
    }


def _described(repository: ServedRepository, commit: Commit) -> dict[str, Any]:
    """What a card says, with the tags that clients filter by: those of the card, and those of the manifest.

    Of a draft they are the newest version's, which is still there to be found, but for a card of the draft's own.
    """
    described = commit if commit.version else repository.newest_commit or commit
    card, version = (commit if CARD in commit.files else described).card, described.version
    found: dict[str, Any] = {"cardData": card or None, "library_name": card.get("library_name")}
    if isinstance(card.get("pipeline_tag"), str):
        found["pipeline_tag"] = card["pipeline_tag"]
    tags = [*_texts(card, "library_name"), *_texts(card, "tags"), *_texts(card, "pipeline_tag")]
    bases = _texts(card, "base_model")
    if version is not None:
        base = version.plain(lambda data: data["base"]["repository"])
        method = version.plain(lambda data: data["method"]["name"])
        tags += ["safetensors", "adapterhub_fin", method, *version.tags]
        bases += [base] if base else []
    for base in bases:
        tags += [f"base_model:{base}", f"base_model:adapter:{base}"]
    tags += [f"dataset:{each}" for each in _texts(card, "datasets")]
    tags += [f"license:{each}" for each in _texts(card, "license")]
    return found | {"tags": list(dict.fromkeys(tags))}


def _texts(card: dict[str, Any], key: str) -> list[str]:
    value = card.get(key)
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _sibling(path: str, blob: Blob, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    lfs = {"sha256": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return {"rfilename": path, "size": blob.size, "blobId": blob.oid, "lfs": lfs}


def _file(path: str, blob: Blob, commit: Commit, expand: bool) -> dict[str, Any]:
    lfs = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    found = {"type": "file", "path": path, "size": blob.size, "oid": blob.oid, "lfs": lfs}
    return found | (_last(commit) if expand else {})


def _folder(path: str, commit: Commit, expand: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "directory", "path": path, "size": 0, "oid": commit.folders.oid(path)}
    return found | (_last(commit) if expand else {})


def _last(commit: Commit) -> dict[str, Any]:
    return {"lastCommit": {"id": commit.id, "title": commit.title, "date": _date(commit.date)}}


def _ref(ref: Ref, kind: str) -> dict[str, str]:
    return {"name": ref.name, "ref": f"refs/{kind}/{ref.name}", "targetCommit": ref.commit}


def _date(instant: str) -> str:
    """An instant with its milliseconds, without which the client can't parse it."""
    whole, _, fraction = instant.rstrip("Z").partition(".")
    return f"{whole}.{(fraction + '000')[:3]}Z"
