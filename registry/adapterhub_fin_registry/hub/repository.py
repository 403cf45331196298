"""One repository on a Hub, read: its versions by number, a commit's manifest, its files."""

from __future__ import annotations

import glob
import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from adapterhub_fin_registry.errors import Corrupted, NotAnAdapter, NotFound, Refused, Unreachable
from adapterhub_fin_registry.hub.client import Hub, transferring
from adapterhub_fin_registry.incoming import Incoming
from adapterhub_fin_registry.paths import refusal, size_limit
from adapterhub_fin_registry.reading import SMALL, hash_file
from adapterhub_fin_registry.signatures import LIMIT, MANIFEST

PICKLE: Final = "adapter_model.bin"  # of PEFT before safetensors
SIGNATURES: Final = "ahf_signatures"
_TAG: Final = re.compile(r"v([1-9][0-9]{0,8})")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SIGNATURE: Final = re.compile(SIGNATURES + r"/[0-9a-f]{64}\.json")


@dataclass(frozen=True)
class Pinned:
    """What a reference means on a Hub at this moment: a commit, and the number that its tag gives it, if one does."""

    commit: str
    number: int | None = None


@dataclass(frozen=True)
class Entry:
    """A file of a commit, as the Hub lists it: `oid` is git's id, or the sha256 of what is kept apart as LFS."""

    path: str
    size: int
    oid: str
    lfs: bool

    def holds(self, data: bytes) -> bool:
        """Whether these are its bytes."""
        return self.oid == (hashlib.sha256(data).hexdigest() if self.lfs else _git_oid(data))


