"""The list of repositories, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.hub_server.repo import listing, repositories
from adapterhub_fin_registry.hub_server.repo.card import card_of
from adapterhub_fin_registry.hub_server.repo.listing import Listing, ListQuery
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories
from adapterhub_fin_registry.hub_server.repo.state import State


def test_after_a_change_only_what_changed_is_read_again(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, state = Registry(tmp_path / "root"), State(tmp_path / "state")
    for number in range(6):
        registry.add(made.files, made.manifest, name=f"acme/n{number}")
    monkeypatch.setattr(repositories, "_CACHED", 2)  # fewer than there are, as where there are thousands
    served = Repositories(registry, state, card_of)
    listed, read = Listing(served), []
    document = listing.repository_document

    def noted(repository: Any, *given: Any, **options: Any) -> Any:
        read.append(repository.name)
        return document(repository, *given, **options)

    monkeypatch.setattr(listing, "repository_document", noted)

    def names() -> list[str]:
        read.clear()
        return [each["id"] for each in listed.page(ListQuery(sort="id"), lambda document: True)[0]]

    everything = [f"acme/n{number}" for number in range(6)]
    assert names() == everything and read == everything
    assert names() == everything and read == []
    served.create("acme/empty", None)
    assert names() == ["acme/empty", *everything] and read == ["acme/empty"]
    served.settings("acme/n3", private=False, gated=None)
    assert len(names()) == 7 and read == ["acme/n3"]
    registry.add_event("acme/n4@1", "tag", {"tag": "seen"})
    assert len(names()) == 7 and read == ["acme/n4"]
    assert [each["id"] for each in listed.page(ListQuery(filters=["seen"]), lambda document: True)[0]] == ["acme/n4"]
    registry.delete("acme/n5@1")
    served.delete("acme/n0", "somebody", lambda _: True)
    assert names() == ["acme/empty", *everything[1:5]] and read == []


def test_what_could_not_be_read_for_a_while_is_listed_again(made: Any, tmp_path: Path) -> None:
    registry, state = Registry(tmp_path / "root"), State(tmp_path / "state")
    registry.add(made.files, made.manifest, name="acme/tone")
    served = Repositories(registry, state, card_of)
    served.settings("acme/tone", private=False, gated=None)
    listed = Listing(served)

    def names() -> list[str]:
        return [each["id"] for each in listed.page(ListQuery(sort="id"), lambda document: True)[0]]

    [said] = [path for path in (tmp_path / "state").rglob("*.json") if "tone" in str(path)]
    kept = said.read_bytes()
    served.settings("acme/tone", private=True, gated=None)
    said.write_bytes(b"{")
    assert names() == []
    said.write_bytes(kept)
    assert names() == ["acme/tone"], "though nothing says that anything has changed"
