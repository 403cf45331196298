"""One repository on a Hub, read: its versions by number, a commit's manifest, its files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin_registry.errors import Corrupted, NotAnAdapter, NotFound, Refused, Unreachable
from adapterhub_fin_registry.hub_client import manifests
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_client.download import Download
from adapterhub_fin_registry.hub_client.entry import CacheEntry
from adapterhub_fin_registry.incoming import Incoming
from adapterhub_fin_registry.io.safe_read import SMALL
from adapterhub_fin_registry.model.file_rules import refusal, size_limit
from adapterhub_fin_registry.trust.signatures import LIMIT, MANIFEST

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

_CONFIG: Final = "adapter_config.json"
PICKLE: Final = "adapter_model.bin"  # of PEFT before safetensors
SIGNATURES: Final = "ahf_signatures"
_SIGNED: Final = 64  # signatures of one version, each of which is held
_TAG: Final = re.compile(r"v([1-9][0-9]{0,8})")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SIGNATURE: Final = re.compile(SIGNATURES + r"/[0-9a-f]{64}\.json")


@dataclass(frozen=True)
class Pinned:
    """What a reference means on a Hub at this moment: a commit, and the number that its tag gives it, if one does."""

    commit: str
    number: int | None = None


class HubRepository:
    """A repository of models by its id, ORG/NAME."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub, self.name = hub, name

    def __str__(self) -> str:
        return f"hf://{self.name}"

    def numbers(self) -> dict[int, str]:
        """The commit of every version, by its number: only a tag vN makes a version."""
        tags = self.hub.ask(str(self), lambda: self.hub.api.list_repo_refs(self.name).tags)
        found = ((_TAG.fullmatch(tag.name), tag.target_commit) for tag in tags)
        return {int(number[1]): self.checked(commit) for number, commit in found if number}

    def commit(self, revision: str | None = None) -> str:
        """The commit that a branch, a tag or a part of an id means now; without one, the head's."""
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        what = f"{self}@{revision}" if revision else str(self)
        commit = self.hub.ask(what, lambda: self.hub.api.model_info(self.name, revision=revision).sha)
        return self.checked(commit)

    def pin(self, revision: str | None) -> Pinned:
        """What a revision means now. Without one, the highest that stands, or the head where there are no versions."""
        tag = None if revision is None else _TAG.fullmatch(revision)
        if revision is not None and tag is None:
            return Pinned(self.commit(revision))
        numbers = self.numbers()
        if tag is not None and int(tag[1]) not in numbers:
            there = ", ".join(f"v{number}" for number in sorted(numbers)) or "no versions"
            raise NotFound(f"there is no {self}@{revision} on {self.hub.endpoint}: it has {there}")
        if not numbers:
            return Pinned(self.commit())
        number = max(self.standing(numbers)) if tag is None else int(tag[1])
        return Pinned(numbers[number], number)

    def standing(self, numbers: Mapping[int, str]) -> dict[int, str]:
        """The versions up to the highest that `main` rests on, or all where it rests on none of them.

        What is above was yanked: `ahf serve` has it still by its tag, and its `main` goes back to what isn't. NotFound
        where nothing is left.
        """
        highest, head = max(numbers), self.commit()
        if numbers[highest] != head:
            with self.hub.asked(str(self)):
                history = {each.commit_id for each in self.hub.api.list_repo_commits(self.name)}
            rested = [number for number, commit in numbers.items() if commit in history]
            if not rested and not self.files(head).keys() & {MANIFEST, _CONFIG}:
                raise NotFound(f"every version of {self} was yanked: name one by its number")
            highest = max(rested, default=highest)
        return {number: commit for number, commit in numbers.items() if number <= highest}

    def files(self, commit: str) -> dict[str, CacheEntry]:
        """Every file of a commit by its path."""
        from huggingface_hub.hf_api import RepoFile

        with self.hub.asked(f"{self}@{commit}"):
            listed = list(self.hub.api.list_repo_tree(self.name, recursive=True, revision=commit))
        return {each.path: self._entry(each) for each in listed if isinstance(each, RepoFile)}

    def manifest(self, commit: str) -> bytes | None:
        """The manifest's bytes of a commit, as the Hub's own id of them has it; None where it holds none."""
        if (kept := manifests.recall(self.hub, self.name, commit)) is not None:
            return kept
        if (entry := self._manifest(commit)) is None:
            return None
        if entry.size > SMALL:
            raise Refused(f"{self}@{commit} has a manifest of {entry.size} bytes, which none needs: tell its owner")
        data = self._content(entry, commit)
        manifests.learn(self.hub, self.name, commit, data)
        return data

    def manifest_of(self, number: int, commit: str) -> bytes:
        """Return the bytes of a version's manifest; raises Corrupted where the Hub gives none, and no version."""
        if (data := self.manifest(commit)) is None:
            raise self._without_manifest(number, commit)
        return data

    def pinned_manifest(self, pinned: Pinned) -> bytes | None:
        """Return the manifest of what a reference means; None for what others published.

        Raises Corrupted where the reference means a version, and the Hub gives no manifest of it.
        """
        return self.manifest(pinned.commit) if pinned.number is None else self.manifest_of(pinned.number, pinned.commit)

    def has_manifest(self, number: int, commit: str, manifest: bytes) -> bool:
        """Return whether a version's manifest has these bytes, by what the Hub lists: nothing is downloaded.

        Raises Corrupted where it lists none.
        """
        if (kept := manifests.recall(self.hub, self.name, commit)) is not None:
            return kept == manifest
        if (entry := self._manifest(commit)) is None:
            raise self._without_manifest(number, commit)
        return entry.holds(manifest)

    def check_published(self, number: int, commit: str, manifest: bytes) -> None:
        """Read back a version that was just written; raises Unreachable where it isn't there as it was sent.

        Its tag is read, and the bytes of its manifest are downloaded.
        """
        there = self.numbers().get(number)
        if there != commit:
            found = "lists no such tag" if there is None else f"lists it at commit {there}"
            raise self._no_hub(f"said that it tagged commit {commit} as v{number}, and {found}: publish again")
        entry = self._manifest(commit)
        if entry is None or not entry.holds(manifest) or self._content(entry, commit) != manifest:
            raise self._no_hub(f"took v{number}, and gives another {MANIFEST} at its commit {commit}, or none")

    def version(self, pinned: Pinned, manifest: bytes) -> Incoming:
        """The files and signatures of a commit with a manifest, downloaded, and hashed before they are given.

        What is too large, or listed in another size than the manifest's, is Refused before any of it is downloaded.
        """
        from adapterhub_fin_registry.model.manifest import Manifest

        wanted, there = [], self.files(pinned.commit)
        for path, size, sha256 in Manifest.parse(manifest).files:
            if size > size_limit(path):
                raise Refused(f"{path} of {self} has {size} bytes, and may have {size_limit(path)}: tell its owner")
            if path not in there or there[path].size != size:
                raise Corrupted(f"{path} of {self}@{pinned.commit} isn't what its manifest says: tell its owner")
            wanted.append(replace(there[path], oid=sha256, lfs=True))  # the manifest's word counts, not the list's
        download = Download(self.hub, self.name, pinned.commit)
        folder = download.folder(wanted)
        signed = [path for path in sorted(there) if _SIGNATURE.fullmatch(path)]
        if len(signed) > _SIGNED or sum(there[path].size for path in signed) > LIMIT:
            raise Refused(f"{self}@{pinned.commit} has more signatures than {_SIGNED}, or larger ones: tell its owner")
        signatures = tuple(download.content(there[path]) for path in signed)
        return Incoming(folder, manifest, pinned.number, signatures, self.origin(pinned))

    def foreign(self, pinned: Pinned, weights: Sequence[str]) -> Incoming:
        """A PEFT folder that others published: its configuration, the weights that may be read, and what goes with it.

        Of `weights`, which are names, the first that is there is taken; what may not be stored isn't downloaded. Each
        file has the id that the Hub lists for it.
        """
        there = self.files(pinned.commit)
        if MANIFEST in there:
            raise self._no_hub(
                f"lists {MANIFEST} in the tree of commit {pinned.commit}, and denies it when it is asked"
            )
        chosen = next((name for name in weights if name in there), None)
        others = [path for path in there if "/" not in path and not refusal(path) and not path.endswith(".safetensors")]
        if chosen is None and PICKLE in there:
            raise NotAnAdapter(
                f"{self} holds {PICKLE}, a pickle, which can run code when it is read: let its tensors alone be read "
                f"with `ahf import {self} --as NAMESPACE/NAME --allow-pickle` (allow_pickle=True)"
            )
        if _CONFIG not in there or chosen is None:
            lacks = _CONFIG if _CONFIG not in there else " or ".join(weights)
            raise NotAnAdapter(f"{self}@{pinned.commit} holds no {lacks}, so it is no PEFT adapter: name another")
        limit = size_limit("adapter_model.safetensors")
        for path in (chosen, *others):
            if there[path].size > (limit if path == chosen else size_limit(path)):
                raise Refused(f"{path} of {self} has {there[path].size} bytes, more than it may have: import a folder")
        entries = [there[path] for path in (chosen, *others)]
        folder = Download(self.hub, self.name, pinned.commit).folder(entries)
        number = next((number for number, commit in self.numbers().items() if commit == pinned.commit), None)
        return Incoming(folder, None, number, (), self.origin(pinned))

    def origin(self, pinned: Pinned) -> Mapping[str, Any]:
        """Where a version is from, as its record keeps it."""
        tag = {} if pinned.number is None else {"tag": f"v{pinned.number}"}
        return {"endpoint": self.hub.endpoint, "repository": self.name, "commit": pinned.commit, **tag}

    def _manifest(self, commit: str) -> CacheEntry | None:
        """A commit's manifest as the Hub lists it."""
        from huggingface_hub.hf_api import RepoFile

        listed = self.hub.ask(
            f"{self}@{commit}", lambda: self.hub.api.get_paths_info(self.name, [MANIFEST], revision=commit)
        )
        found = (each for each in listed if isinstance(each, RepoFile) and each.path == MANIFEST)
        return next((self._entry(each) for each in found), None)

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
            raise self._no_hub(f"lists what no Hub lists: {error}") from error

    def checked(self, commit: object) -> str:
        """Return a commit as the Hub says it, which becomes a part of paths and of addresses, or raise Unreachable."""
        if not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
            raise self._no_hub("didn't say its commit")
        return commit

    def _no_hub(self, says: str) -> Unreachable:
        return Unreachable(f"{self} on {self.hub.endpoint} {says}; check HF_ENDPOINT, or tell its owner")
