"""Store access tokens, of which only the hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, get_args

from adapterhub_fin_registry.errors import BadInstant, BadReference, Corrupted, NotFound
from adapterhub_fin_registry.hub_server.audit import write_audit
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.clock import read_clock
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.io.safe_read import read_object
from adapterhub_fin_registry.model.knowledge import format_instant, parse_instant
from adapterhub_fin_registry.model.reference import is_segment
from adapterhub_fin_registry.storage.transaction import now

Rights = Literal["read", "write"]
_PREFIX: Final = "ahf_"
_SHOWN: Final = 12  # digits of an id in the audit file
_MINUTE: Final = 60.0  # seconds
_LONGEST: Final = 256  # characters, far more than a token has


@dataclass(frozen=True)
class Token:
    """Represent the right to read, or to read and write, some namespaces or all of them.

    From `expires_at` on the token is invalid; "" means never. `id` is the SHA-256 of its secret.
    """

    name: str
    rights: Rights
    namespaces: tuple[str, ...] = ()
    created_at: str = ""
    expires_at: str = ""
    last_used_at: str = ""
    id: str = field(default="", repr=False)

    @property
    def is_expired(self) -> bool:
        """Return whether the token has expired."""
        return bool(self.expires_at) and parse_instant(self.expires_at) <= read_clock()

    def may_read(self, namespace: str) -> bool:
        """Return whether the token may see the private repositories of a namespace."""
        return not self.namespaces or namespace in self.namespaces

    def may_write(self, namespace: str) -> bool:
        """Return whether the token may change a namespace."""
        return self.rights == "write" and self.may_read(namespace)

    def is_trusted_with(self, namespace: str) -> bool:
        """Return whether the token may read gated files: it may write there, or it names the namespace."""
        return self.may_write(namespace) or namespace in self.namespaces


class Tokens:
    """Store the tokens of one server, each in a file that is named by the hash of its secret.

    A secret has 256 random bits: nobody can guess it from a plain SHA-256, which therefore needs no salt.
    """

    def __init__(self, state: Path, disk: Disk | None = None) -> None:
        self.folder = state / "tokens"
        self._disk = disk or Disk()
        self._last_noted: dict[str, float] = {}  # when the last use was recorded (monotonic), by token id

    def add(
        self, name: str, rights: Rights = "read", namespaces: Iterable[str] = (), expires: timedelta | None = None
    ) -> str:
        """Create a token that is valid for `expires`, and return its secret, which is not stored.

        Raises BadReference for an invalid name, namespace or right, and for a name that is taken.
        """
        for segment in (name, *namespaces):
            if not is_segment(segment):
                raise BadReference(f"{segment!r} can't name a token or a namespace: use lowercase letters and digits")
        if rights not in get_args(Rights):
            raise BadReference(f"{rights!r} isn't a right: give read or write")
        if any(token.name == name for token in self.all()):
            raise BadReference(f"there is a token {name} already: revoke it first, or choose another name")
        secret = _PREFIX + secrets.token_urlsafe(32)
        document: dict[str, Any] = {"name": name, "rights": rights, "namespaces": sorted(set(namespaces))}
        document["created_at"] = now()
        if expires is not None:
            document["expires_at"] = format_instant((read_clock() + expires).replace(microsecond=0))
        sha256 = _sha256(secret)
        self._disk.make(self.folder)
        self._disk.restrict(self.folder, 0o700)
        write_audit(self.folder.parent, "token made", id=sha256[:_SHOWN], **document)
        self._disk.overwrite(self._path(sha256), canonical({**document, "sha256": sha256}))
        return secret

    def all(self) -> list[Token]:
        """Return every token, expired ones too, sorted by name, with its last use. Raises Corrupted for a bad file."""
        tokens = (replace(token, last_used_at=self._last_use(token)) for token in map(_read, self._paths()))
        return sorted(tokens, key=lambda token: token.name)

    def revoke(self, name: str) -> None:
        """Delete a token. A running server refuses its next request. Raises NotFound for an unknown name."""
        tokens = [token for token in self.all() if token.name == name]
        for token in tokens:  # two processes may have created the same name at once
            write_audit(self.folder.parent, "token revoked", name=name, id=token.id[:_SHOWN])
            self._disk.remove(self._path(token.id))
            self._disk.remove(self._use(token))
        if tokens:
            self._disk.sync(self.folder)
            return
        names = ", ".join(token.name for token in self.all()) or "none"
        raise NotFound(f"there is no token {name}: there is {names}")

    def find(self, secret: str) -> Token | None:
        """Return the token with a secret, which may be expired; None where there is none."""
        if not secret.isascii() or len(secret) > _LONGEST:
            return None
        return self.by_id(_sha256(secret))

    def by_id(self, sha256: str) -> Token | None:
        """Return the token whose secret has this SHA-256, which may be expired; None where there is none."""
        try:
            document = read_object(self._path(sha256))
        except FileNotFoundError:
            return None
        return _token(document) if hmac.compare_digest(str(document.get("sha256")), sha256) else None

    def is_use_due(self, token: Token) -> bool:
        """Return whether to record a use of a token, which is once a minute: the first call in a minute gets True."""
        moment = time.monotonic()
        if moment - self._last_noted.get(token.id, -_MINUTE) < _MINUTE:
            return False
        self._last_noted[token.id] = moment
        return True

    def note_use(self, token: Token) -> None:
        """Record that a token is used now. Raises OSError where the disk can't be written."""
        self._disk.overwrite(self._use(token), now().encode())

    def _last_use(self, token: Token) -> str:
        try:
            return self._use(token).read_text(encoding="ascii")
        except (OSError, ValueError):
            return ""

    def _use(self, token: Token) -> Path:
        return self.folder / f"{token.id}.used"

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.json"


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _read(path: Path) -> Token:
    return _token(read_object(path))


def _token(document: dict[str, Any]) -> Token:
    try:
        if document["rights"] not in get_args(Rights):
            raise ValueError
        expires_at = str(document.get("expires_at", ""))
        if expires_at:
            parse_instant(expires_at)
        return Token(
            str(document["name"]),
            document["rights"],
            tuple(document["namespaces"]),
            str(document["created_at"]),
            expires_at,
            id=str(document["sha256"]),
        )
    except (KeyError, TypeError, ValueError, BadInstant) as error:
        raise Corrupted("a token's file isn't one: remove it, and make the token again") from error
