"""What is on a Hub: its tagged versions with their manifests, and the PEFT repositories of others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from adapterhub_fin_registry.errors import BadReference, NotFound, Refused
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_client.repository import HubRepository
from adapterhub_fin_registry.io.clock import read_clock
from adapterhub_fin_registry.model.knowledge import format_instant
from adapterhub_fin_registry.model.model_card import TAG
from adapterhub_fin_registry.model.reference import HubReference, parse_reference
from adapterhub_fin_registry.remote_index import RemoteVersion

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

LIBRARY: Final = "peft"


@dataclass(frozen=True)
class HubLocation:
    """What a list is of: a whole Hub (`hf://`), one organisation's part of it, or one repository."""

    author: str | None = None
    repository: str | None = None

    @classmethod
    def parse(cls, uri: str) -> HubLocation:
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


def versions(hub: Hub, place: HubLocation) -> list[RemoteVersion]:
    """Every tagged version at a place, with its manifest; of many repositories, those that may be read."""
    if place.repository is not None:
        return _versions(_named(hub, place.repository))
    with ThreadPoolExecutor(8) as readers:
        return [each for found in readers.map(_readable, _repositories(hub, place)) for each in found]


def foreign(hub: Hub, place: HubLocation, words: str, limit: int) -> list[ModelInfo]:
    """PEFT repositories of others at a place whose names hold some words, as the Hub's own list gives them."""
    words = place.repository or words
    with hub.asked(f"hf://{place.author or ''}"):
        listed = hub.api.list_models(
            author=place.author, filter=LIBRARY, search=words or None, full=True, cardData=True, limit=limit
        )
        return [model for model in listed if TAG not in (model.tags or ()) and place.repository in (None, model.id)]


def _repositories(hub: Hub, place: HubLocation) -> list[tuple[HubRepository, str]]:
    """The repositories at a place that say they hold versions, and when each last changed."""
    with hub.asked(f"hf://{place.author or ''}"):
        listed = list(hub.api.list_models(author=place.author, filter=TAG, full=True))
    return [(HubRepository(hub, model.id), _changed(model.last_modified)) for model in listed]


def _named(hub: Hub, name: str) -> tuple[HubRepository, str]:
    model = hub.ask(f"hf://{name}", lambda: hub.api.model_info(name))
    return HubRepository(hub, name), _changed(model.last_modified)


def _readable(listed: tuple[HubRepository, str]) -> list[RemoteVersion]:
    try:
        return _versions(listed)
    except (NotFound, Refused):  # taken away meanwhile, or gated: in the Hub's list, and not for us
        return []


def _versions(listed: tuple[HubRepository, str]) -> list[RemoteVersion]:
    repository, changed = listed
    numbers = repository.numbers()
    found = ((number, commit, repository.manifest(commit)) for number, commit in sorted(numbers.items()))
    return [  # without its manifest a version is damaged, as one is with a manifest that can't be read
        RemoteVersion(repository.name, number, data or b"", changed, {"repository": str(repository), "commit": commit})
        for number, commit, data in found
    ]


def _changed(moment: datetime | None) -> str:
    return format_instant((moment or read_clock()).replace(microsecond=0))
