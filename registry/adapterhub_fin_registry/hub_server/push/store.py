"""Store a complete adapter as a version, or check as a dry run whether the registry would store it."""

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
    """Hold what may become a version of a name: its files, with the pushed manifest and signatures."""

    name: str
    files: Mapping[str, Blob]
    manifest: Manifest | None
    signatures: tuple[bytes, ...]
    author: str


def store(candidate: Candidate, registry: Registry, state: State, intake: Intake) -> Version:
    """Store the candidate as the next version. Raises HubError 400 with the reason if the registry refuses it."""
    with state.work_folder() as work_folder, _laid_out(candidate, work_folder, registry, state) as folder:
        return _take_in(candidate, folder, registry, intake)


def dry_run(candidate: Candidate, registry: Registry, state: State, intake: Intake) -> bytes:
    """Return the manifest with which the candidate would be stored, after every check of storing.

    Raises HubError 400 where a check refuses it.
    """
    with state.work_folder() as work_folder, _laid_out(candidate, work_folder, registry, state) as folder:
        dry_registry = _DryRun(work_folder / "dry-run", registry)
        version = _take_in(candidate, folder, dry_registry, intake)
        policy, _ = admission.terms(registry.root)
        policy.check(f"this version of {version.name}", version.manifest, dry_registry.signatures(version))
        return version.manifest_bytes


class _DryRun(Registry):
    """Store one version in a temporary registry that uses the real registry's clock, and has no policy of its own."""

    def __init__(self, root: Path, real: Registry) -> None:
        super().__init__(root)
        self._real = real

    def bounded_now(self, *read: Path, name: str | None = None) -> datetime:
        """Return the time by the real registry's clock; see `Registry.bounded_now`."""
        return self._real.bounded_now(*read, name=name)


def rows(files: Mapping[str, Blob]) -> tuple[Row, ...]:
    """Return files in the form of the state, sorted by path."""
    return tuple((path, blob.size, blob.sha256) for path, blob in sorted(files.items()))


def tree_id(files: Mapping[str, Blob]) -> str:
    """Return an id of a set of files: their paths and bytes."""
    return pushed_id(None, None, rows(files))


def _take_in(candidate: Candidate, folder: Path, registry: Registry, intake: Intake) -> Version:
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
def _laid_out(candidate: Candidate, work_folder: Path, registry: Registry, state: State) -> Iterator[Path]:
    """Yield the candidate as a folder. In the block, registry errors become HubError 400 with the client's paths."""
    folder = work_folder / candidate.name.replace("/", "-")
    with remembered(registry.id) as memory:
        for path, blob in sorted(candidate.files.items()):
            target = folder / path
            state.disk.make(target.parent)
            with blob.open(memory) as source:
                state.disk.copy(source, target, blob.size)
    try:
        yield folder
    except (WriteFailed, BadConfiguration):  # not the client's fault
        raise
    except AdapterHubError as error:
        # A client knows the paths of its repository, not those of this machine.
        message = str(error).replace(f"{folder}/", "").replace(str(folder), candidate.name)
        raise bad_request(without_paths(message, registry)) from error
