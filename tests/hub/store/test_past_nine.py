"""On a Hub v10 comes after v9, in whatever order the Hub lists its tags (G 39)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.publishing import catalogue
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_client.hub_registry import HubRegistry

MANY = 11


@pytest.fixture
def eleven(at_hub: Any, name: str, stored: Callable[..., ahf.Version]) -> list[ahf.Version]:
    """Eleven versions that were pushed to a server."""
    return [stored(name, seed=seed, registry=at_hub.registry) for seed in range(MANY)]


@pytest.mark.parametrize("order", ["by letter", "backwards"])
def test_eleven_tags_are_eleven_versions_in_order(
    order: str, plain: Any, at_hub: Any, name: str, eleven: list[ahf.Version], stored: Callable[..., ahf.Version]
) -> None:
    tags = {tag.name: tag.target_commit for tag in at_hub.api().list_repo_refs(name).tags}
    assert set(tags) == {f"v{number}" for number in range(1, MANY + 1)}
    assert at_hub.api().model_info(name).sha == tags[f"v{MANY}"], "main is the last"
    listed = sorted(tags) if order == "by letter" else sorted(tags, key=lambda tag: -int(tag[1:]))
    plain.tags[name] = {tag: tags[tag] for tag in listed}
    newest = ahf.pull(f"hf://{name}", "desk/newest")
    assert (newest.number, newest.digest) == (MANY, eleven[-1].digest)
    for number in (1, 2, 9, 10):
        assert ahf.pull(f"hf://{name}@v{number}", "desk/each").digest == eleven[number - 1].digest
    assert [version.number for version in ahf.Registry().versions("desk/each")] == [1, 2, 9, 10]
    chain = ahf.RegistryChain.configured()
    assert chain.resolve(f"hf://{name}").number == MANY
    assert chain.resolve(f"hf://{name}", as_of="2024-01-01").number == MANY, "of equals the highest"
    there = catalogue(f"hf://{name}")
    assert [row["version"] for row in there.rows()] == list(range(1, MANY + 1))
    found = there.search("version > 8 ORDER BY version DESC", limit=None)
    assert [row["version"] for row in found] == [11, 10, 9]
    member = HubRegistry(Hub(), f"hf://{name.partition('/')[0]}")
    assert member.resolve(name).number == MANY and member.resolve(f"{name}@10").digest == eleven[9].digest
    another = stored(name, seed=99)
    done = ahf.publish(another.reference, f"hf://{name}")
    assert done.published.number == MANY + 1 and plain.tags[name][f"v{MANY + 1}"]


def test_a_server_lists_and_rests_on_the_highest(at_hub: Any, name: str, eleven: list[ahf.Version]) -> None:
    api = at_hub.api()
    at_hub.registry.add_event(f"{name}@{MANY}", "yank", {})
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(name).tags}
    assert api.model_info(name).sha == tags["v10"], "the highest that isn't yanked, and not v9"
    assert ahf.RegistryChain.configured().resolve(f"hf://{name}").digest == eleven[9].digest
    history = [commit.commit_id for commit in api.list_repo_commits(name)]
    assert [history.index(tags[f"v{number}"]) for number in (10, 9, 2, 1)] == sorted(
        history.index(tags[f"v{number}"]) for number in (10, 9, 2, 1)
    )


def test_the_card_of_ten_is_that_of_ten(at_hub: Any, name: str, eleven: list[ahf.Version]) -> None:
    card = Path(at_hub.api().hf_hub_download(name, "README.md", revision="v10")).read_text()
    assert eleven[9].digest in card
