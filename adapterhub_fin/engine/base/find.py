"""Find a base model on this machine by its id, its folder or its stored version, with its knowledge end.

Nothing here contacts a Hub unless a download is requested. The folder of a base that was loaded is remembered in the
user's cache under the base's fingerprint. A wrong entry does no harm, since a load checks the fingerprint.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin.engine.base.stored_base import (
    base_record,
    exact_reference,
    find_stored,
    known_of_version,
    stored_under,
    warn_if_yanked,
)
from adapterhub_fin.errors import BaseNotFound
from adapterhub_fin.plugin.asserted_dates import asserted
from adapterhub_fin.plugin.descriptions import Base
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.trusted_code import is_remote_code_trusted
from adapterhub_fin.recipe.choices import BaseChoice
from adapterhub_fin_registry.model.knowledge import format_instant
from adapterhub_fin_registry.model.reference import is_revision

if TYPE_CHECKING:
    from adapterhub_fin_registry import Registry
    from adapterhub_fin_registry.model.manifest import Base as BaseRecord
    from adapterhub_fin_registry.model.manifest import BaseVersion
    from adapterhub_fin_registry.registry_chain import LocatedVersion

PATTERNS = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")  # what is downloaded of a base


@dataclass(frozen=True)
class BaseSource:
    """Describe a base on this machine: the folder to load, the id or version to record, and its knowledge end.

    `reference` always means the same stored version: by its number, its digest, or its commit on a Hub.
    """

    folder: Path
    repository: str | None
    revision: str | None
    known: KnownAt | None
    version: BaseVersion | None = None
    reference: str | None = None

    def named(self, base: BaseRecord) -> BaseRecord:
        """Return a fingerprint with the stored version that it was read from, if there is one."""
        return base.model_copy(update={"version": self.version})


def find_base(choice: BaseChoice, *, download: bool = False, registry: Registry | None = None) -> BaseSource:
    """Return the base's folder and facts, with `download` from the Hub if it isn't on this machine.

    A stored version is looked for in `registry` first, then in the configured registries, and each of its files is
    verified. Raises BaseNotFound, which says how to get the base, BadRecipe for a knowledge end without evidence,
    NotFound, LookAhead, PolicyViolation or Corrupted for a stored version, and Unsupported for one that is no base.
    """
    if choice.version is not None:
        located = find_stored(choice.version, choice.as_of, registry)
        warn_if_yanked(located.version)
        return stored_source(located, exact_reference(choice.version, located.version))
    entry, repository, knowledge = _entry(choice), repository_of(choice), known_of(choice)
    if choice.path is not None:
        return BaseSource(_checked(choice.path.expanduser()), repository, choice.revision, knowledge)
    assert repository is not None  # BaseChoice has an id or a path
    if entry and entry.target and choice.revision is None and (carried := entry.load()()) is not None:
        return BaseSource(_checked(Path(carried)), repository, None, knowledge)
    return _from_hub(repository, choice.revision, knowledge, entry, download)


def stored_source(located: LocatedVersion, reference: str | None = None) -> BaseSource:
    """Return a stored base as one to load, with its files verified. Raises PolicyViolation or Corrupted."""
    registry, version = located
    folder, record = _checked(registry.path(version)), base_record(version)
    return BaseSource(folder, None, None, known_of_version(version), record, reference or version.reference)


def pinned(choice: BaseChoice, source: BaseSource) -> BaseChoice:
    """Return the choice as a manifest records it: a name or an alias, which may mean another version later, by number.

    Any other choice stays.
    """
    if choice.version is None:
        return choice
    return choice.model_copy(update={"version": source.reference, "as_of": None})


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise BaseNotFound(f"{folder} holds no config.json: a base is a folder as save_pretrained writes it")
    return folder


def _entry(choice: BaseChoice) -> Base | None:
    bases = extensions().all(Base)
    return bases.get(choice.id or "") or next((base for base in bases.values() if base.repository == choice.id), None)


def repository_of(choice: BaseChoice) -> str | None:
    """Return the id to record: the Hub id for a short name such as `minilm`, None for a folder without an id."""
    entry = _entry(choice)
    return entry.repository if entry else choice.id


def version_of(choice: BaseChoice, registry: Registry | None) -> BaseVersion | None:
    """Return the stored version that a choice means, as an adapter records it; None for an id or a folder.

    Raises what `find_base` raises.
    """
    return None if choice.version is None else base_record(find_stored(choice.version, choice.as_of, registry).version)


def known_of(choice: BaseChoice, registry: Registry | None = None) -> KnownAt | None:
    """Return the base's knowledge end: its stored version's, or what the recipe asserts, else the catalogue's, or None.

    Raises BadRecipe for a knowledge end without evidence, or one that is not a date.
    """
    if choice.version is not None:
        return known_of_version(find_stored(choice.version, choice.as_of, registry).version)
    entry = _entry(choice)
    return asserted(choice.knowledge_end, choice.evidence, "base") or (entry.known if entry else None)


def knowledge_text(known: KnownAt | None) -> str:
    """Return what is known of a base's knowledge end, to stand after its name."""
    return "has no known end (set base.knowledge_end)" if known is None else f"knows until {format_instant(known.at)}"


def _from_hub(
    repository: str, revision: str | None, knowledge: KnownAt | None, entry: Base | None, download: bool
) -> BaseSource:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if revision is not None and not is_revision(revision):  # it may be from a manifest, and the client builds a path
        raise BaseNotFound(f"base {repository!r} has no revision {revision!r}: name its folder, or another revision")
    try:
        folder = Path(
            snapshot_download(
                repository,
                revision=revision,
                local_files_only=not download,
                allow_patterns=[*PATTERNS, *(["*.py"] if is_remote_code_trusted() else [])],
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        if (stored := stored_under(repository)) is not None:
            raise BaseNotFound(
                f"base {repository!r} is not on this machine, and a stored base has that name: write "
                f"{stored.reference}, or {{version: {repository}}} for the newest"
            ) from error
        package = f"`pip install {' '.join(entry.requires)}`, " if entry and entry.requires else ""
        tried = f" ({error})" if download else ""
        raise BaseNotFound(
            f"base {repository!r} is not on this machine{tried}: {package}name its folder, or let it be downloaded "
            "with --download (download=True)"
        ) from error
    return BaseSource(folder, repository, folder.name if folder.parent.name == "snapshots" else revision, knowledge)


def _cache_file() -> Path:
    from platformdirs import user_cache_path

    return Path(os.environ.get("AHF_CACHE") or user_cache_path("adapterhub_fin")) / "bases.json"


def _remembered() -> dict[str, str]:
    try:
        stored = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # only a cache: the user can name the folder again
    return {str(key): str(folder) for key, folder in stored.items()} if isinstance(stored, dict) else {}


def remember(key: str, folder: Path) -> None:
    """Remember the folder of a base by its fingerprint's key; does nothing if the cache can't be written."""
    folders = _remembered()
    if folders.get(key) == str(folder.resolve()):
        return
    folders[key] = str(folder.resolve())
    path = _cache_file()
    partial = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(folders, sort_keys=True, indent=1), encoding="utf-8")
        partial.replace(path)


def recall(key: str) -> Path | None:
    """Return the folder that was remembered for a fingerprint's key, or None if no base is there any more."""
    folder = _remembered().get(key)
    return Path(folder) if folder and (Path(folder) / "config.json").is_file() else None
