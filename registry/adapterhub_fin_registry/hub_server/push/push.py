"""Apply a commit to a branch: it makes a version, a draft of one, or a new card."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from adapterhub_fin_registry.hub_server.errors import HubError, bad_request
from adapterhub_fin_registry.hub_server.push.disclosure import check_files
from adapterhub_fin_registry.hub_server.push.operations import Operations, applied
from adapterhub_fin_registry.hub_server.push.quota import Quota
from adapterhub_fin_registry.hub_server.push.store import Candidate, dry_run, rows, store, tree_id
from adapterhub_fin_registry.hub_server.repo.draft_state import ALL_ROWS, Pushed, pushed_id, version_id
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories
from adapterhub_fin_registry.hub_server.repo.repository import MAIN, ServedRepository
from adapterhub_fin_registry.hub_server.repo.tree import SIGNATURES, Blob, Commit, is_manifest_file, is_repository_file
from adapterhub_fin_registry.incoming import Intake
from adapterhub_fin_registry.io.hash_cache import remembered
from adapterhub_fin_registry.model.file_rules import CONFIG, WEIGHTS
from adapterhub_fin_registry.model.manifest import Manifest
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.storage.transaction import now
from adapterhub_fin_registry.trust.signatures import MANIFEST


def push(
    repositories: Repositories,
    intake: Intake,
    name: str,
    branch: str,
    operations: Operations,
    author: str,
    quota: Quota,
) -> Commit:
    """Apply a commit, whose files are already in the state, to a branch, and return the new tip.

    On `main` a complete adapter becomes the next version. An incomplete one, or one on another branch, becomes a draft.
    Raises HubError 400 or 412 for an invalid commit, 403 and 507 for policy and quota, and on any branch 400 with the
    reason for a complete adapter that can't become a version.
    """
    repository = repositories.get(name)
    if branch != MAIN and branch not in repository.state.branches:
        repository.commit(branch)  # raises 404 for an unknown revision
        raise bad_request(f"{branch} isn't a branch, and can't be pushed to: push to main")
    head = repository.commit(branch)
    if operations.parent is not None and operations.parent != head.id:
        raise HubError(412, f"{branch} is at {head.id} by now, not at {operations.parent[:40]}: read it and push again")
    tree = applied(head, operations)
    return _Push(repositories, intake, repository, branch, head, operations, author, quota).settle(tree)


@dataclass
class _Push:
    repositories: Repositories
    intake: Intake
    repository: ServedRepository
    branch: str
    head: Commit
    operations: Operations
    author: str
    quota: Quota

    def settle(self, tree: dict[str, Blob]) -> Commit:
        """Return the commit that a tree becomes: a version, a draft, or another card on the head's version."""
        repository_files = {path: blob for path, blob in tree.items() if is_repository_file(path)}
        manifest_paths = {path for path in tree if is_manifest_file(path)}
        files = {path: tree[path] for path in tree if path not in repository_files.keys() | manifest_paths}
        version = self.head.version
        if version is not None and self._is_same_adapter(version, tree, files):
            self._sign(version, tree)
            return self._with_card(version, repository_files)
        manifest = self._manifest(tree)
        if manifest is not None:
            files = self._select_listed(manifest, files)
        else:
            _check_weights(files)
        # The result discloses the files that it takes from the head.
        check_files(self.repository, self.head, (files[path] for path in files.keys() - self.operations.files.keys()))
        required = {CONFIG, WEIGHTS} if manifest is None else {file.path for file in manifest.files}
        manifest_files = {path: tree[path] for path in manifest_paths if self._is_pushed(path)}
        repository_files = _pushed_files(repository_files)
        if required - files.keys():
            return self._draft({**files, **manifest_files, **repository_files})
        if manifest is None:
            _check_flat(files)
        signatures = tuple(tree[path].read() for path in sorted(manifest_files) if path.startswith(SIGNATURES))
        candidate = Candidate(self.repository.name, files, manifest, signatures, self.author)
        if self.branch != MAIN:
            return self._complete_draft(candidate, {**files, **manifest_files, **repository_files})
        return self._new_version(candidate, repository_files)

    def _is_same_adapter(self, version: Version, tree: dict[str, Blob], files: dict[str, Blob]) -> bool:
        """Return whether the tree has the head's adapter, with its manifest unchanged or left out."""
        manifest = tree.get(MANIFEST)
        if manifest is not None and f"sha256:{manifest.sha256}" != version.digest:
            return False
        recorded = {path: sha256 for path, _, sha256 in version.plain(lambda data: data["files"])}
        # Storing may have repaired files. The record has the pushed ones, so that a push whose answer was lost matches.
        as_pushed = (version.record["origin"] or {}).get("pushed") == tree_id(files)
        return as_pushed or {path: blob.sha256 for path, blob in files.items()} == recorded

    def _sign(self, version: Version, tree: dict[str, Blob]) -> None:
        """Add pushed signatures to a version that exists already."""
        for path in self.head.files:
            if is_manifest_file(path) and path not in tree:
                raise bad_request(f"{path} is of v{version.number} and stays with it: push another adapter, or nothing")
        for path, blob in self.operations.files.items():
            if path.startswith(SIGNATURES) and path not in self.head.files:
                self.repositories.registry.add_signature(version.reference, blob.read())

    def _with_card(self, version: Version, repository_files: dict[str, Blob]) -> Commit:
        """Commit another card on the same version."""
        pushed, id_ = _pushed_files(repository_files), version_id(version.digest)
        birth = self.repository.state.commit(id_)
        if rows(pushed) != (birth.files if birth else ()):
            return self._committed(version.digest, pushed)
        if self.head.id != id_:  # back to the card with which the version was stored
            state = self.repository.state
            branches = {name: tip for name, tip in state.branches.items() if name != self.branch}
            if self.branch != MAIN:
                branches[self.branch] = id_
            self.repositories.state.write(self.repository.name, replace(state, branches=branches))
        return self.repositories.get(self.repository.name).commit(id_)

    def _draft(self, files: dict[str, Blob], manifest: str = "") -> Commit:
        for path, blob in sorted(files.items()):  # a draft keeps its files when a version is deleted
            files[path] = self._stored_blob(blob)
        return self._committed(None, files, manifest=manifest)

    def _complete_draft(self, candidate: Candidate, files: dict[str, Blob]) -> Commit:
        """Commit a complete draft, once it passes every check of a version."""
        manifest = dry_run(candidate, self.repositories.registry, self.repositories.state, self.intake)
        return self._draft(files, self._stored_blob(Blob.of(manifest)).sha256)

    def _new_version(self, candidate: Candidate, repository_files: dict[str, Blob]) -> Commit:
        state, name = self.repositories.state, self.repository.name
        # The sent files are counted already; files of earlier versions are copied.
        copied = sum(blob.size for blob in candidate.files.values() if blob.path != state.blob(name, blob.sha256))
        self.quota.check(self.repository.namespace, self.author, copied)
        version = store(candidate, self.repositories.registry, state, self.intake)
        self._committed(version.digest, repository_files, birth=True)
        state.discard(name, [blob.sha256 for blob in candidate.files.values()])
        return self.repositories.get(name).commit(version_id(version.digest))

    def _committed(
        self, version: str | None, files: dict[str, Blob], *, birth: bool = False, manifest: str = ""
    ) -> Commit:
        """Write a commit with files that no version has to the tip of the branch.

        `birth` means that the version was just stored, and the commit is its own.
        """
        name, state = self.repository.name, self.repositories.state
        newest = self.repository.newest
        base = newest.digest if newest else None
        stored_rows = rows(files)
        id_ = version_id(version) if birth and version else pushed_id(version, base, stored_rows)
        if id_ == self.head.id:
            return self.head
        title, message = self.operations.title, self.operations.message
        pushed = Pushed(id_, version, base, stored_rows, title, message, self.author, now(), manifest)
        after = self.repository.state.with_commit(self.branch, pushed, birth=birth)
        if not birth and sum(len(commit.files) for commit in after.commits) > ALL_ROWS:
            raise bad_request(f"the drafts of {name} have more than {ALL_ROWS} files in all: delete a branch first")
        state.write(name, after)
        return self.repositories.get(name).commit(id_)

    def _manifest(self, tree: dict[str, Blob]) -> Manifest | None:
        """Return the pushed manifest; None without one, since an older version's doesn't fit the changed files."""
        if MANIFEST not in tree or not self._is_pushed(MANIFEST):
            if any(path.startswith(SIGNATURES) for path in self.operations.files):
                raise bad_request("a signature is over a manifest: push ahf_manifest.json with it")
            return None
        return Manifest.parse(tree[MANIFEST].read())

    def _is_pushed(self, path: str) -> bool:
        """Return whether a file came with this push, or with the draft that it continues."""
        return path in self.operations.files or (self.head.version is None and path in self.head.files)

    def _select_listed(self, manifest: Manifest, files: dict[str, Blob]) -> dict[str, Blob]:
        """Return the files that a manifest lists. Others of an older version are left out; others can't be pushed."""
        listed = {file.path: file for file in manifest.files}
        for path, blob in sorted(files.items()):
            if path not in listed and self._is_pushed(path):
                raise bad_request(f"{path} is pushed and not named by ahf_manifest.json: leave it out, or name it")
            if path in listed and (blob.size, blob.sha256) != (listed[path].size, listed[path].sha256):
                raise bad_request(f"{path} isn't what ahf_manifest.json says of it: push the one that belongs to it")
        return {path: blob for path, blob in files.items() if path in listed}

    def _stored_blob(self, blob: Blob) -> Blob:
        """Return the blob with its bytes in the state, after copying them there if they are elsewhere."""
        state, name = self.repositories.state, self.repository.name
        path = state.blob(name, blob.sha256)
        if not path.exists():
            self.quota.check(self.repository.namespace, self.author, blob.size)
            with state.work_folder() as work_folder:
                if blob.data is not None:
                    state.disk.write(work_folder / "blob", blob.data)
                else:
                    with remembered(self.repositories.registry.id) as memory, blob.open(memory) as source:
                        state.disk.copy(source, work_folder / "blob", blob.size)
                state.keep(name, work_folder / "blob", blob.sha256, self.author)
        return Blob(blob.size, blob.sha256, path)


def _pushed_files(files: dict[str, Blob]) -> dict[str, Blob]:
    """Return the files that were pushed, without a card that was generated for a version."""
    return {path: blob for path, blob in files.items() if blob.path is not None}


def _check_weights(files: Iterable[str]) -> None:
    for path in sorted(files):
        if path.endswith(".safetensors") and path != WEIGHTS:
            raise bad_request(
                f"{path} isn't an adapter's weights: push {CONFIG} with {WEIGHTS}, as PEFT saves them, or an "
                f"{MANIFEST} that says what it is"
            )


def _check_flat(files: Iterable[str]) -> None:
    for path in sorted(files):
        if "/" in path:  # storing would leave it out silently
            raise bad_request(
                f"{path} is in a folder, which a plain PEFT adapter has none of: take it out, or push an {MANIFEST} "
                "that names it"
            )
