"""Each typed error of the Hub's client, by its real cause."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, hf_hub_download
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from adapterhub_fin_registry.hub_server.settings import Settings


def push(api: Any, name: str, files: dict[str, bytes], **options: Any) -> Any:
    """One commit with some files."""
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(name, operations, commit_message="pushed", **options)


@pytest.fixture(scope="module")
def tone(hub: Any, adapter: Any) -> str:
    """A repository with one version."""
    hub.api().create_repo("acme/errors")
    push(hub.api(), "acme/errors", adapter())
    return "acme/errors"


def status(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    """The status that an error of the client came from."""
    assert error.value.response.headers["X-Request-Id"]
    return int(error.value.response.status_code)


@pytest.mark.parametrize("name", ["acme/absent", "acme/Absent", "acme/a_-_b", "nul/con"])
def test_a_repository_that_is_not_there(hub: Any, name: str) -> None:
    for api in (hub.api(), hub.api(None)):
        with pytest.raises(RepositoryNotFoundError):
            api.model_info(name)
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download(name, "x.json", endpoint=hub.url, token=hub.secrets["writer"])


def test_revisions_and_entries_that_are_not_there(hub: Any, tone: str, tmp_path: Any) -> None:
    api = hub.api()
    for revision in ("v9", "absent", "0" * 40, "refs/pr/1"):
        with pytest.raises(RevisionNotFoundError):
            api.model_info(tone, revision=revision)
        with pytest.raises(RevisionNotFoundError):
            api.hf_hub_download(tone, "adapter_config.json", revision=revision, cache_dir=tmp_path)
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(tone, "absent.json", cache_dir=tmp_path)
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(tone, "absent"))
    with pytest.raises(RemoteEntryNotFoundError):
        api.create_commit(tone, [CommitOperationDelete("absent.json")], commit_message="no")


def test_without_a_token_with_a_wrong_one_and_with_one_for_elsewhere(hub: Any, tone: str, adapter: Any) -> None:
    from huggingface_hub import HfApi

    with pytest.raises(RepositoryNotFoundError) as error:
        hub.api(None).model_info(tone)
    assert status(error) == 401
    wrong = HfApi(endpoint=hub.url, token="ahf_" + "x" * 43)
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as error:
        wrong.model_info(tone)
    assert status(error) == 401 and type(error.value) is HfHubHTTPError
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        wrong.whoami()
    with pytest.raises(HfHubHTTPError) as error:
        list(hub.api(None).list_models())
    assert status(error) == 401
    with pytest.raises(RepositoryNotFoundError) as error:
        hub.api("other").model_info(tone)
    assert status(error) == 404
    with pytest.raises(HfHubHTTPError, match="may not write in acme") as error:
        hub.api("other").create_repo("acme/theirs")
    assert status(error) == 403
    with pytest.raises(HfHubHTTPError, match="may not write in acme") as error:
        push(hub.api("reader"), tone, adapter(1))
    assert status(error) == 403
    for change in (
        lambda api: api.delete_repo(tone),
        lambda api: api.create_tag(tone, tag="champion"),
        lambda api: api.create_branch(tone, branch="dev"),
        lambda api: api.update_repo_settings(tone, private=False),
        lambda api: api.move_repo(tone, "acme/stolen"),
        lambda api: api.auth_check(tone, write=True),
    ):
        with pytest.raises(HfHubHTTPError) as error:
            change(hub.api("reader"))
        assert status(error) == 403
    hub.api("reader").auth_check(tone)


def test_gated_files_are_for_those_who_were_given_the_namespace(hub: Any, adapter: Any, tmp_path: Any) -> None:
    api = hub.api()
    api.create_repo("other/gated", private=False)
    push(api, "other/gated", adapter())
    api.update_repo_settings("other/gated", gated="manual")
    assert hub.api("reader").model_info("other/gated").gated == "manual"
    with pytest.raises(GatedRepoError) as error:
        hub.api("reader").hf_hub_download("other/gated", "adapter_config.json", cache_dir=tmp_path)
    assert status(error) == 403
    with pytest.raises(GatedRepoError):
        hub.api("reader").auth_check("other/gated")
    assert hub.api("other").hf_hub_download("other/gated", "adapter_config.json", cache_dir=tmp_path)


def test_what_is_there_already(hub: Any, tone: str) -> None:
    api = hub.api()
    api.create_tag(tone, tag="v1", revision=api.model_info(tone, revision="v1").sha)  # agreed to
    for make in (
        lambda: api.create_repo(tone),
        lambda: api.create_tag(tone, tag="v1", revision="v1"),
        lambda: api.create_branch(tone, branch="main"),
    ):
        with pytest.raises(HfHubHTTPError) as error:
            make()
        assert status(error) == 409
    api.create_tag(tone, tag="staging")
    with pytest.raises(HfHubHTTPError) as error:
        api.create_tag(tone, tag="staging")
    assert status(error) == 409


def test_a_stale_parent(hub: Any, tone: str, adapter: Any) -> None:
    api = hub.api()
    head = api.model_info(tone).sha
    push(api, tone, adapter(7), parent_commit=head)
    with pytest.raises(HfHubHTTPError, match="read it and push again") as error:
        push(api, tone, adapter(8), parent_commit=head)
    assert status(error) == 412
    assert len(hub.registry.versions(tone)) == 2


def test_tags_that_can_not_be(hub: Any, tone: str, adapter: Any) -> None:
    api = hub.api()
    push(api, tone, adapter(9))
    with pytest.raises(HfHubHTTPError) as error:
        api.create_tag(tone, tag="v1", revision="main")
    assert status(error) == 409
    for tag in ("v77", "latest", "Champion", "../x", api.model_info(tone, revision="v1").sha):
        with pytest.raises(BadRequestError):
            api.create_tag(tone, tag=tag)
    with pytest.raises(BadRequestError, match="ahf rm"):
        api.delete_tag(tone, tag="v1")
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(tone, tag="absent")
    with pytest.raises(BadRequestError, match="can't be deleted"):
        api.delete_branch(tone, branch="main")


def test_pull_requests_data_sets_and_spaces_are_not_here(hub: Any, tone: str, adapter: Any) -> None:
    api = hub.api()
    with pytest.raises(BadRequestError, match="no pull requests"):
        push(api, tone, adapter(3), create_pr=True)
    with pytest.raises(BadRequestError, match="models alone"):
        api.create_repo("acme/data", repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("acme/data")


def test_what_a_hub_can_do_and_this_server_can_not(hub: Any, tone: str) -> None:
    calls = (
        lambda api, name: list(api.get_repo_discussions(name)),
        lambda api, name: api.super_squash_history(name),
        lambda api, name: list(api.list_lfs_files(name)),
    )
    for call in calls:
        with pytest.raises(HfHubHTTPError, match="this server has no") as error:
            call(hub.api(), tone)
        assert type(error.value) is HfHubHTTPError and status(error) == 404
        for api, name in ((hub.api(), "acme/absent"), (hub.api("other"), tone), (hub.api(None), tone)):
            with pytest.raises(RepositoryNotFoundError):
                call(api, name)
    for name in ("gpt2", "acme/absent"):  # a name of the real Hub's, without an organisation
        for revision in (None, "main"):
            with pytest.raises(RepositoryNotFoundError):
                hub.api().model_info(name, revision=revision)
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download(name, "config.json", endpoint=hub.url, token=hub.secrets["writer"])


def test_anonymous_reading_shows_what_is_public(serving: Any, adapter: Any, tmp_path: Any) -> None:
    hub = serving(Settings(anonymous_read=True))
    for name, private in (("acme/open", False), ("acme/closed", True)):
        hub.api().create_repo(name, private=private)
        push(hub.api(), name, adapter())
    nobody = hub.api(None)
    assert [each.id for each in nobody.list_models()] == ["acme/open"]
    assert httpx2.get(f"{hub.url}/metrics").status_code == 401, "figures are for those with a token"
    assert nobody.hf_hub_download("acme/open", "adapter_config.json", cache_dir=tmp_path)
    with pytest.raises(RepositoryNotFoundError):
        nobody.model_info("acme/closed")
    with pytest.raises(HfHubHTTPError):
        push(nobody, "acme/open", adapter(1))
    assert len(hub.registry.versions("acme/open")) == 1
