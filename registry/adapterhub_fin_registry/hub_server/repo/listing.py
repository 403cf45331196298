"""The list of repositories: filtered, sorted, in pages."""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapterhub_fin_registry.errors import AdapterHubError
from adapterhub_fin_registry.hub_server.errors import HubError, bad_request
from adapterhub_fin_registry.hub_server.repo.documents import repository_document
from adapterhub_fin_registry.hub_server.repo.draft_state import RepositoryState
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories

PAGE: Final = 1000
_SORTS: Final = ("lastModified", "createdAt", "downloads", "likes", "trendingScore", "id")


@dataclass(frozen=True)
class Wanted:
    """What a list is asked for; every filter must be among a repository's tags."""

    author: str | None = None
    search: str | None = None
    filters: Sequence[str] = ()
    gated: bool | None = None
    sort: str | None = None
    ascending: bool = False
    limit: int = PAGE
    after: str | None = None


class Listing:
    """Every repository's document, each read again once its own repository changed."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._lock = threading.Lock()
        self._mark: tuple[str, int] | None = None
        self._known: dict[str, _Known] = {}

    def page(
        self, wanted: Wanted, may_see: Callable[[dict[str, Any]], bool]
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of what fits and may be seen, and the cursor of the page after it."""
        fits = _fitting(wanted)
        found = [known.document for known in self._all() if may_see(known.document) and fits(known)]
        key = wanted.sort or "trendingScore"
        if key not in _SORTS:
            raise bad_request(f"{key[:50]!r} isn't what a list is sorted by: use one of {', '.join(_SORTS)}")
        found.sort(key=lambda each: each["id"])
        found.sort(key=lambda each: each[key], reverse=not wanted.ascending and key != "id")
        start = _start(found, key, wanted)
        page = found[start : start + wanted.limit]
        more = start + wanted.limit < len(found)
        return page, _cursor(page[-1], key) if page and more else None

    def _all(self) -> list[_Listed]:
        with self._lock:
            repositories = self._repositories
            mark = (repositories.registry.mark(), repositories.state.generation)
            if mark != self._mark:
                self._known = {name: self._read(name) for name in repositories.possible()}
                # What can't be read may be mended without a mark, and so is read again each time.
                self._mark = mark if all(known.is_sound for known in self._known.values()) else None
            return [known.listed for known in self._known.values() if known.listed is not None]

    def _read(self, name: str) -> _Known:
        registry, state = self._repositories.registry, self._repositories.state
        mark, known = registry.mark(name), self._known.get(name)  # the mark first: what changes then is read again
        kept = None
        try:
            kept = state.read(name)
            if known is not None and known.is_sound and known.mark == mark and known.kept is kept:
                return known
            repository = self._repositories.get(name)
            document = repository_document(repository, repository.head, files=False)
            tags = frozenset(tag.casefold() for tag in document["tags"])
            return _Known(mark, kept, _Listed(document, tags))
        except HubError:  # there is none
            return _Known(mark, kept, None)
        except AdapterHubError:  # it is damaged, which `ahf doctor` says
            return _Known(mark, kept, None, is_sound=False)


@dataclass(frozen=True)
class _Listed:
    """A repository's document, and its tags as filters are compared with them."""

    document: dict[str, Any]
    tags: frozenset[str]


@dataclass(frozen=True)
class _Known:
    """What is listed of a repository, and what it was read from; None where there was no repository."""

    mark: str
    kept: RepositoryState | None
    listed: _Listed | None
    is_sound: bool = True


def _fitting(wanted: Wanted) -> Callable[[_Listed], bool]:
    """Whether a repository is one of those asked for: what is asked is prepared once, not for each of them."""
    text = wanted.search.casefold() if wanted.search else ""
    filters = {each.casefold() for each in wanted.filters}

    def fits(listed: _Listed) -> bool:
        document = listed.document
        return (
            (wanted.author is None or document["author"] == wanted.author)
            and text in document["id"]
            and filters <= listed.tags
            and (wanted.gated is None or bool(document["gated"]) == wanted.gated)
        )

    return fits


def _cursor(last: dict[str, Any], key: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([key, last[key], last["id"]]).encode()).decode().rstrip("=")


def _start(found: list[dict[str, Any]], key: str, wanted: Wanted) -> int:
    """Where the page after a cursor begins, also where what it ended with is gone."""
    if wanted.after is None:
        return 0
    try:
        said, value, id_ = json.loads(base64.urlsafe_b64decode(wanted.after + "=" * (-len(wanted.after) % 4)))
        if said != key or type(value) not in (str, int) or type(id_) is not str:
            raise ValueError
        for position, each in enumerate(found):
            same = each[key] == value
            is_after = each[key] > value if wanted.ascending or key == "id" else each[key] < value
            if is_after or (same and each["id"] > id_):
                return position
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise bad_request("the cursor isn't one of this list: begin at its first page") from error
    return len(found)
