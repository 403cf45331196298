"""A push: what a commit makes of the files there are, be it a version, a draft of one, or a card."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from adapterhub_fin_registry.hub_server.errors import HubError, bad_request
from adapterhub_fin_registry.hub_server.push.changes import Operations, applied
from adapterhub_fin_registry.hub_server.push.disclosure import check_files
from adapterhub_fin_registry.hub_server.push.quota import Quota
from adapterhub_fin_registry.hub_server.push.store import Candidate, rehearsed, rows, stored, tree_id
from adapterhub_fin_registry.hub_server.repo.draft_state import ALL_ROWS, Pushed, pushed_id, version_id
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories
from adapterhub_fin_registry.hub_server.repo.repository import MAIN, ServedRepository
from adapterhub_fin_registry.hub_server.repo.tree import SIGNATURES, Blob, Commit, is_beside, is_manifests
from adapterhub_fin_registry.incoming import Intake
from adapterhub_fin_registry.io.hash_cache import remembered
from adapterhub_fin_registry.model.manifest import Manifest
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.storage.transaction import now
from adapterhub_fin_registry.trust.signatures import MANIFEST

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"


def push(
    repositories: Repositories,
    intake: Intake,
    name: str,
    branch: str,
    asked: Operations,
    author: str,
    quota: Quota,
) -> Commit:
    """Apply a commit to a branch and give what it is from then on; the bytes of its files are already kept.

    On `main` a tree that is a whole adapter becomes the next version; one that isn't yet, or that is on another
    branch, is kept as a draft. A whole one that can't become a version is refused with the reason on any branch.
    """
    repository = repositories.get(name)
    if branch != MAIN and branch not in repository.kept.branches:
        repository.commit(branch)  # whether it is there at all
        raise bad_request(f"{branch} isn't a branch, and can't be pushed to: push to main")
    head = repository.commit(branch)
    if asked.parent is not None and asked.parent != head.id:
        raise HubError(412, f"{branch} is at {head.id} by now, not at {asked.parent[:40]}: read it and push again")
    tree = applied(head, asked)
    return _Push(repositories, intake, repository, branch, head, asked, author, quota).settle(tree)


@dataclass
class _Push:
    repositories: Repositories
    intake: Intake
    repository: ServedRepository
    branch: str
    head: Commit
    asked: Operations
    author: str
    quota: Quota

    def settle(self, tree: dict[str, Blob]) -> Commit:
        beside = {path: blob for path, blob in tree.items() if is_beside(path)}
        files = {path: blob for path, blob in tree.items() if not is_beside(path) and not is_manifests(path)}
        version = self.head.version
        if version is not None and self._says_the_same(version, tree, files):
            self._sign(version, tree)
            return self._beside(version, beside)
        manifest = self._manifest(tree)
        if manifest is not None:
            files = self._named_by(manifest, files)
        else:
            _check_weights(files)
        # What the head gives to what is made of it.
        check_files(self.repository, self.head, (files[path] for path in files.keys() - self.asked.files.keys()))
        whole = {CONFIG, WEIGHTS} if manifest is None else {file.path for file in manifest.files}
        brought = {path: blob for path, blob in tree.items() if is_manifests(path) and self._is_pushed(path)}
        if whole - files.keys():
            return self._draft({**files, **brought, **self._own(beside)})
        if manifest is None:
            _check_flat(files)
        signatures = tuple(tree[path].read() for path in sorted(brought) if path.startswith(SIGNATURES))
        candidate = Candidate(self.repository.name, files, manifest, signatures, self.author)
        if self.branch != MAIN:
            return self._whole_draft(candidate, {**files, **brought, **self._own(beside)})
        return self._born(candidate, self._own(beside))

    def _says_the_same(self, version: Version, tree: dict[str, Blob], files: dict[str, Blob]) -> bool:
        """Whether the tree's adapter is the head's, its manifest as it was, or left out of what was changed."""
        manifest = tree.get(MANIFEST)
        if manifest is not None and f"sha256:{manifest.sha256}" != version.digest:
            return False
        said = {path: sha256 for path, _, sha256 in version.plain(lambda data: data["files"])}
        # What was taken in may have been repaired: its record has what came, for a push whose answer was lost.
        as_pushed = (version.record["origin"] or {}).get("pushed") == tree_id(files)
        return as_pushed or {path: blob.sha256 for path, blob in files.items()} == said

    def _sign(self, version: Version, tree: dict[str, Blob]) -> None:
        """Take signatures in that came for a version which is there already."""
        for path in self.head.files:
            if is_manifests(path) and path not in tree:
                raise bad_request(f"{path} is of v{version.number} and stays with it: push another adapter, or nothing")
        for path, blob in self.asked.files.items():
            if path.startswith(SIGNATURES) and path not in self.head.files:
                self.repositories.registry.add_signature(version.reference, blob.read())

    def _beside(self, version: Version, beside: dict[str, Blob]) -> Commit:
        """Another card on the same version."""
        own, id_ = self._own(beside), version_id(version.digest)
        birth = self.repository.kept.commit(id_)
        if rows(own) != (birth.files if birth else ()):
            return self._committed(version.digest, own)
        if self.head.id != id_:  # the card that it came with again
            kept = self.repository.kept
            others = {name: at for name, at in kept.branches.items() if name != self.branch}
            branches = others if self.branch == MAIN else {**others, self.branch: id_}
            self.repositories.state.write(self.repository.name, replace(kept, branches=branches))
        return self.repositories.get(self.repository.name).commit(id_)

    def _draft(self, files: dict[str, Blob], manifest: str = "") -> Commit:
        for path, blob in sorted(files.items()):  # a draft must not lose what a deleted version held
            files[path] = self._held(blob)
        return self._committed(None, files, manifest=manifest)

    def _whole_draft(self, candidate: Candidate, kept: dict[str, Blob]) -> Commit:
        """A draft that every check agrees to as to a version."""
        manifest = rehearsed(candidate, self.repositories.registry, self.repositories.state, self.intake)
        return self._draft(kept, self._held(Blob.of(manifest)).sha256)

    def _born(self, candidate: Candidate, beside: dict[str, Blob]) -> Commit:
        state, name = self.repositories.state, self.repository.name
        # What was sent is counted already; what the version has of others before it, is copied.
        copied = sum(blob.size for blob in candidate.files.values() if blob.path != state.blob(name, blob.sha256))
        self.quota.check(self.repository.namespace, self.author, copied)
        version = stored(candidate, self.repositories.registry, state, self.intake)
        self._committed(version.digest, beside, birth=True)
        state.discard(name, [blob.sha256 for blob in candidate.files.values()])
        return self.repositories.get(name).commit(version_id(version.digest))

    def _committed(
        self, version: str | None, files: dict[str, Blob], *, birth: bool = False, manifest: str = ""
    ) -> Commit:
        """Keep what no version holds, at the tip of the branch; `birth` where the version was just stored."""
        name, state = self.repository.name, self.repositories.state
        newest = self.repository.newest
        on = newest.digest if newest else None
        kept = rows(files)
        id_ = version_id(version) if birth and version else pushed_id(version, on, kept)
        if id_ == self.head.id:
            return self.head
        pushed = Pushed(id_, version, on, kept, self.asked.title, self.asked.message, self.author, now(), manifest)
        after = self.repository.kept.with_commit(self.branch, pushed, birth=birth)
        if not birth and sum(len(commit.files) for commit in after.commits) > ALL_ROWS:
            raise bad_request(f"the drafts of {name} have more than {ALL_ROWS} files in all: delete a branch first")
        state.write(name, after)
        return self.repositories.get(name).commit(id_)

    def _manifest(self, tree: dict[str, Blob]) -> Manifest | None:
        """The manifest that was pushed with the tree; that of a version before is void once its files change."""
        if MANIFEST not in tree or not self._is_pushed(MANIFEST):
            if any(path.startswith(SIGNATURES) for path in self.asked.files):
                raise bad_request("a signature is over a manifest: push ahf_manifest.json with it")
            return None
        return Manifest.parse(tree[MANIFEST].read())

    def _is_pushed(self, path: str) -> bool:
        """Whether a file came with this push, or with a draft that it goes on from."""
        return path in self.asked.files or (self.head.version is None and path in self.head.files)

    def _named_by(self, manifest: Manifest, files: dict[str, Blob]) -> dict[str, Blob]:
        """The files that a manifest names; others of the version before are left behind, and none may be pushed."""
        named = {file.path: file for file in manifest.files}
        for path, blob in sorted(files.items()):
            if path not in named and self._is_pushed(path):
                raise bad_request(f"{path} is pushed and not named by ahf_manifest.json: leave it out, or name it")
            if path in named and (blob.size, blob.sha256) != (named[path].size, named[path].sha256):
                raise bad_request(f"{path} isn't what ahf_manifest.json says of it: push the one that belongs to it")
        return {path: blob for path, blob in files.items() if path in named}

    def _own(self, beside: dict[str, Blob]) -> dict[str, Blob]:
        """The card and its like where they were pushed, not those that are made here for a version."""
        return {path: blob for path, blob in beside.items() if blob.path is not None}

    def _held(self, blob: Blob) -> Blob:
        state, name = self.repositories.state, self.repository.name
        kept = state.blob(name, blob.sha256)
        if not kept.exists():
            self.quota.check(self.repository.namespace, self.author, blob.size)
            with state.workshop() as workshop:
                if blob.data is not None:
                    state.disk.write(workshop / "blob", blob.data)
                else:
                    with remembered(self.repositories.registry.id) as memory, blob.open(memory) as source:
                        state.disk.copy(source, workshop / "blob", blob.size)
                state.keep(name, workshop / "blob", blob.sha256, self.author)
        return Blob(blob.size, blob.sha256, kept)


def _check_weights(files: Iterable[str]) -> None:
    for path in sorted(files):
        if path.endswith(".safetensors") and path != WEIGHTS:
            raise bad_request(
                f"{path} isn't an adapter's weights: push {CONFIG} with {WEIGHTS}, as PEFT saves them, or an "
                f"{MANIFEST} that says what it is"
            )


def _check_flat(files: Iterable[str]) -> None:
    for path in sorted(files):
        if "/" in path:  # which taking in would leave behind without a word
            raise bad_request(
                f"{path} is in a folder, which a plain PEFT adapter has none of: take it out, or push an {MANIFEST} "
                "that names it"
            )
