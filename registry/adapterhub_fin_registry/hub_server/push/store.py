"""A tree that is a whole adapter on its way into the registry, or, as a draft, as far as that would let it in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from adapterhub_fin_registry.errors import AdapterHubError, BadConfiguration, WriteFailed
from adapterhub_fin_registry.hub_server.errors import bad_request
from adapterhub_fin_registry.hub_server.repo.draft_state import Row, pushed_id
from adapterhub_fin_registry.hub_server.repo.repositories import without_paths
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.hub_server.repo.tree import Blob
from adapterhub_fin_registry.incoming import Incoming, Intake, take
from adapterhub_fin_registry.io.hash_cache import remembered
from adapterhub_fin_registry.model.manifest import Manifest
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.registry import Registry
from adapterhub_fin_registry.trust import admission


@dataclass(frozen=True)
class Candidate:
    """What may become a version of a name: its files, with the manifest and the signatures that were pushed."""

    name: str
    files: Mapping[str, Blob]
    manifest: Manifest | None
    signatures: tuple[bytes, ...]
    author: str


def stored(candidate: Candidate, registry: Registry, state: State, intake: Intake) -> Version:
    """The version that it is from now on; a HubError with the reason where it can't be one."""
    with state.workshop() as workshop, _laid_out(candidate, workshop, registry, state) as folder:
        return _taken(candidate, folder, registry, intake)


def rehearsed(candidate: Candidate, registry: Registry, state: State, intake: Intake) -> bytes:
    """The manifest that it would be stored by, once all agreed that storing asks; a HubError where one does not."""
    with state.workshop() as workshop, _laid_out(candidate, workshop, registry, state) as folder:
        rehearsal = _Rehearsal(workshop / "rehearsal", registry)
        version = _taken(candidate, folder, rehearsal, intake)
        policy, _ = admission.terms(registry.root)
        policy.check(f"this version of {version.name}", version.manifest, rehearsal.signatures(version.reference))
        return version.manifest_bytes


class _Rehearsal(Registry):
    """A registry for one version, whose clock is the real one's; it has no rules of its own, which are asked there."""

    def __init__(self, root: Path, real: Registry) -> None:
        super().__init__(root)
        self._real = real

    def bounded_now(self, *read: Path, name: str | None = None) -> datetime:
        return self._real.bounded_now(*read, name=name)


def rows(files: Mapping[str, Blob]) -> tuple[Row, ...]:
    """Some files as the state keeps them."""
    return tuple((path, blob.size, blob.sha256) for path, blob in sorted(files.items()))


def tree_id(files: Mapping[str, Blob]) -> str:
    """What tells some files from any others."""
    return pushed_id(None, None, rows(files))


def _taken(candidate: Candidate, folder: Path, registry: Registry, intake: Intake) -> Version:
    manifest, origin = candidate.manifest, {"pushed_by": candidate.author}
    incoming = Incoming(
        folder,
        None if manifest is None else manifest.canonical(),
        None,
        candidate.signatures,
        origin if manifest else {**origin, "pushed": tree_id(candidate.files)},
    )
    return take(incoming, registry, candidate.name, intake)


@contextmanager
def _laid_out(candidate: Candidate, workshop: Path, registry: Registry, state: State) -> Iterator[Path]:
    """The tree as a folder, which is read once and then removed; a refusal is told as who pushed can understand it."""
    folder = workshop / candidate.name.replace("/", "-")
    with remembered(registry.id) as memory:
        for path, blob in sorted(candidate.files.items()):
            target = folder / path
            state.disk.make(target.parent)
            with blob.open(memory) as source:
                state.disk.copy(source, target, blob.size)
    try:
        yield folder
    except (WriteFailed, BadConfiguration):  # which is no fault of the push
        raise
    except AdapterHubError as error:
        # Who pushes knows the paths of a repository, not those of this machine.
        said = str(error).replace(f"{folder}/", "").replace(str(folder), candidate.name)
        raise bad_request(without_paths(said, registry)) from error
