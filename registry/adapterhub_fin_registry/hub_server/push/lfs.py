"""Receive large files by git LFS, and answer before a commit how to send each file.

A missing file gets a URL to upload it to, which is signed and expires.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.blob_writer import BlobWriter
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request
from adapterhub_fin_registry.hub_server.push.disclosure import find
from adapterhub_fin_registry.hub_server.push.operations import path_limit, path_refusal
from adapterhub_fin_registry.hub_server.push.quota import Quota
from adapterhub_fin_registry.hub_server.repo.repository import ServedRepository
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.hub_server.repo.tree import Blob
from adapterhub_fin_registry.hub_server.settings import Settings
from adapterhub_fin_registry.hub_server.tokens import Token

LIFETIME: Final = 6 * 3600  # seconds in which an upload may begin
OBJECTS: Final = 1000  # in a batch
_OID: Final = re.compile(r"[0-9a-f]{64}")
FILES: Final = 1000  # in a preupload request
# Files that trainers write beside an adapter and that no version contains: the client leaves them out, and says so.
_LEFT_OUT: Final = frozenset(
    {
        *("training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", ".gitignore"),
        *(".DS_Store", "Thumbs.db", "desktop.ini"),  # made by desktops
    }
)
_LEFT_OUT_STARTS: Final = ("rng_state", "events.out.tfevents")


@dataclass(frozen=True)
class Grant:
    """Represent the right to upload one file (SHA-256 `oid`, `size` bytes) to one repository until `expires` (Unix)."""

    repository: str
    oid: str
    size: int
    expires: int
    token: str  # the id of the token that got the grant; without it the grant is void


class Uploads:
    """Grant and receive uploads. Grants are signed with a key of this process: after a restart clients ask again."""

    def __init__(self, state: State, limit: int, quota: Quota) -> None:
        self._state = state
        self._quota = quota
        self._limit = limit
        self._key = secrets.token_bytes(32)

    def batch(self, repository: ServedRepository, document: dict[str, Any], base: str, token: Token) -> dict[str, Any]:
        """Return the answer to an LFS batch: a URL for each file that isn't here yet.

        Raises HubError 400 for an invalid batch, and 507 for more bytes than the quota allows.
        """
        objects = document.get("objects")
        if document.get("operation") != "upload":
            raise bad_request("only uploads go through LFS here: files are downloaded by resolve")
        if not isinstance(objects, list) or len(objects) > OBJECTS or document.get("hash_algo", "sha256") != "sha256":
            raise bad_request(f"an LFS batch has at most {OBJECTS} objects, each by its sha256")
        answers = [self._object(repository, item, base, token) for item in objects]
        self._quota.check(repository.namespace, token.name, sum(item["size"] for item in answers if "actions" in item))
        return {"transfer": "basic", "objects": answers}

    def check(self, grant: Grant, signature: str) -> None:
        """Raise HubError 403 for a grant with a wrong signature, or one that has expired."""
        if not hmac.compare_digest(self._signed(grant).encode(), signature.encode(errors="replace")):
            raise HubError(403, "this upload's signature is wrong: ask for its URL again")
        if grant.expires < time.time():
            raise HubError(403, "the time for this upload is over: ask for its URL again")

    def keep(self, grant: Grant, file: BlobWriter, by: str) -> None:
        """Store an upload whose size and SHA-256 match its grant. Raises HubError 400 for any other."""
        sha256 = file.finish()
        if (file.size, sha256) != (grant.size, grant.oid):
            raise bad_request(
                f"what was sent has {file.size} bytes and the sha256 {sha256}, not {grant.size} and {grant.oid}"
            )
        self._state.keep(grant.repository, file.path, sha256, by)

    def verify(self, repository: ServedRepository, document: dict[str, Any]) -> None:
        """Check that a file arrived. Raises HubError 404 where it didn't."""
        oid, size = _checked(document)
        if not self._is_here(repository, oid, size):
            raise HubError(404, f"{oid} didn't arrive: send it again")

    def _object(self, repository: ServedRepository, item: Any, base: str, token: Token) -> dict[str, Any]:
        oid, size = _checked(item)
        answer: dict[str, Any] = {"oid": oid, "size": size}
        if size > self._limit:
            why = f"the file has {size} bytes, and {self._limit} are the most that this server takes"
            return answer | {"error": {"code": 413, "message": why}}
        if self._is_here(repository, oid, size):
            return answer
        grant = Grant(repository.name, oid, size, int(time.time()) + LIFETIME, token.id)
        query = f"size={size}&expires={grant.expires}&token={token.id}&signature={self._signed(grant)}"
        verify = f"{base}/{repository.name}.git/info/lfs/objects/verify"
        upload = f"{base}/{repository.name}.git/info/lfs/objects/{oid}?{query}"
        return answer | {"authenticated": True, "actions": {"upload": {"href": upload}, "verify": {"href": verify}}}

    def _is_here(self, repository: ServedRepository, oid: str, size: int) -> bool:
        blob = find(repository, oid)
        if blob is not None and blob.size == size:
            self._state.renew(repository.name, oid)  # a commit will refer to it, so the sweep must not remove it before
            return True
        return False

    def _signed(self, grant: Grant) -> str:
        text = f"{grant.repository}\0{grant.oid}\0{grant.size}\0{grant.expires}\0{grant.token}"
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()


def _checked(item: Any) -> tuple[str, int]:
    oid, size = (item.get("oid"), item.get("size")) if isinstance(item, dict) else (None, None)
    if not isinstance(oid, str) or not _OID.fullmatch(oid) or type(size) is not int or not 0 <= size < 2**50:
        raise bad_request("an LFS object is its sha256 in 64 hexadecimal digits, and its size")
    return oid, size


def preupload_answers(
    document: dict[str, Any], available: Mapping[str, Blob], settings: Settings
) -> tuple[list[dict[str, Any]], int]:
    """Return how to send each file of a commit, and the bytes of the files that aren't left out.

    `available` has the files that are here already. Raises HubError 400 or 413 for a file that can't be stored.
    """
    files = document.get("files")
    if not isinstance(files, list) or len(files) > FILES:
        raise bad_request(f"a preupload names at most {FILES} files")
    answers = [_preupload_answer(file, available, settings) for file in files]
    return answers, sum(file["size"] for file, answer in zip(files, answers, strict=True) if not answer["shouldIgnore"])


def _preupload_answer(file: Any, available: Mapping[str, Blob], settings: Settings) -> dict[str, Any]:
    document = file if isinstance(file, dict) else {}
    path, size = body.text(document.get("path"), "path", 2000), document.get("size")
    if type(size) is not int or size < 0:
        raise bad_request("a file's size must be a whole number")
    name = PurePosixPath(path).name
    if name in _LEFT_OUT or name.startswith(_LEFT_OUT_STARTS):
        return {"path": path, "uploadMode": "regular", "shouldIgnore": True}
    if reason := path_refusal(path):
        raise bad_request(f"{path[:200]!r} {reason}, and can't be stored here: leave it out")
    most = min(path_limit(path), settings.upload_limit)
    if size > most:
        raise HubError(413, f"{path} has {size} bytes, and {most} are the most that this server takes")
    mode = "regular" if size <= settings.regular_limit else "lfs"
    answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
    existing = available.get(path)
    if mode == "lfs" and existing is not None and existing.size == size:
        answer["oid"] = existing.sha256  # the client doesn't send a file with the same SHA-256
    return answer
