"""Lists that are longer than a page, as the client's own paginator reads them."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd

from adapterhub_fin import publishing
from adapterhub_fin_registry.hub_server.http import parameters, reads


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of two, lest a test need a thousand repositories; the server runs in this process."""
    monkeypatch.setattr(parameters, "PAGE", 2)
    monkeypatch.setattr(reads, "COMMITS", 2)


@pytest.mark.parametrize("private", [False, True])
def test_the_client_reads_every_page_of_a_list(private: bool, pages: None, hub: Any, adapter: Any) -> None:
    organisation = f"pages-{private}".lower()
    api, names = hub.api(), [f"{organisation}/tone-{number}" for number in range(5)]
    for name in names:
        api.create_repo(name, private=private)
    everything = [each.id for each in api.list_models(author=organisation, sort="created_at")]
    assert sorted(everything) == names
    for limit in (1, 2, 3, 5, 9):
        listed = [each.id for each in api.list_models(author=organisation, limit=limit, sort="created_at")]
        assert listed == everything[:limit], limit


def test_the_client_reads_every_page_of_a_history(pages: None, hub: Any, adapter: Any) -> None:
    api, name = hub.api(), "pages/history"
    api.create_repo(name)
    commits = [
        api.create_commit(name, [CommitOperationAdd(*file) for file in adapter(seed).items()], commit_message="x").oid
        for seed in range(5)
    ]
    assert [each.commit_id for each in api.list_repo_commits(name)] == commits[::-1]


def test_what_is_listed_of_a_hub_is_all_of_its_pages(
    pages: None, hub: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    api, names = hub.api(), [f"many/tone-{number}" for number in range(5)]
    for name in names:
        api.create_repo(name)
        api.create_commit(name, [CommitOperationAdd(*file) for file in adapter().items()], commit_message="x")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setenv("HF_TOKEN", hub.secrets["writer"])
    assert sorted(row["name"] for row in publishing.catalogue("hf://many").rows()) == names
