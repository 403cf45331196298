"""Parse references and names: one strict ASCII grammar, checked before anything touches a disk."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, NoReturn

from adapterhub_fin_registry.errors import BadReference

SEGMENT_LIMIT: Final = 96
LOOSE: Final = "hub"  # the namespace in a cache for versions without a number, or with a name only a store allows
_SEGMENT: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PORTS: Final = {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
_WINDOWS: Final = frozenset({"con", "prn", "aux", "nul", *_PORTS})
_HUB_SEGMENT: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_HUB_REVISION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHAPE: Final = "write NAMESPACE/NAME, such as acme/tone, alone or with @3, @champion or @sha256:..."


@dataclass(frozen=True)
class Reference:
    """Represent a name in a registry, with at most one of a version number, an alias and a digest.

    With none of the three it means the highest version that is neither yanked nor deleted; so does `@latest`.
    """

    namespace: str
    name: str
    version: int | None = None
    alias: str | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        _check_segment(self.namespace, "namespace")
        _check_segment(self.name, "name")
        if sum(pick is not None for pick in (self.version, self.alias, self.digest)) > 1:
            raise BadReference("a reference has at most one of a version, an alias and a digest: choose one")
        if self.version is not None and not _NUMBER.fullmatch(str(self.version)):
            raise BadReference(f"{self.version!r} isn't a version number: versions count from 1")
        if self.alias is not None:
            check_alias(self.alias)
        if self.digest is not None:
            check_digest(self.digest)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse `NAMESPACE/NAME`, `...@3`, `...@ALIAS`, `...@latest` or `...@sha256:HEX`.

        Raises BadReference for any other text.
        """
        _check_text(text)
        full_name, at, pick = text.partition("@")
        namespace, slash, name = full_name.partition("/")
        if not slash:
            _refuse(text, "it has no namespace")
        if not at or pick == "latest":
            return cls(namespace, name)
        if pick.startswith("sha256:"):
            return cls(namespace, name, digest=pick)
        if _NUMBER.fullmatch(pick):
            return cls(namespace, name, version=int(pick))
        return cls(namespace, name, alias=pick)

    @property
    def full_name(self) -> str:
        """Return `NAMESPACE/NAME`."""
        return f"{self.namespace}/{self.name}"

    @property
    def is_bare(self) -> bool:
        """Return whether the reference leaves the choice of the version to the registry."""
        return self.version is None and self.alias is None and self.digest is None

    def __str__(self) -> str:
        pick = self.alias or self.digest or (None if self.version is None else str(self.version))
        return self.full_name if pick is None else f"{self.full_name}@{pick}"


@dataclass(frozen=True)
class DigestReference:
    """Represent a version by its digest alone, `sha256:HEX`; a text may have a leading `@`."""

    digest: str

    def __post_init__(self) -> None:
        check_digest(self.digest)

    def __str__(self) -> str:
        return self.digest


@dataclass(frozen=True)
class HubReference:
    """Represent a repository on a Hub, `hf://ORG/NAME[@REVISION]`, under the Hub's own rules.

    It never becomes a path on this machine.
    """

    namespace: str
    name: str
    revision: str | None = None

    def __post_init__(self) -> None:
        for segment in (self.namespace, self.name):
            if not _HUB_SEGMENT.fullmatch(segment) or ".." in segment or "--" in segment or segment.endswith(".git"):
                raise BadReference(f"{segment!r} isn't a name that a Hub allows: write hf://ORG/NAME[@REVISION]")
        if self.revision is not None and not is_revision(self.revision):
            raise BadReference(f"{self.revision!r} isn't a revision: give a branch, a tag or a commit")

    @property
    def repository(self) -> str:
        """Return `ORG/NAME`, as the Hub writes it."""
        return f"{self.namespace}/{self.name}"

    @property
    def is_commit(self) -> bool:
        """Return whether the revision is a commit, whose meaning never changes."""
        return self.revision is not None and bool(_COMMIT.fullmatch(self.revision))

    def __str__(self) -> str:
        return f"hf://{self.repository}" + (f"@{self.revision}" if self.revision is not None else "")


