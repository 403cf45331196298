"""Make the JSON documents of repositories, files and commits that clients read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from adapterhub_fin_registry.hub_server.errors import bad_request, no_entry
from adapterhub_fin_registry.hub_server.repo.repository import Ref, ServedRepository
from adapterhub_fin_registry.hub_server.repo.tree import CARD, Blob, Commit

PAGE: Final = 1000  # paths in a page of a tree


def repository_document(
    repository: ServedRepository, commit: Commit, *, files: bool = True, blobs: bool = False
) -> Any:
    """Return the document that `model_info` reads: a repository at a commit, in lists without its files.

    With `blobs` each file has its size in bytes and its ids.
    """
    document: dict[str, Any] = {
        "_id": commit.id[:24],
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.namespace,
        "sha": commit.id,
        "createdAt": _date(repository.created_at),
        "lastModified": _date(commit.date),
        "private": repository.state.private,
        "gated": repository.state.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "trendingScore": 0,
        **_described(repository, commit),
    }
    if files:
        document["siblings"] = [_sibling(path, blob, blobs) for path, blob in sorted(commit.files.items())]
        document["usedStorage"] = sum(blob.size for blob in commit.files.values())
    return document


def tree_documents(
    commit: Commit, path: str, *, recursive: bool, expand: bool, after: str = "", limit: int = PAGE
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of a folder of a commit, its folders first, and the cursor of the next page; None for no more.

    The time is linear in the page, since the paths of a commit are indexed once. Raises HubError 404 for a missing
    folder, and 400 for an invalid cursor.
    """
    folder, (kind, _, last) = path.strip("/"), after.partition(":")
    if folder and not commit.folders.holds(folder):
        raise no_entry(path)
    if kind not in ("", "folder", "file"):
        raise bad_request("the cursor isn't one of this list: begin at its first page")
    folders = commit.folders.folders(folder, recursive=recursive, after=last) if kind != "file" else iter(())
    files = commit.folders.files(folder, recursive=recursive, after=last if kind == "file" else "")
    entries = [_folder(path_, commit, expand) for path_ in islice(folders, limit + 1)]
    entries += [_file(path_, commit.files[path_], commit, expand) for path_ in islice(files, limit + 1 - len(entries))]
    if len(entries) <= limit:
        return entries, None
    end = entries[limit - 1]
    return entries[:limit], f"{'file' if end['type'] == 'file' else 'folder'}:{end['path']}"


def paths_documents(commit: Commit, paths: Iterable[str], *, expand: bool) -> list[dict[str, Any]]:
    """Return the documents of the paths, files or folders, that a commit has; others are left out."""
    entries = []
    for path in dict.fromkeys(path_.strip("/") for path_ in paths):
        if path in commit.files:
            entries.append(_file(path, commit.files[path], commit, expand))
        elif path and commit.folders.holds(path):
            entries.append(_folder(path, commit, expand))
    return entries


def commit_document(commit: Commit) -> dict[str, Any]:
    """Return the document of a commit in a history."""
    return {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "date": _date(commit.date),
        "authors": [{"user": commit.author}],
    }


def refs_document(branches: Iterable[Ref], tags: Iterable[Ref]) -> dict[str, Any]:
    """Return the document of a repository's branches and tags."""
    return {
        "branches": [_ref(ref, "heads") for ref in branches],
        "converts": [],
        "tags": [_ref(ref, "tags") for ref in tags],
        "pullRequests": [],
    }


def _described(repository: ServedRepository, commit: Commit) -> dict[str, Any]:
    """Return the metadata of the card, and the tags of card and manifest that clients filter by.

    A draft shows those of the newest version, so that searches find it, unless it has a card of its own.
    """
    described = commit if commit.version else repository.newest_commit or commit
    card, version = (commit if CARD in commit.files else described).card, described.version
    fields: dict[str, Any] = {"cardData": card or None, "library_name": card.get("library_name")}
    if isinstance(card.get("pipeline_tag"), str):
        fields["pipeline_tag"] = card["pipeline_tag"]
    tags = [*_texts(card, "library_name"), *_texts(card, "tags"), *_texts(card, "pipeline_tag")]
    bases = _texts(card, "base_model")
    if version is not None:
        is_base = version.plain(lambda data: data.get("kind") == "base")
        base = None if is_base else version.plain(lambda data: data["base"]["repository"])
        method = version.plain(lambda data: data["method"]["name"])
        tags += ["safetensors", "adapterhub_fin", method, *version.tags]
        bases += [base] if base else []
    for base in bases:
        tags += [f"base_model:{base}", f"base_model:adapter:{base}"]
    tags += [f"dataset:{text}" for text in _texts(card, "datasets")]
    tags += [f"license:{text}" for text in _texts(card, "license")]
    return fields | {"tags": list(dict.fromkeys(tags))}


def _texts(card: dict[str, Any], key: str) -> list[str]:
    value = card.get(key)
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _sibling(path: str, blob: Blob, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    lfs = {"sha256": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return {"rfilename": path, "size": blob.size, "blobId": blob.oid, "lfs": lfs}


def _file(path: str, blob: Blob, commit: Commit, expand: bool) -> dict[str, Any]:
    lfs = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    entry = {"type": "file", "path": path, "size": blob.size, "oid": blob.oid, "lfs": lfs}
    return entry | (_last(commit) if expand else {})


def _folder(path: str, commit: Commit, expand: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "directory", "path": path, "size": 0, "oid": commit.folders.oid(path)}
    return entry | (_last(commit) if expand else {})


def _last(commit: Commit) -> dict[str, Any]:
    return {"lastCommit": {"id": commit.id, "title": commit.title, "date": _date(commit.date)}}


def _ref(ref: Ref, kind: str) -> dict[str, str]:
    return {"name": ref.name, "ref": f"refs/{kind}/{ref.name}", "targetCommit": ref.commit}


def _date(instant: str) -> str:
    """Return an instant with milliseconds, which the client needs to parse it."""
    seconds, _, fraction = instant.rstrip("Z").partition(".")
    return f"{seconds}.{(fraction + '000')[:3]}Z"