class Repository:
    """A repository of models by its id, ORG/NAME."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub, self.name = hub, name

    def __str__(self) -> str:
        return f"hf://{self.name}"

    def numbers(self) -> dict[int, str]:
        """The commit of every version, by its number: only a tag vN makes a version."""
        with self.hub.asked(str(self)):
            tags = self.hub.api.list_repo_refs(self.name).tags
        found = ((_TAG.fullmatch(tag.name), tag.target_commit) for tag in tags)
        return {int(number[1]): commit for number, commit in found if number}

    def commit(self, revision: str | None = None) -> str:
        """The commit that a branch, a tag or a part of an id means now; without one, the head's."""
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        with self.hub.asked(f"{self}@{revision}" if revision else str(self)):
            commit = self.hub.api.model_info(self.name, revision=revision).sha
        if commit is None or not _COMMIT.fullmatch(commit):
            raise Unreachable(f"{self} on {self.hub.endpoint} didn't say its commit: check HF_ENDPOINT")
        return commit

    def pin(self, revision: str | None) -> Pinned:
        """What a revision means now. Without one, the highest version, or the head where there are no versions."""
        tag = None if revision is None else _TAG.fullmatch(revision)
        if revision is not None and tag is None:
            return Pinned(self.commit(revision))
        numbers = self.numbers()
        if tag is not None and int(tag[1]) not in numbers:
            there = ", ".join(f"v{number}" for number in sorted(numbers)) or "no versions"
            raise NotFound(f"there is no {self}@{revision} on {self.hub.endpoint}: it has {there}")
        if not numbers:
            return Pinned(self.commit())
        number = max(numbers) if tag is None else int(tag[1])
        return Pinned(numbers[number], number)

    def files(self, commit: str) -> dict[str, Entry]:
        """Every file of a commit by its path."""
        from huggingface_hub.hf_api import RepoFile

        with self.hub.asked(f"{self}@{commit}"):
            listed = list(self.hub.api.list_repo_tree(self.name, recursive=True, revision=commit))
        return {each.path: _entry(each) for each in listed if isinstance(each, RepoFile)}

    def manifest(self, commit: str) -> bytes | None:
        """The manifest's bytes of a commit, as the Hub's own id of them has it; None where it holds none."""
        from huggingface_hub import try_to_load_from_cache

        if self.hub.offline:
            cached = try_to_load_from_cache(self.name, MANIFEST, revision=commit)
            if not isinstance(cached, str):
                raise Unreachable(f"{self}@{commit} isn't on this machine, and HF_HUB_OFFLINE is set: unset it to ask")
            return Path(cached).read_bytes()
        with self.hub.asked(f"{self}@{commit}"):
            listed = self.hub.api.get_paths_info(self.name, [MANIFEST], revision=commit)
        if not listed:
            return None
        entry = _entry(listed[0])
        if entry.size > SMALL:
            raise Refused(f"{self}@{commit} has a manifest of {entry.size} bytes, which none needs: tell its owner")
        return self._fetched(commit, entry).read_bytes()

    @contextmanager
    def version(self, pinned: Pinned, manifest: bytes) -> Iterator[Incoming]:
        """The files and signatures of a commit with a manifest, downloaded, and hashed before they are given.

        What is too large, or listed in another size than the manifest's, is Refused before any of it is downloaded.
        """
        from adapterhub_fin_registry.manifest import Manifest

        wanted, there = Manifest.parse(manifest).files, self.files(pinned.commit)
        for path, size, _ in wanted:
            if size > size_limit(path):
                raise Refused(f"{path} of {self} has {size} bytes, and may have {size_limit(path)}: tell its owner")
            if path not in there or there[path].size != size:
                raise Corrupted(f"{path} of {self}@{pinned.commit} isn't what its manifest says: tell its owner")
        signed = [path for path in sorted(there) if _SIGNATURE.fullmatch(path) and there[path].size <= LIMIT]
        folder = self._snapshot(pinned.commit, [*(file.path for file in wanted), *signed])
        with TemporaryDirectory(prefix="ahf-pull-") as place:
            for path, size, sha256 in wanted:
                source = folder / path
                if hash_file(source.resolve()) != (size, sha256):  # perhaps only what lay in the client's cache
                    source = self._download(pinned.commit, path, force=True)
                    if hash_file(source.resolve()) != (size, sha256):
                        source.resolve().unlink()
                        source.unlink(missing_ok=True)
                        raise Corrupted(
                            f"{path} of {self}@{pinned.commit} has other bytes than its manifest says: try again, and "
                            "tell its owner if it stays so"
                        )
                target = Path(place) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            signatures = tuple((folder / path).read_bytes() for path in signed)
            yield Incoming(Path(place), manifest, pinned.number, signatures, self.origin(pinned))

    @contextmanager
    def foreign(self, pinned: Pinned, weights: Sequence[str]) -> Iterator[Incoming]:
        """A PEFT folder that others published: its configuration, the weights that may be read, and what goes with it.

        It is a folder of the client's cache, whose files are links. `weights` are names, of which the first that is
        there is taken; what may not be stored isn't downloaded.
        """
        there = self.files(pinned.commit)
        chosen = next((name for name in weights if name in there), None)
        others = [path for path in there if "/" not in path and not refusal(path) and not path.endswith(".safetensors")]
        if chosen is None and PICKLE in there:
            raise NotAnAdapter(
                f"{self} holds {PICKLE}, a pickle, which can run code when it is read: let its tensors alone be read "
                f"with `ahf import {self} --as NAMESPACE/NAME --allow-pickle` (allow_pickle=True)"
            )
        if "adapter_config.json" not in there or chosen is None:
            lacks = "adapter_config.json" if "adapter_config.json" not in there else " or ".join(weights)
            raise NotAnAdapter(f"{self}@{pinned.commit} holds no {lacks}, so it is no PEFT adapter: name another")
        limit = size_limit("adapter_model.safetensors")
        for path in (chosen, *others):
            if there[path].size > (limit if path == chosen else size_limit(path)):
                raise Refused(f"{path} of {self} has {there[path].size} bytes, more than it may have: import a folder")
        yield Incoming(self._snapshot(pinned.commit, [chosen, *others]), None, None, (), self.origin(pinned))

    def origin(self, pinned: Pinned) -> Mapping[str, Any]:
        """Where a version is from, as its record keeps it."""
        tag = {} if pinned.number is None else {"tag": f"v{pinned.number}"}
        return {"endpoint": self.hub.endpoint, "repository": self.name, "commit": pinned.commit, **tag}

    def _snapshot(self, commit: str, paths: Iterable[str]) -> Path:
        """Files of a commit in the client's cache, where a broken download goes on."""
        from huggingface_hub import snapshot_download

        with self.hub.asked(f"{self}@{commit}"), transferring():
            return Path(
                snapshot_download(
                    self.name,
                    revision=commit,
                    allow_patterns=[glob.escape(path) for path in paths],
                    endpoint=self.hub.endpoint,
                    token=self.hub.api.token,
                )
            )

    def _fetched(self, commit: str, entry: Entry) -> Path:
        """A small file whose bytes have the id that the Hub lists for it: the cache may have it from another Hub."""
        path = self._download(commit, entry.path, force=False)
        if not entry.holds(path.read_bytes()):
            path = self._download(commit, entry.path, force=True)
            if not entry.holds(path.read_bytes()):
                path.resolve().unlink()
                path.unlink(missing_ok=True)
                raise Corrupted(f"{entry.path} of {self}@{commit} has other bytes than the Hub lists: try again")
        return path

    def _download(self, commit: str, path: str, *, force: bool) -> Path:
        from huggingface_hub import hf_hub_download

        with self.hub.asked(f"{path} of {self}@{commit}"), transferring():
            return Path(
                hf_hub_download(
                    self.name,
                    path,
                    revision=commit,
                    endpoint=self.hub.endpoint,
                    token=self.hub.api.token,
                    force_download=force,
                )
            )


def _git_oid(data: bytes) -> str:
    """git's id of a file's bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _entry(listed: Any) -> Entry:
    if listed.lfs is not None:
        return Entry(listed.path, int(listed.lfs.size), str(listed.lfs.sha256), lfs=True)
    return Entry(listed.path, int(listed.size), str(listed.blob_id), lfs=False)
