"""Who may do what: tokens, of which a hash alone is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from adapterhub_fin_registry.canonical import canonical
from adapterhub_fin_registry.change import now
from adapterhub_fin_registry.disk import Disk
from adapterhub_fin_registry.errors import BadReference, Corrupted, NotFound
from adapterhub_fin_registry.reading import read_object
from adapterhub_fin_registry.reference import is_segment

Rights = Literal["read", "write"]
_PREFIX: Final = "ahf_"
_LONGEST: Final = 256  # no token comes near it


@dataclass(frozen=True)
class Token:
    """Somebody's right to read, or to read and write, everything or some namespaces."""

    name: str
    rights: Rights
    namespaces: tuple[str, ...] = ()
    created_at: str = ""

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

    def add(self, name: str, rights: Rights = "read", namespaces: Iterable[str] = ()) -> str:
        """Make a token and give its secret, which nobody can be told again."""
        for segment in (name, *namespaces):
            if not is_segment(segment):
                raise BadReference(f"{segment!r} can't name a token or a namespace: use lowercase letters and digits")
        if rights not in get_args(Rights):
            raise BadReference(f"{rights!r} isn't a right: give read or write")
        if any(token.name == name for token in self.all()):
            raise BadReference(f"there is a token {name} already: revoke it first, or choose another name")
        secret = _PREFIX + secrets.token_urlsafe(32)
        said = {"name": name, "rights": rights, "namespaces": sorted(set(namespaces)), "created_at": now()}
        self._disk.make(self.folder)
        self._disk.restrict(self.folder, 0o700)
        self._disk.overwrite(self._path(_hashed(secret)), canonical({**said, "sha256": _hashed(secret)}))
        return secret

    def all(self) -> list[Token]:
        """Every token, by its name."""
        return sorted((_token(read_object(path)) for path in self._paths()), key=lambda token: token.name)

    def revoke(self, name: str) -> None:
        """Take a token away; a server that runs refuses it from its next request on."""
        found = [path for path in self._paths() if _token(read_object(path)).name == name]
        for path in found:  # more than one where two were made at once
            self._disk.remove(path)
        if found:
            self._disk.sync(self.folder)
            return
        known = ", ".join(token.name for token in self.all()) or "none"
        raise NotFound(f"there is no token {name}: there is {known}")

    def find(self, secret: str) -> Token | None:
        """The token with a secret; None where there is none."""
        if not secret.isascii() or len(secret) > _LONGEST:
            return None
        sha256 = _hashed(secret)
        try:
            said = read_object(self._path(sha256))
        except FileNotFoundError:
            return None
        return _token(said) if hmac.compare_digest(str(said.get("sha256")), sha256) else None

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.json"


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(said: dict[str, Any]) -> Token:
    try:
        if said["rights"] not in get_args(Rights):
            raise ValueError
        return Token(str(said["name"]), said["rights"], tuple(said["namespaces"]), str(said["created_at"]))
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupted("a token's file isn't one: remove it, and make the token again") from error
