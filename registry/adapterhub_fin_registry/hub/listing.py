"""What is on a Hub, as lists and searches show it: the manifests of tagged versions, indexed as a registry's are."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin_registry.canonical import canonical
from adapterhub_fin_registry.card import TAG
from adapterhub_fin_registry.errors import BadReference, NotFound, Refused
from adapterhub_fin_registry.hub.client import Hub
from adapterhub_fin_registry.hub.mirror import kept_as
from adapterhub_fin_registry.hub.repository import Repository
from adapterhub_fin_registry.knowledge import Tier, as_of_instant, check_tier, format_instant
from adapterhub_fin_registry.local import AsOf
from adapterhub_fin_registry.reference import HubReference, parse_reference
from adapterhub_fin_registry.shelf import shelves

if TYPE_CHECKING:
    from adapterhub_fin_registry.search.page import Page


LIBRARY: Final = "peft"


@dataclass(frozen=True)
class Place:
    """What a list is of: a whole Hub (`hf://`), one organisation's part of it, or one repository."""

    author: str | None = None
    repository: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Place:
        """`hf://`, `hf://ORG` or `hf://ORG/NAME`."""
        text = uri.removeprefix("hf://").rstrip("/")
        if not uri.startswith("hf://") or "@" in text:
            raise BadReference(f"{uri!r} isn't a place on a Hub: write hf://, hf://ORG or hf://ORG/NAME")
        if not text:
            return cls()
        if "/" not in text:
            return cls(author=HubReference(text, "any").namespace)
        reference = parse_reference(f"hf://{text}")
        assert isinstance(reference, HubReference)
        return cls(reference.namespace, reference.repository)


@dataclass(frozen=True)
class Foreign:
    """A PEFT repository without a manifest, by what its card and the Hub say of it."""

    repository: str
    commit: str
    base: str | None
    tags: tuple[str, ...]
    changed: str


def rows(hub: Hub, place: Place) -> list[dict[str, Any]]:
    """What a list shows of every version at a place, each row with its `repository` and `commit`."""
    with _catalogue(hub, place) as catalogue:
        return [catalogue.placed(row) for shelf in shelves(catalogue.root) for row in shelf.rows()]


def search(
    hub: Hub, place: Place, query: str, *, limit: int | None, after: str | None, as_of: AsOf | None, tier: Tier
) -> Page:
    """A page of the versions at a place that a query finds; see `Registry.search`."""
    from adapterhub_fin_registry.search.index import Index
    from adapterhub_fin_registry.search.page import Cut, Page
    from adapterhub_fin_registry.search.page import search as searched

    cut = None if as_of is None else Cut(as_of_instant(as_of), check_tier(tier), is_now=as_of == "now")
    with _catalogue(hub, place) as catalogue:
        page = searched(Index(catalogue.root, catalogue.root / "index"), query, limit, after, cut)
        damaged = {catalogue.reference(name): why for name, why in page.damaged.items()}
        return Page([catalogue.placed(row) for row in page], page.next, damaged)


def foreign(hub: Hub, place: Place, words: str = "", limit: int = 50) -> list[Foreign]:
    """PEFT repositories of others at a place whose names hold some words, as the Hub's own list gives them."""
    with hub.asked(place.author or "the list"):
        listed = hub.api.list_models(
            author=place.author, filter=LIBRARY, search=words or None, full=True, cardData=True, limit=limit
        )
        found = [model for model in listed if TAG not in (model.tags or ())]
    return [
        Foreign(
            model.id,
            str(model.sha),
            _base(model.card_data),
            tuple(sorted(model.tags or ())),
            format_instant(model.last_modified) if model.last_modified else "",
        )
        for model in found
        if place.repository in (None, model.id)
    ]


class _Catalogue:
    """Manifests and records in the layout of a registry, without any file: enough to list and to search."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._repositories: dict[str, str] = {}  # by the name in the catalogue
        self._commits: dict[tuple[str, int], str] = {}

    def put(self, repository: Repository, number: int, commit: str, manifest: bytes, changed: str) -> None:
        """Enter a version."""
        name = kept_as(repository.name, numbered=True)
        self._repositories[name] = repository.name
        self._commits[name, number] = commit
        folder = self.root.joinpath("adapters", *name.split("/"), "versions", str(number))
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(manifest)
        record = {"name": name, "version": number, "added_at": changed, "added_by": repository.hub.endpoint}
        (folder / "record.json").write_bytes(canonical({**record, "origin": None}))

    def placed(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row under the name that the Hub has, with where it is."""
        repository, commit = self._repositories[row["name"]], self._commits[row["name"], row["version"]]
        return {**row, "name": repository, "repository": f"hf://{repository}", "commit": commit}

    def reference(self, kept: str) -> str:
        """What the Hub calls NAME@NUMBER of the catalogue."""
        name, _, number = kept.partition("@")
        return f"hf://{self._repositories[name]}@v{number}"


@contextmanager
def _catalogue(hub: Hub, place: Place) -> Iterator[_Catalogue]:
    """What is tagged at a place, for as long as it is read."""
    with TemporaryDirectory(prefix="ahf-list-") as folder:
        catalogue = _Catalogue(Path(folder))
        with ThreadPoolExecutor(8) as readers:
            for found in readers.map(_versions, _repositories(hub, place)):
                for entry in found:
                    catalogue.put(*entry)
        yield catalogue


def _repositories(hub: Hub, place: Place) -> list[tuple[Repository, str]]:
    """The repositories at a place that say they hold versions, and when each last changed."""
    if place.repository is not None:
        with hub.asked(f"hf://{place.repository}"):
            model = hub.api.model_info(place.repository)
        return [(Repository(hub, place.repository), _changed(model.last_modified))]
    with hub.asked(f"hf://{place.author or ''}"):
        listed = list(hub.api.list_models(author=place.author, filter=TAG, full=True))
    return [(Repository(hub, model.id), _changed(model.last_modified)) for model in listed]


def _versions(listed: tuple[Repository, str]) -> list[tuple[Repository, int, str, bytes, str]]:
    repository, changed = listed
    try:
        numbers = repository.numbers()
    except (NotFound, Refused):  # taken away meanwhile, or gated: it is shown in the Hub's list, and not to us
        return []
    found = ((number, commit, repository.manifest(commit)) for number, commit in sorted(numbers.items()))
    return [(repository, number, commit, data, changed) for number, commit, data in found if data is not None]


def _changed(moment: datetime | None) -> str:
    return format_instant((moment or datetime.now(UTC)).replace(microsecond=0))


def _base(card: Any) -> str | None:
    base = None if card is None else card.get("base_model")
    return base if isinstance(base, str) else None
