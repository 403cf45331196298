"""Repositories, files and commits as the JSON documents that clients read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adapterhub_fin_registry.serve.errors import no_entry
from adapterhub_fin_registry.serve.repository import Ref, Repository
from adapterhub_fin_registry.serve.tree import CARD, Blob, Commit, git_id


def repository_document(repository: Repository, commit: Commit, *, files: bool = True, blobs: bool = False) -> Any:
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


def tree_documents(commit: Commit, path: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]]:
    """A folder of a commit, or all below it."""
    prefix = f"{path.strip('/')}/" if path.strip("/") else ""
    inside = {each: blob for each, blob in sorted(commit.files.items()) if each.startswith(prefix)}
    if prefix and not inside:
        raise no_entry(path)
    folders = _folders(inside, prefix, recursive)
    files = [each for each in inside if recursive or "/" not in each.removeprefix(prefix)]
    listed = [_folder(each, commit, expand) for each in folders]
    return listed + [_file(each, inside[each], commit, expand) for each in files]


def paths_documents(commit: Commit, paths: Iterable[str], *, expand: bool) -> list[dict[str, Any]]:
    """Those of some paths that a commit has, files and folders."""
    found = []
    for path in dict.fromkeys(each.strip("/") for each in paths):
        if path in commit.files:
            found.append(_file(path, commit.files[path], commit, expand))
        elif any(each.startswith(f"{path}/") for each in commit.files):
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


def _described(repository: Repository, commit: Commit) -> dict[str, Any]:
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
    inside = sorted((each, blob.oid) for each, blob in commit.files.items() if each.startswith(f"{path}/"))
    found: dict[str, Any] = {"type": "directory", "path": path, "size": 0, "oid": git_id(repr(inside).encode())}
    return found | (_last(commit) if expand else {})


def _last(commit: Commit) -> dict[str, Any]:
    return {"lastCommit": {"id": commit.id, "title": commit.title, "date": _date(commit.date)}}


def _folders(files: Iterable[str], prefix: str, recursive: bool) -> list[str]:
    found = set()
    for path in files:
        parts = path.removeprefix(prefix).split("/")[:-1]
        for depth in range(1, len(parts) + 1 if recursive else min(len(parts), 1) + 1):
            found.add(prefix + "/".join(parts[:depth]))
    return sorted(found)


def _ref(ref: Ref, kind: str) -> dict[str, str]:
    return {"name": ref.name, "ref": f"refs/{kind}/{ref.name}", "targetCommit": ref.commit}


def _date(instant: str) -> str:
    """An instant with its milliseconds, without which the client can't parse it."""
    whole, _, fraction = instant.rstrip("Z").partition(".")
    return f"{whole}.{(fraction + '000')[:3]}Z"
