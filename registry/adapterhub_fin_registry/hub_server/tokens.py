"""Who may do what: tokens, of which a hash alone is kept."""

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
_MINUTE: Final = 60.0
_LONGEST: Final = 256  # no token comes near it


@dataclass(frozen=True)
class Token:
    """Somebody's right to read, or to read and write, everything or some namespaces.

    `expires_at` is the instant from which it counts no more, "" for none. `id` is the sha256 of its secret.
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
        """Whether its time is over."""
        return bool(self.expires_at) and parse_instant(self.expires_at) <= read_clock()

    def may_read(self, namespace: str) -> bool:
        """Whether what is private in a namespace may be seen."""
        return not self.namespaces or namespace in self.namespaces

    def may_write(self, namespace: str) -> bool:
        """Whether a namespace may be changed."""
        return self.rights == "write" and self.may_read(namespace)

    def is_trusted_with(self, namespace: str) -> bool:
        """Whether gated files may be read: by whoever may write there, or was given the namespace by its name."""
        return self.may_write(namespace) or namespace in self.namespaces


class Tokens:
    """The tokens of one server, a file each under the hash of its secret.

    A secret has 256 random bits, so that a plain sha256 of it can't be guessed back and needs no salt.
    """

    def __init__(self, state: Path, disk: Disk | None = None) -> None:
        self.folder = state / "tokens"
        self._disk = disk or Disk()
        self._noted: dict[str, float] = {}  # when a use was written down, by the token's id

    def add(
        self, name: str, rights: Rights = "read", namespaces: Iterable[str] = (), expires: timedelta | None = None
    ) -> str:
        """Make a token and give its secret, which nobody can be told again; `expires` is how long it counts."""
        for segment in (name, *namespaces):
            if not is_segment(segment):
                raise BadReference(f"{segment!r} can't name a token or a namespace: use lowercase letters and digits")
        if rights not in get_args(Rights):
            raise BadReference(f"{rights!r} isn't a right: give read or write")
        if any(token.name == name for token in self.all()):
            raise BadReference(f"there is a token {name} already: revoke it first, or choose another name")
        secret = _PREFIX + secrets.token_urlsafe(32)
        said: dict[str, Any] = {"name": name, "rights": rights, "namespaces": sorted(set(namespaces))}
        said["created_at"] = now()
        if expires is not None:
            said["expires_at"] = format_instant((read_clock() + expires).replace(microsecond=0))
        sha256 = _hashed(secret)
        self._disk.make(self.folder)
        self._disk.restrict(self.folder, 0o700)
        write_audit(self.folder.parent, "token made", id=sha256[:_SHOWN], **said)
        self._disk.overwrite(self._path(sha256), canonical({**said, "sha256": sha256}))
        return secret

    def all(self) -> list[Token]:
        """Every token, the expired ones too, by its name, with its last use."""
        found = (replace(token, last_used_at=self._last_use(token)) for token in map(_read, self._paths()))
        return sorted(found, key=lambda token: token.name)

    def revoke(self, name: str) -> None:
        """Take a token away; a server that runs refuses it from its next request on."""
        found = [token for token in self.all() if token.name == name]
        for token in found:  # more than one where two were made at once
            write_audit(self.folder.parent, "token revoked", name=name, id=token.id[:_SHOWN])
            self._disk.remove(self._path(token.id))
            self._disk.remove(self._use(token))
        if found:
            self._disk.sync(self.folder)
            return
        known = ", ".join(token.name for token in self.all()) or "none"
        raise NotFound(f"there is no token {name}: there is {known}")

    def find(self, secret: str) -> Token | None:
        """The token with a secret, which may be expired; None where there is none."""
        if not secret.isascii() or len(secret) > _LONGEST:
            return None
        return self.by_id(_hashed(secret))

    def by_id(self, sha256: str) -> Token | None:
        """The token whose secret has a sha256, which may be expired; None where there is none, or none any more."""
        try:
            said = read_object(self._path(sha256))
        except FileNotFoundError:
            return None
        return _token(said) if hmac.compare_digest(str(said.get("sha256")), sha256) else None

    def is_use_due(self, token: Token) -> bool:
        """Whether a use of a token is to be written down, which is once a minute; True is said once of each."""
        moment = time.monotonic()
        if moment - self._noted.get(token.id, -_MINUTE) < _MINUTE:
            return False
        self._noted[token.id] = moment
        return True

    def note_use(self, token: Token) -> None:
        """Write down that a token is used now: an OSError where the disk doesn't take it."""
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


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _read(path: Path) -> Token:
    return _token(read_object(path))


def _token(said: dict[str, Any]) -> Token:
    try:
        if said["rights"] not in get_args(Rights):
            raise ValueError
        expires_at = str(said.get("expires_at", ""))
        if expires_at:
            parse_instant(expires_at)
        return Token(
            str(said["name"]),
            said["rights"],
            tuple(said["namespaces"]),
            str(said["created_at"]),
            expires_at,
            id=str(said["sha256"]),
        )
    except (KeyError, TypeError, ValueError, BadInstant) as error:
        raise Corrupted("a token's file isn't one: remove it, and make the token again") from error
