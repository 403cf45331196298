"""Large files by git LFS: what is missing is told with a URL to put it to, which carries its own right and expires."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final

from adapterhub_fin_registry.hub_server.blob_writer import BlobWriter
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request
from adapterhub_fin_registry.hub_server.push.disclosure import find
from adapterhub_fin_registry.hub_server.push.quota import Quota
from adapterhub_fin_registry.hub_server.repo.repository import ServedRepository
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.hub_server.tokens import Token

LIFETIME: Final = 6 * 3600  # seconds in which an upload may be begun
OBJECTS: Final = 1000
_OID: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Grant:
    """The right to put one file to one repository."""

    repository: str
    oid: str
    size: int
    expires: int
    token: str  # the id of the one that it was agreed with, and dies with


class Uploads:
    """Grants of one process, signed with a key that nobody else ever sees: after a restart the client asks again."""

    def __init__(self, state: State, limit: int, quota: Quota) -> None:
        self._state = state
        self._quota = quota
        self._limit = limit
        self._key = secrets.token_bytes(32)

    def batch(self, repository: ServedRepository, body: dict[str, Any], base: str, token: Token) -> dict[str, Any]:
        """The answer to an LFS batch: where to put each file that isn't here yet."""
        objects = body.get("objects")
        if body.get("operation") != "upload":
            raise bad_request("only uploads go through LFS here: files are downloaded by resolve")
        if not isinstance(objects, list) or len(objects) > OBJECTS or body.get("hash_algo", "sha256") != "sha256":
            raise bad_request(f"an LFS batch has at most {OBJECTS} objects, each by its sha256")
        answers = [self._object(repository, each, base, token) for each in objects]
        self._quota.check(repository.namespace, token.name, sum(each["size"] for each in answers if "actions" in each))
        return {"transfer": "basic", "objects": answers}

    def check(self, grant: Grant, signature: str) -> None:
        """Refuse a grant that was altered, made up, or is too old."""
        if not hmac.compare_digest(self._signed(grant).encode(), signature.encode(errors="replace")):
            raise HubError(403, "this upload wasn't agreed to: ask for its URL again")
        if grant.expires < time.time():
            raise HubError(403, "the time for this upload is over: ask for its URL again")

    def keep(self, grant: Grant, file: BlobWriter, by: str) -> None:
        """Store an upload whose size and SHA-256 match its grant; raises HubError 400 for any other."""
        sha256 = file.finish()
        if (file.size, sha256) != (grant.size, grant.oid):
            raise bad_request(
                f"what was sent has {file.size} bytes and the sha256 {sha256}, not {grant.size} and {grant.oid}"
            )
        self._state.keep(grant.repository, file.path, sha256, by)

    def verify(self, repository: ServedRepository, body: dict[str, Any]) -> None:
        """Say whether a file came; a HubError where it didn't."""
        oid, size = _checked(body)
        if not self._is_here(repository, oid, size):
            raise HubError(404, f"{oid} didn't come: send it again")

    def _object(self, repository: ServedRepository, said: Any, base: str, token: Token) -> dict[str, Any]:
        oid, size = _checked(said)
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
        found = find(repository, oid)
        if found is not None and found.size == size:
            self._state.renew(repository.name, oid)  # a commit will name it, which the sweep must not be quicker than
            return True
        return False

    def _signed(self, grant: Grant) -> str:
        said = f"{grant.repository}\0{grant.oid}\0{grant.size}\0{grant.expires}\0{grant.token}"
        return hmac.new(self._key, said.encode(), "sha256").hexdigest()


def _checked(said: Any) -> tuple[str, int]:
    oid, size = (said.get("oid"), said.get("size")) if isinstance(said, dict) else (None, None)
    if not isinstance(oid, str) or not _OID.fullmatch(oid) or type(size) is not int or not 0 <= size < 2**50:
        raise bad_request("an LFS object is its sha256 in 64 hexadecimal digits, and its size")
    return oid, size
