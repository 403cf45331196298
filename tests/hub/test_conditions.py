"""Requests for a file that say what the client has of it already, or which part it wants; revisions by any spelling."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from starlette.datastructures import Headers

from adapterhub_fin_registry.hub_server.errors import HubError
from adapterhub_fin_registry.hub_server.http import conditions

FILE = "adapter_config.json"


@pytest.fixture(scope="module")
def tone(hub: Any, adapter: Any) -> Any:
    """A repository of two versions and a branch, with its server."""
    api = hub.api()
    api.create_repo("acme/conditions")
    for seed in (1, 2):
        operations = [CommitOperationAdd(*each) for each in adapter(seed).items()]
        api.create_commit("acme/conditions", operations, commit_message="x")
    api.create_branch("acme/conditions", branch="dev", revision="v1")
    api.create_tag("acme/conditions", tag="champion", revision="v1")
    return hub


def ask(hub: Any, method: str = "GET", revision: str = "v1", path: str = FILE, **headers: str) -> httpx2.Response:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    url = f"{hub.url}/acme/conditions/resolve/{revision}/{path}"
    return httpx2.request(method, url, headers={"Authorization": f"Bearer {hub.secrets['writer']}", **named})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_a_file_is_told_so_and_sent_nothing(tone: Any, method: str) -> None:
    etag = ask(tone).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', f'"a", W/"b" , {etag},', "*", f'{etag}, "other"'):
        answer = ask(tone, method, If_None_Match=known, Range="bytes=0-3")
        assert answer.status_code == 304 and answer.content == b"", known
        assert answer.headers["etag"] == etag and "content-length" not in answer.headers
        assert answer.headers["x-repo-commit"] and answer.headers["cache-control"]
    for unknown in ('"other"', 'W/"other"', etag.strip('"'), f'"{etag}"', "", f"{etag} nonsense", "**"):
        answer = ask(tone, method, If_None_Match=unknown)
        assert answer.status_code == 200, unknown


def test_who_wants_one_file_alone_is_refused_another(tone: Any) -> None:
    etag = ask(tone).headers["etag"]
    assert [ask(tone, If_Match=each).status_code for each in (etag, "*", f'"x", {etag}')] == [200] * 3
    assert [ask(tone, If_Match=each).status_code for each in ('"x"', f"W/{etag}", "")] == [412] * 3


def test_a_part_is_of_the_file_that_the_client_has(tone: Any) -> None:
    whole = ask(tone)
    etag, data = whole.headers["etag"], whole.content
    part = ask(tone, Range="bytes=5-", If_Range=etag)
    assert (part.status_code, part.content) == (206, data[5:])
    for other in ('"other"', f"W/{etag}", "Wed, 21 Oct 2026 07:28:00 GMT", ""):
        answer = ask(tone, Range="bytes=5-", If_Range=other)
        assert (answer.status_code, answer.content) == (200, data), other
    beyond = ask(tone, Range=f"bytes={len(data)}-", If_Range='"other"')
    assert beyond.status_code == 200


def test_parts_at_the_edges(tone: Any) -> None:
    data = ask(tone).content
    size = len(data)
    parts = {
        f"bytes=0-{size - 1}": data,
        "bytes=0-": data,
        "Bytes=1-2": data[1:3],
        "bytes= 1 - 2": data[1:3],
        "bytes=,1-2,": data[1:3],
        f"bytes=-{size + 5}": data,
        f"bytes={size - 1}-": data[-1:],
        f"bytes=0-{10**30}": data,
    }
    for asked, expected in parts.items():
        answer = ask(tone, Range=asked)
        assert (answer.status_code, answer.content) == (206, expected), asked
        start = size - len(expected) if expected != data[1:3] else 1
        assert answer.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{size}"
    for asked in (f"bytes={size}-", "bytes=-0", f"bytes={10**30}-", f"bytes={size}-{size + 1}"):
        answer = ask(tone, Range=asked)
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}"), asked
    for asked in (
        "bytes=3-2",
        "bytes=0-0,2-3",
        "bytes=--1",
        "bytes=1",
        "items=0-1",
        "bytes=0x1-2",
        "bytes=" + "9" * 99,
    ):
        assert ask(tone, Range=asked).status_code == 200, asked
    assert ask(tone, "HEAD", Range="bytes=1-2").headers["content-length"] == str(size), "a range is of GET alone"


def test_a_part_of_nothing(tone: Any) -> None:
    assert conditions.part(Headers({"range": "bytes=-5"}), "x", 0) is None
    with pytest.raises(HubError, match="holds none of them"):
        conditions.part(Headers({"range": "bytes=0-"}), "x", 0)


def test_revisions_are_named_as_git_names_them(tone: Any) -> None:
    api, name = tone.api(), "acme/conditions"
    v1, v2 = (api.model_info(name, revision=tag).sha for tag in ("v1", "v2"))
    assert v1 and v2 and v1[:7] != v2[:7]
    meant = {
        "refs/heads/main": v2,
        "refs/heads/dev": v1,
        "refs/tags/v1": v1,
        "refs/tags/v2": v2,
        "refs/tags/champion": v1,
        v1[:7]: v1,
        v2[:10]: v2,
        v2[:39]: v2,
    }
    for revision, sha in meant.items():
        assert api.model_info(name, revision=revision).sha == sha, revision
        assert FILE in {each.path for each in api.list_repo_tree(name, revision=revision)}
        for spelt in (revision, revision.replace("/", "%2F")):
            assert ask(tone, "HEAD", spelt).headers["x-repo-commit"] == sha, spelt
        assert api.list_repo_commits(name, revision=revision)[0].commit_id == sha
        assert api.get_paths_info(name, [FILE], revision=revision)[0].path == FILE
    absent = [
        "refs/heads/v1",
        "refs/tags/main",
        "refs/tags/dev",
        "refs/heads/champion",
        "refs/pr/1",
        "refs/heads",
        v1[:6],
    ]
    for revision in [*absent, "0000000", "refs/heads/" + v1]:
        with pytest.raises(RevisionNotFoundError):
            api.model_info(name, revision=revision)


def test_a_short_id_that_begins_two_commits_is_told(tone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from adapterhub_fin_registry.hub_server.repo import repository

    known: list[str] = []

    def version_id(digest: str) -> str:
        if digest not in known:
            known.append(digest)
        return "abcdef0" + str(known.index(digest) + 1) * 33

    monkeypatch.setattr(repository, "version_id", version_id)
    from adapterhub_fin_registry.hub_server.repo.draft_state import RepositoryState
    from adapterhub_fin_registry.hub_server.repo.state import State

    found = repository.ServedRepository(
        tone.registry, State(tone.state), lambda v: b"", "acme/conditions", RepositoryState()
    )
    assert found.commit("abcdef01").id.endswith("1") and found.commit("abcdef02").id.endswith("2")
    with pytest.raises(HubError, match="begins 2 commits"):
        found.commit("abcdef0")


def test_branches_are_pushed_to_and_removed_by_their_whole_names(hub: Any, adapter: Any) -> None:
    api, name = hub.api(), "acme/whole-names"
    api.create_repo(name)

    def push(revision: str, files: dict[str, bytes]) -> Any:
        operations = [CommitOperationAdd(*each) for each in files.items()]
        return api.create_commit(name, operations, commit_message="x", revision=revision)

    done = push("refs/heads/main", adapter(4))
    assert api.model_info(name, revision="v1").sha == done.oid
    api.create_branch(name, branch="refs/heads/dev")
    push("refs/heads/dev", {"README.md": b"# x"})
    assert api.model_info(name, revision="dev").sha != done.oid
    api.create_tag(name, tag="champion", revision="refs/heads/main")
    api.delete_tag(name, tag="refs/tags/champion")
    api.delete_branch(name, branch="refs/heads/dev")
    assert [ref.name for ref in api.list_repo_refs(name).branches] == ["main"]
    with pytest.raises(HfHubHTTPError, match="isn't a branch"):
        push("refs/tags/v1", adapter(5))


def test_a_branch_that_was_made_of_nothing_stays_once_there_is_something(hub: Any, adapter: Any) -> None:
    api, name = hub.api(), "acme/early-branch"
    api.create_repo(name)
    api.create_branch(name, branch="dev")
    operations = [CommitOperationAdd(*each) for each in adapter(6).items()]
    api.create_commit(name, operations, commit_message="x")
    assert api.list_repo_files(name, revision="dev") == []
    api.create_commit(name, [CommitOperationAdd("notes.txt", b"x")], commit_message="x", revision="dev")
    assert api.list_repo_files(name, revision="dev") == ["notes.txt"]