def parse_reference(text: str) -> Reference | DigestReference | HubReference:
    """Parse any reference: to a registry's version, to a digest under any name, or to a Hub's repository.

    Raises BadReference for a text that is none of them.

    Example:
        >>> parse_reference("acme/tone@3").version
        3
    """
    _check_text(text)
    if text.startswith("hf://"):
        repository, at, revision = text.removeprefix("hf://").partition("@")
        namespace, slash, name = repository.partition("/")
        if not slash:
            _refuse(text, "it has no organisation; write hf://ORG/NAME[@REVISION]")
        return HubReference(namespace, name, revision if at else None)
    if text.removeprefix("@").startswith("sha256:"):
        return DigestReference(text.removeprefix("@"))
    return Reference.parse(text)


def check_name(name: str) -> tuple[str, str]:
    """Split `NAMESPACE/NAME` into its two parts.

    Raises BadReference for anything else, also for a name with a version.
    """
    reference = Reference.parse(name)
    if "@" in name:
        _refuse(name, "only a name is allowed here, without @")
    return reference.namespace, reference.name


def local_name(remote_name: str, *, numbered: bool) -> str:
    """Return the local name of a store's version: the store's own name if it is valid here, else one with its hash.

    A version without a number, or with a name that isn't valid here, gets a name under `hub/`. No text of a store ever
    becomes a path.
    """
    if numbered and _is_name(remote_name):
        return remote_name
    readable = re.sub(r"[^a-z0-9]+", "-", remote_name.lower())[:48].strip("-") or "x"
    kind = "v" if numbered else "c"
    return f"{LOOSE}/{readable}-{kind}{hashlib.sha256(remote_name.encode()).hexdigest()[:32]}"


def _is_name(text: str) -> bool:
    try:
        return check_name(text)[0] != LOOSE
    except BadReference:
        return False


def check_alias(alias: str) -> None:
    """Raise BadReference if a text can't be an alias; `latest`, `vN` and digits are reserved."""
    if alias == "latest" or re.fullmatch(r"v?[0-9]+", alias):
        what = "write @3 for version 3" if alias != "latest" else "it always means the highest version"
        raise BadReference(f"{alias!r} is reserved and can't be an alias: {what}")
    _check_segment(alias, "alias")


def check_digest(digest: str) -> None:
    """Raise BadReference if a text isn't `sha256:` and 64 lowercase hexadecimal digits."""
    if not _DIGEST.fullmatch(digest):
        raise BadReference(f"{digest!r} isn't a digest: write sha256: and all 64 lowercase hexadecimal digits")


def is_segment(text: str) -> bool:
    """Return whether a text can be a folder's name in a registry: a namespace, a name or an alias."""
    return len(text) <= SEGMENT_LIMIT and bool(_SEGMENT.fullmatch(text)) and not is_windows_device(text)


def is_windows_device(text: str) -> bool:
    """Return whether Windows takes a file name for a device, also with an extension (`con.x`)."""
    return text.partition(".")[0].rstrip(" ").casefold() in _WINDOWS


def is_revision(text: str) -> bool:
    """Return whether a text may name a branch, a tag or a commit of a Hub."""
    # The rules of git's check-ref-format that go beyond the allowed characters.
    parts = text.split("/")
    return bool(_HUB_REVISION.fullmatch(text)) and all(
        part and not part.startswith(".") and not part.endswith((".", ".lock")) and ".." not in part for part in parts
    )


def _check_text(text: str) -> None:
    # This check comes first, so that no message quotes a long text and no pattern runs over it.
    if len(text) > 512:
        raise BadReference(f"a text of {len(text)} characters isn't a reference: {_SHAPE}")


def _check_segment(text: str, what: str) -> None:
    if len(text) > SEGMENT_LIMIT:
        raise BadReference(f"the {what} {text[:20]!r}... is {len(text)} long: {SEGMENT_LIMIT} is the most")
    if not _SEGMENT.fullmatch(text):
        raise BadReference(
            f"{text!r} isn't a valid {what}: use lowercase letters and digits, singly separated by . _ or -; {_SHAPE}"
        )
    if is_windows_device(text):
        raise BadReference(f"{text!r} is a device's name on Windows and can't be a {what}: choose another")


def _refuse(text: str, why: str) -> NoReturn:
    raise BadReference(f"{text!r} isn't a reference, {why}: {_SHAPE}")
