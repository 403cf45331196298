"""List what a Hub has: tagged versions with their manifests, and PEFT repositories of third parties."""

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
    """Represent what is listed: a whole Hub (`hf://`), one organisation of it, or one repository."""

    author: str | None = None
    repository: str | None = None

    @classmethod
    def parse(cls, uri: str) -> HubLocation:
        """Parse `hf://`, `hf://ORG` or `hf://ORG/NAME`. Raises BadReference for anything else."""
        text = uri.removeprefix("hf://").rstrip("/")
        if not uri.startswith("hf://") or "@" in text:
            raise BadReference(f"{uri!r} isn't a location on a Hub: write hf://, hf://ORG or hf://ORG/NAME")
        if not text:
            return cls()
        if "/" not in text:
            return cls(author=HubReference(text, "any").namespace)
        reference = parse_reference(f"hf://{text}")
        assert isinstance(reference, HubReference)
        return cls(reference.namespace, reference.repository)


def versions(hub: Hub, location: HubLocation) -> list[RemoteVersion]:
    """Return every tagged version at a location, with its manifest.

    Of several repositories, those that may not be read are left out. Of a single one, raises NotFound or Refused.
    """
    if location.repository is not None:
        return _versions(_repository(hub, location.repository))
    with ThreadPoolExecutor(8) as readers:
        return [version for listed in readers.map(_readable, _repositories(hub, location)) for version in listed]


def third_party(hub: Hub, location: HubLocation, words: str, limit: int) -> list[ModelInfo]:
    """Return third parties' PEFT repositories at a location whose names contain `words`, in the Hub's order.

    Raises what `Hub.translating_errors` raises.
    """
    words = location.repository or words
    with hub.translating_errors(f"hf://{location.author or ''}"):
        listed = hub.api.list_models(
            author=location.author, filter=LIBRARY, search=words or None, full=True, cardData=True, limit=limit
        )
        return [model for model in listed if TAG not in (model.tags or ()) and location.repository in (None, model.id)]


def _repositories(hub: Hub, location: HubLocation) -> list[tuple[HubRepository, str]]:
    """Return the repositories at a location that are tagged as having versions, with their last changes."""
    with hub.translating_errors(f"hf://{location.author or ''}"):
        listed = list(hub.api.list_models(author=location.author, filter=TAG, full=True))
    return [(HubRepository(hub, model.id), _changed(model.last_modified)) for model in listed]


def _repository(hub: Hub, name: str) -> tuple[HubRepository, str]:
    model = hub.ask(f"hf://{name}", lambda: hub.api.model_info(name))
    return HubRepository(hub, name), _changed(model.last_modified)


def _readable(listed: tuple[HubRepository, str]) -> list[RemoteVersion]:
    try:
        return _versions(listed)
    except (NotFound, Refused):  # deleted meanwhile, or gated: listed by the Hub, but not readable
        return []


def _versions(listed: tuple[HubRepository, str]) -> list[RemoteVersion]:
    repository, changed = listed
    numbers = repository.numbers()
    manifests = ((number, commit, repository.manifest(commit)) for number, commit in sorted(numbers.items()))
    return [  # no manifest becomes no bytes, which count as a damaged version, as an unreadable manifest does
        RemoteVersion(repository.name, number, data or b"", changed, {"repository": str(repository), "commit": commit})
        for number, commit, data in manifests
    ]


def _changed(moment: datetime | None) -> str:
    return format_instant((moment or read_clock()).replace(microsecond=0))
