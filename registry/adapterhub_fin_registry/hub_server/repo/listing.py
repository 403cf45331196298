"""List repositories: filtered, sorted, in pages."""

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

PAGE: Final = 1000  # repositories in a page
_SORTS: Final = ("lastModified", "createdAt", "downloads", "likes", "trendingScore", "id")


@dataclass(frozen=True)
class ListQuery:
    """Represent a query for repositories, which must have every filter among their tags."""

    author: str | None = None
    search: str | None = None
    filters: Sequence[str] = ()
    gated: bool | None = None
    sort: str | None = None
    ascending: bool = False
    limit: int = PAGE
    after: str | None = None


class Listing:
    """Cache the document of every repository; each is read again once its repository has changed."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._lock = threading.Lock()
        self._mark: tuple[str, int] | None = None
        self._cache: dict[str, _CachedRepository] = {}

    def page(
        self, query: ListQuery, may_see: Callable[[dict[str, Any]], bool]
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return a page of the documents that match and `may_see` allows, and the cursor of the next page or None.

        Raises HubError 400 for an unknown sort key or an invalid cursor.
        """
        fits = _fitting(query)
        documents = [listed.document for listed in self._all() if may_see(listed.document) and fits(listed)]
        key = query.sort or "trendingScore"
        if key not in _SORTS:
            raise bad_request(f"{key[:50]!r} isn't what a list is sorted by: use one of {', '.join(_SORTS)}")
        documents.sort(key=lambda document: document["id"])
        documents.sort(key=lambda document: document[key], reverse=not query.ascending and key != "id")
        start = _start(documents, key, query)
        page = documents[start : start + query.limit]
        more = start + query.limit < len(documents)
        return page, _cursor(page[-1], key) if page and more else None

    def _all(self) -> list[_ListedRepository]:
        with self._lock:
            repositories = self._repositories
            mark = (repositories.registry.mark(), repositories.state.generation)
            if mark != self._mark:
                self._cache = {name: self._read(name) for name in repositories.possible()}
                # An unreadable repository may be repaired without a change of its mark: read it again each time.
                self._mark = mark if all(cached.is_sound for cached in self._cache.values()) else None
            return [cached.listed for cached in self._cache.values() if cached.listed is not None]

    def _read(self, name: str) -> _CachedRepository:
        registry, state = self._repositories.registry, self._repositories.state
        mark, cached = registry.mark(name), self._cache.get(name)  # the mark first, so that a later change is noticed
        state_of_name = None
        try:
            state_of_name = state.read(name)
            if cached is not None and cached.is_sound and cached.mark == mark and cached.state is state_of_name:
                return cached
            repository = self._repositories.get(name)
            document = repository_document(repository, repository.head, files=False)
            tags = frozenset(tag.casefold() for tag in document["tags"])
            return _CachedRepository(mark, state_of_name, _ListedRepository(document, tags))
        except HubError:  # no such repository
            return _CachedRepository(mark, state_of_name, None)
        except AdapterHubError:  # damaged: `ahf doctor` reports it
            return _CachedRepository(mark, state_of_name, None, is_sound=False)


@dataclass(frozen=True)
class _ListedRepository:
    """Hold a repository's document, and its tags in the form in which filters are compared."""

    document: dict[str, Any]
    tags: frozenset[str]


@dataclass(frozen=True)
class _CachedRepository:
    """Hold what was read of a repository (None where there was none), with the mark and the state at that time."""

    mark: str
    state: RepositoryState | None
    listed: _ListedRepository | None
    is_sound: bool = True


def _fitting(query: ListQuery) -> Callable[[_ListedRepository], bool]:
    """Return a function that tells whether a repository matches a query, which is prepared once for all of them."""
    text = query.search.casefold() if query.search else ""
    filters = {tag.casefold() for tag in query.filters}

    def fits(listed: _ListedRepository) -> bool:
        document = listed.document
        return (
            (query.author is None or document["author"] == query.author)
            and text in document["id"]
            and filters <= listed.tags
            and (query.gated is None or bool(document["gated"]) == query.gated)
        )

    return fits


def _cursor(last: dict[str, Any], key: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([key, last[key], last["id"]]).encode()).decode().rstrip("=")


def _start(documents: list[dict[str, Any]], key: str, query: ListQuery) -> int:
    """Return the index at which the page of a cursor begins, even if the last document before it is gone."""
    if query.after is None:
        return 0
    try:
        sort_key, value, id_ = json.loads(base64.urlsafe_b64decode(query.after + "=" * (-len(query.after) % 4)))
        if sort_key != key or type(value) not in (str, int) or type(id_) is not str:
            raise ValueError
        for position, document in enumerate(documents):
            same = document[key] == value
            is_after = document[key] > value if query.ascending or key == "id" else document[key] < value
            if is_after or (same and document["id"] > id_):
                return position
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise bad_request("the cursor isn't one of this list: begin at its first page") from error
    return len(documents)
