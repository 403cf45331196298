"""Check against the server's policy what may be disclosed: versions, drafts and single files."""

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
    """Raise HubError 403 for files of a commit that the policy forbids, with the violation as the message.

    The file of a version is checked as that version. The file of a draft is checked as the version that the draft would
    become once it is complete. A file that versions have as well is disclosed only if one of them may be.
    """
    blobs = list(blobs)
    if blobs:
        check_commit(repository, commit)
    if commit.version is None:
        for blob in blobs:
            _refuse(repository, _against_all(repository, blob.sha256))


def check_commit(repository: ServedRepository, commit: Commit) -> None:
    """Raise HubError 403 for a commit that the policy forbids; an incomplete draft has nothing to check yet."""
    _refuse(repository, _violations(repository, commit))


def sent_before(repository: ServedRepository, commit: Commit) -> dict[str, Blob]:
    """Return the files of a commit that a client need not send again; none of a commit that the policy forbids."""
    return {} if _violations(repository, commit) else dict(commit.files)


def find(repository: ServedRepository, sha256: str) -> Blob | None:
    """Return a stored file by its SHA-256: an uploaded one, or one of a version that may be disclosed.

    Others must be sent: otherwise a push could disclose a forbidden file under another name, by its hash alone.
    """
    blob = repository.uploaded(sha256)
    if blob is not None and sha256 not in repository.state.hashes:
        return blob
    if _against_all(repository, sha256):
        return None
    return blob or next((blob for _, blob in repository.holding(sha256)), None)


def _against_all(repository: ServedRepository, sha256: str) -> list[str]:
    """Return the violations of a file's versions; none where a version is allowed, or no version has the file."""
    violations: list[str] = []
    for version, _ in repository.holding(sha256):
        of_version = admission.violations(version, repository.registry.root)
        if not of_version:
            return []
        violations += of_version
    return violations


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
