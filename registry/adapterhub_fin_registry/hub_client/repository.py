"""Read one repository of a Hub: its versions by number, a commit's manifest and its files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin_registry.errors import Corrupted, NotAnAdapter, NotFound, Refused, Unreachable
from adapterhub_fin_registry.hub_client import manifests
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_client.download import CacheEntry, Download
from adapterhub_fin_registry.incoming import Incoming
from adapterhub_fin_registry.io.safe_read import SMALL
from adapterhub_fin_registry.model.file_rules import CONFIG, WEIGHTS, refusal, size_limit
from adapterhub_fin_registry.trust.signatures import LIMIT, MANIFEST

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

PICKLE: Final = "adapter_model.bin"  # of PEFT before safetensors
SIGNATURES: Final = "ahf_signatures"
_SIGNED: Final = 64  # signatures per version, all of which are read into memory
_TAG: Final = re.compile(r"v([1-9][0-9]{0,8})")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SIGNATURE: Final = re.compile(SIGNATURES + r"/[0-9a-f]{64}\.json")


@dataclass(frozen=True)
class ResolvedRevision:
    """Represent what a revision means on the Hub now: a commit, and the version number of its tag if it has one."""

    commit: str
    number: int | None = None


class HubRepository:
    """Read a model repository by its id, ORG/NAME. Every method raises what `Hub.ask` raises."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub, self.name = hub, name

    def __str__(self) -> str:
        return f"hf://{self.name}"

    def numbers(self) -> dict[int, str]:
        """Return the commit of every version, by its number. Only a tag vN makes a version."""
        tags = self.hub.ask(str(self), lambda: self.hub.api.list_repo_refs(self.name).tags)
        versions = ((_TAG.fullmatch(tag.name), tag.target_commit) for tag in tags)
        return {int(number[1]): self.checked(commit) for number, commit in versions if number}

    def commit(self, revision: str | None = None) -> str:
        """Return the commit that a branch, a tag or the start of a commit id means now. The default is `main`."""
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        what = f"{self}@{revision}" if revision else str(self)
        commit = self.hub.ask(what, lambda: self.hub.api.model_info(self.name, revision=revision).sha)
        return self.checked(commit)

    def resolve(self, revision: str | None) -> ResolvedRevision:
        """Return what a revision means now.

        Without a revision that is the highest version that isn't yanked, or the head of `main` where there are no
        versions. Raises NotFound for a revision that isn't there, and where every version was yanked.
        """
        tag = None if revision is None else _TAG.fullmatch(revision)
        if revision is not None and tag is None:
            return ResolvedRevision(self.commit(revision))
        numbers = self.numbers()
        if tag is not None and int(tag[1]) not in numbers:
            available = ", ".join(f"v{number}" for number in sorted(numbers)) or "no versions"
            raise NotFound(f"there is no {self}@{revision} on {self.hub.endpoint}: it has {available}")
        if not numbers:
            return ResolvedRevision(self.commit())
        number = max(self.standing(numbers)) if tag is None else int(tag[1])
        return ResolvedRevision(numbers[number], number)

    def standing(self, numbers: Mapping[int, str]) -> dict[int, str]:
        """Return the versions up to the highest one in the history of `main`, or all where none is in it.

        Higher versions were yanked: `ahf serve` still has their tags, and its `main` goes back to the highest version
        that isn't yanked. Raises NotFound where every version was yanked.
        """
        highest, head = max(numbers), self.commit()
        if numbers[highest] != head:
            with self.hub.translating_errors(str(self)):
                history = {entry.commit_id for entry in self.hub.api.list_repo_commits(self.name)}
            in_history = [number for number, commit in numbers.items() if commit in history]
            if not in_history and not self.files(head).keys() & {MANIFEST, CONFIG}:
                raise NotFound(f"every version of {self} was yanked: name one by its number")
            highest = max(in_history, default=highest)
        return {number: commit for number, commit in numbers.items() if number <= highest}

    def files(self, commit: str) -> dict[str, CacheEntry]:
        """Return every file of a commit by its path."""
        from huggingface_hub.hf_api import RepoFile

        with self.hub.translating_errors(f"{self}@{commit}"):
            listed = list(self.hub.api.list_repo_tree(self.name, recursive=True, revision=commit))
        return {file.path: self._entry(file) for file in listed if isinstance(file, RepoFile)}

    def manifest(self, commit: str) -> bytes | None:
        """Return the bytes of a commit's manifest, checked against the Hub's id of them; None where it has none.

        Raises Refused for a manifest that is too large, and Corrupted for other bytes than the Hub lists.
        """
        if (cached := manifests.recall(self.hub, self.name, commit)) is not None:
            return cached
        if (entry := self._manifest(commit)) is None:
            return None
        if entry.size > SMALL:
            raise Refused(f"{self}@{commit} has a manifest of {entry.size} bytes, more than {SMALL}: tell its owner")
        data = self._content(entry, commit)
        manifests.remember(self.hub, self.name, commit, data)
        return data

    def manifest_of(self, number: int, commit: str) -> bytes:
        """Return the bytes of a version's manifest. Raises Corrupted where the Hub has none."""
        if (data := self.manifest(commit)) is None:
            raise self._without_manifest(number, commit)
        return data

    def resolved_manifest(self, resolved: ResolvedRevision) -> bytes | None:
        """Return the manifest of a resolved revision; None for a third party's PEFT repository.

        Raises Corrupted where the revision is a version and the Hub has no manifest of it.
        """
        commit, number = resolved.commit, resolved.number
        return self.manifest(commit) if number is None else self.manifest_of(number, commit)

    def has_manifest(self, number: int, commit: str, manifest: bytes) -> bool:
        """Return whether a version's manifest has these bytes, by the id that the Hub lists: nothing is downloaded.

        Raises Corrupted where the Hub lists no manifest.
        """
        if (cached := manifests.recall(self.hub, self.name, commit)) is not None:
            return cached == manifest
        if (entry := self._manifest(commit)) is None:
            raise self._without_manifest(number, commit)
        return entry.holds(manifest)

    def check_published(self, number: int, commit: str, manifest: bytes) -> None:
        """Read the tag and the manifest of a version that was just published.

        Raises Unreachable where they aren't what was sent.
        """
        tagged = self.numbers().get(number)
        if tagged != commit:
            problem = "lists no such tag" if tagged is None else f"lists it at commit {tagged}"
            raise self._no_hub(f"reported that it tagged commit {commit} as v{number}, and {problem}: publish again")
        entry = self._manifest(commit)
        if entry is None or not entry.holds(manifest) or self._content(entry, commit) != manifest:
            raise self._no_hub(f"accepted v{number}, and has another {MANIFEST} at its commit {commit}, or none")

    def version(self, resolved: ResolvedRevision, manifest: bytes) -> Incoming:
        """Download the files and signatures of a commit with a manifest, and check their hashes.

        Before anything is downloaded, raises Refused for a file that is too large, and Corrupted for one that isn't
        listed or has another size than in the manifest.
        """
        from adapterhub_fin_registry.model.manifest import Manifest

        entries, available = [], self.files(resolved.commit)
        for path, size, sha256 in Manifest.parse(manifest).files:
            if size > size_limit(path):
                raise Refused(f"{path} of {self} has {size} bytes, and may have {size_limit(path)}: tell its owner")
            if path not in available or available[path].size != size:
                raise Corrupted(f"{path} of {self}@{resolved.commit} isn't what its manifest says: tell its owner")
            entries.append(replace(available[path], oid=sha256, lfs=True))  # the manifest's hash, not the Hub's
        download = Download(self.hub, self.name, resolved.commit)
        folder = download.folder(entries)
        signed = [path for path in sorted(available) if _SIGNATURE.fullmatch(path)]
        if len(signed) > _SIGNED or sum(available[path].size for path in signed) > LIMIT:
            raise Refused(
                f"{self}@{resolved.commit} has more signatures than {_SIGNED}, or larger ones: tell its owner"
            )
        signatures = tuple(download.content(available[path]) for path in signed)
        return Incoming(folder, manifest, resolved.number, signatures, self.origin(resolved))

    def third_party(self, resolved: ResolvedRevision, weights: Sequence[str]) -> Incoming:
        """Download a third party's PEFT folder: configuration, weights, and other files that a version may have.

        `weights` are file names; the first one that the commit has is taken. Each file is checked against the id that
        the Hub lists for it. Raises NotAnAdapter where the configuration or the weights are missing, and Refused for a
        file that is too large.
        """
        available = self.files(resolved.commit)
        if MANIFEST in available:
            raise self._no_hub(
                f"lists {MANIFEST} in the tree of commit {resolved.commit}, and answers that it doesn't have it"
            )
        chosen = next((name for name in weights if name in available), None)
        top_level = [path for path in available if "/" not in path and not path.endswith(".safetensors")]
        others = [path for path in top_level if not refusal(path)]
        if chosen is None and PICKLE in available:
            raise NotAnAdapter(
                f"{self} holds {PICKLE}, a pickle, which can run code when it is read: let its tensors alone be read "
                f"with `ahf import {self} --as NAMESPACE/NAME --allow-pickle` (allow_pickle=True)"
            )
        if CONFIG not in available or chosen is None:
            lacks = CONFIG if CONFIG not in available else " or ".join(weights)
            raise NotAnAdapter(f"{self}@{resolved.commit} holds no {lacks}, so it is no PEFT adapter: name another")
        limit = size_limit(WEIGHTS)
        for path in (chosen, *others):
            if available[path].size > (limit if path == chosen else size_limit(path)):
                raise Refused(
                    f"{path} of {self} has {available[path].size} bytes, more than it may have: import a folder"
                )
        entries = [available[path] for path in (chosen, *others)]
        folder = Download(self.hub, self.name, resolved.commit).folder(entries)
        number = next((number for number, commit in self.numbers().items() if commit == resolved.commit), None)
        return Incoming(folder, None, number, (), self.origin(resolved))

    def origin(self, resolved: ResolvedRevision) -> Mapping[str, Any]:
        """Return where a version comes from, in the form of its record."""
        tag = {} if resolved.number is None else {"tag": f"v{resolved.number}"}
        return {"endpoint": self.hub.endpoint, "repository": self.name, "commit": resolved.commit, **tag}

    def _manifest(self, commit: str) -> CacheEntry | None:
        """Return a commit's manifest as the Hub lists it; None where it lists none."""
        from huggingface_hub.hf_api import RepoFile

        listed = self.hub.ask(
            f"{self}@{commit}", lambda: self.hub.api.get_paths_info(self.name, [MANIFEST], revision=commit)
        )
        manifests = (file for file in listed if isinstance(file, RepoFile) and file.path == MANIFEST)
        return next((self._entry(file) for file in manifests), None)

    def _content(self, entry: CacheEntry, commit: str) -> bytes:
        return Download(self.hub, self.name, commit).content(entry)

    def _without_manifest(self, number: int, commit: str) -> Corrupted:
        return Corrupted(
            f"{self}@v{number} on {self.hub.endpoint} lacks {MANIFEST}, without which it is no version: tell its "
            f"owner, or, where the tag is another's own, take its commit in: `ahf import {self}@{commit} --as ORG/NAME`"
        )

    def _entry(self, listed: RepoFile) -> CacheEntry:
        try:
            return CacheEntry.of(listed)
        except ValueError as error:
            raise self._no_hub(f"lists a file in a form that no Hub has: {error}") from error

    def checked(self, commit: object) -> str:
        """Return a commit id of the Hub's, which becomes a part of paths. Raises Unreachable for an invalid one."""
        if not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
            raise self._no_hub("didn't say its commit")
        return commit

    def _no_hub(self, says: str) -> Unreachable:
        return Unreachable(f"{self} on {self.hub.endpoint} {says}; check HF_ENDPOINT, or tell its owner")
