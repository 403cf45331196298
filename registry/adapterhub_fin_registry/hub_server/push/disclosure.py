"""What may be given out: the server's own policy, asked of versions, of drafts, and of single files."""

from __future__ import annotations

from collections.abc import Iterable

from adapterhub_fin_registry.hub_server.errors import HubError
from adapterhub_fin_registry.hub_server.repo.repositories import without_paths
from adapterhub_fin_registry.hub_server.repo.repository import ServedRepository
from adapterhub_fin_registry.hub_server.repo.tree import SIGNATURES, Blob, Commit
from adapterhub_fin_registry.model.manifest import Manifest
from adapterhub_fin_registry.trust import admission
from adapterhub_fin_registry.trust.signatures import Signature


def check_files(repository: ServedRepository, commit: Commit, blobs: Iterable[Blob]) -> None:
    """Refuse files of a commit that the policy doesn't allow, in the words that clients pass on.

    A version's file goes with its version. A draft's goes with what the draft would be as a version, where it is
    whole; and what a version holds too isn't given out as a draft's, unless it would be as that version's.
    """
    blobs = list(blobs)
    if blobs:
        check_commit(repository, commit)
    if commit.version is None:
        for blob in blobs:
            _refuse(repository, _against_all(repository, blob.sha256))


def check_commit(repository: ServedRepository, commit: Commit) -> None:
    """Refuse a commit that the policy doesn't allow; what isn't whole yet says nothing that could be asked about."""
    _refuse(repository, _violations(repository, commit))


def sent_before(repository: ServedRepository, commit: Commit) -> dict[str, Blob]:
    """The files of a commit that a client need not send again: none of what it could not have from here."""
    return {} if _violations(repository, commit) else dict(commit.files)


def find(repository: ServedRepository, sha256: str) -> Blob | None:
    """A file by its bytes: one that was uploaded, or that a version has which may be given out.

    What can't be had from here must be sent by whoever has it, or a push could give it another name.
    """
    uploaded = repository.uploaded(sha256)
    if uploaded is not None and sha256 not in repository.kept.named:
        return uploaded
    if _against_all(repository, sha256):
        return None
    return uploaded or next((blob for _, blob in repository.holding(sha256)), None)


def _against_all(repository: ServedRepository, sha256: str) -> list[str]:
    """What the policy has against a file's versions; nothing where one of them may be given out, or there is none."""
    found: list[str] = []
    for version, _ in repository.holding(sha256):
        against = admission.violations(version, repository.registry.root)
        if not against:
            return []
        found += against
    return found


def _violations(repository: ServedRepository, commit: Commit) -> list[str]:
    root = repository.registry.root
    if commit.version is not None:
        return admission.violations(commit.version, root)
    if commit.manifest is None:
        return []
    manifest = Manifest.parse(commit.manifest.read_bytes())
    signatures = [
        Signature.parse(blob.read(), manifest) for path, blob in commit.files.items() if path.startswith(SIGNATURES)
    ]
    policy, _ = admission.terms(root)
    return list(policy.violations(f"this draft of {repository.name}", manifest, signatures))


def _refuse(repository: ServedRepository, violations: list[str]) -> None:
    for violation in violations:
        raise HubError(403, without_paths(violation, repository.registry), "GatedRepo")
