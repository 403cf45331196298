"""What a request costs, counted in calls: about as much as what it answers, whatever a hostile commit holds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import BadRequestError
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry.hub_server.errors import HubError
from adapterhub_fin_registry.hub_server.push.operations import Operations, applied
from adapterhub_fin_registry.hub_server.repo import documents
from adapterhub_fin_registry.hub_server.repo.documents import paths_documents, tree_documents
from adapterhub_fin_registry.hub_server.repo.tree import Blob, Commit
from adapterhub_fin_registry.model.file_rules import clash

BYTES = Blob.of(b"{}")
SHAPES: dict[str, Callable[[int], list[str]]] = {
    "a chain of folders of its own for each file": lambda n: [f"{i:x}/{'a/' * 90}x.json" for i in range(n)],
    "one chain of folders for all": lambda n: [f"{'a/' * 90}{i:x}.json" for i in range(n)],
    "a file in each folder of a chain": lambda n: ["a/" * (i % 90) + f"{i:x}.json" for i in range(n)],
    "a folder for each file": lambda n: [f"{i:x}/x.json" for i in range(n)],
    "one folder": lambda n: [f"a/{i:x}.json" for i in range(n)],
    "no folder": lambda n: [f"{i:x}.json" for i in range(n)],
}


def commit(paths: Iterable[str]) -> Commit:
    return Commit("0" * 40, dict.fromkeys(paths, BYTES))


def calls(function: Callable[..., Any], *arguments: Any, **named: Any) -> int:
    """The calls of functions, those written in C among them, that something makes."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        function(*arguments, **named)
    finally:
        sys.setprofile(None)
    return count


def pages(found: Commit, path: str = "", *, recursive: bool = True, limit: int = 1000) -> list[dict[str, Any]]:
    """Every page of a tree."""
    listed, after = tree_documents(found, path, recursive=recursive, expand=False, limit=limit)
    while after is not None:
        more, after = tree_documents(found, path, recursive=recursive, expand=False, after=after, limit=limit)
        listed += more
    return listed


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("recursive", [True, False])
def test_a_tree_costs_what_it_answers(shape: str, recursive: bool) -> None:
    cost = []
    for size in (100, 400):
        found = commit(SHAPES[shape](size))
        found.folders.oid("")  # which is made once for all who read the commit
        answered = len(pages(found, recursive=recursive))
        cost.append(calls(pages, found, recursive=recursive) / (answered + 20))
    assert max(cost) < 60 and cost[1] < 2 * max(cost[0], 5)


@pytest.mark.parametrize("recursive", [True, False])
def test_a_small_page_costs_little_however_many_files_there_are(recursive: bool) -> None:
    found = commit([*(f"{i:x}.json" for i in range(2000)), "z/x.json"])
    found.folders.oid("")
    options: dict[str, Any] = {"recursive": recursive, "expand": False, "limit": 1}
    assert calls(tree_documents, found, "", **options) < 100
    assert calls(tree_documents, found, "", after="folder:y", **options) < 100
    assert calls(tree_documents, found, "", after="file:7c.json", **options) < 100


@pytest.mark.parametrize("shape", SHAPES)
def test_a_commit_is_indexed_in_time_linear_in_its_files(shape: str) -> None:
    cost = [calls(getattr, commit(SHAPES[shape](size)), "folders") / size for size in (100, 400)]
    assert cost[1] < 60 and cost[1] < 1.5 * cost[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("what", ["files", "folders", "absent"])
def test_paths_cost_what_is_asked(shape: str, what: str) -> None:
    cost = []
    for size in (100, 400):
        paths = SHAPES[shape](size)
        found = commit(paths)
        found.folders.oid("")
        asked = {
            "files": paths,
            "folders": [path.rpartition("/")[0] or "a" for path in paths],
            "absent": [f"{path}x" for path in paths],
        }[what]
        cost.append(calls(paths_documents, found, asked, expand=False) / size)
    assert cost[1] < 60 and cost[1] < 1.5 * cost[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_commit_is_applied_in_time_linear_in_its_paths(shape: str) -> None:
    cost = []
    for size in (100, 400):
        head = commit(SHAPES[shape](size))
        outermost = sorted({path.partition("/")[0] for path in head.files if "/" in path})
        asked = Operations({f"new{i}.json": BYTES for i in range(size)}, (), outermost)
        segments = size + sum(path.count("/") + 1 for path in head.files)
        cost.append(calls(applied, head, asked) / segments)
    assert cost[1] < 60 and cost[1] < 1.5 * cost[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_paths_are_compared_in_time_linear_in_their_segments(shape: str) -> None:
    paths = SHAPES[shape](400)
    assert calls(clash, paths) < 20 * sum(path.count("/") + 1 for path in paths)


NAMES = st.sampled_from(["a", "b", "a-b", "a.b", "ab", "é"])
PATHS = st.lists(st.lists(NAMES, max_size=4).map(lambda folders: "/".join([*folders, "x.json"])), max_size=12)


@settings(max_examples=200, deadline=None)
@given(PATHS, st.integers(1, 4), st.booleans(), st.data())
def test_a_tree_is_whole_and_in_order_however_it_is_paged(
    paths: list[str], limit: int, recursive: bool, data: st.DataObject
) -> None:
    found = commit(paths)
    folders = {path.rsplit("/", depth)[0] for path in paths for depth in range(1, path.count("/") + 1)}
    root = data.draw(st.sampled_from(["", *sorted(folders)]))
    inside = root + "/" if root else ""

    def wanted(path: str) -> bool:
        return path.startswith(inside) and (recursive or "/" not in path.removeprefix(inside))

    listed = [(each["type"], each["path"]) for each in pages(found, root, recursive=recursive, limit=limit)]
    expected = {("directory", each) for each in folders if wanted(each)} | {
        ("file", each) for each in paths if wanted(each)
    }
    assert len(listed) == len(expected) and set(listed) == expected
    assert [kind for kind, _ in listed] == sorted(kind for kind, _ in listed), "folders first"


def test_the_id_of_a_folder_is_that_of_what_is_in_it() -> None:
    one = Commit("1" * 40, {"a/b/x.json": BYTES, "a/y.json": BYTES, "z.json": BYTES})
    other = Commit("2" * 40, {**one.files, "z.json": Blob.of(b"[]"), "c/x.json": BYTES})
    changed = Commit("3" * 40, {**one.files, "a/b/x.json": Blob.of(b"[]")})
    ids = [{path: each.folders.oid(path) for path in ("a", "a/b")} for each in (one, other, changed)]
    assert ids[0] == ids[1] and len({each["a"] for each in ids}) == 2 and len({each["a/b"] for each in ids}) == 2


@pytest.mark.parametrize("after", ["x", "folder", "other:a", "file"])
def test_a_cursor_of_something_else_is_refused_or_begins_somewhere(after: str) -> None:
    found = commit(["a/b.json"])
    try:
        tree_documents(found, "", recursive=True, expand=False, after=after)
    except HubError as error:
        assert error.status == 400 and "cursor" in error.message


def test_the_client_lists_a_deep_commit_page_by_page(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit of 360 KB, 800 files each below 180 folders of its own, cost every reader 26 seconds."""
    api, name = hub.api(), "work/deep"
    paths = [f"{i:x}/{'a/' * 170}x.json" for i in range(40)]
    api.create_repo(name)
    api.create_commit(name, [CommitOperationAdd(path, b"{}") for path in paths], commit_message="deep")
    monkeypatch.setattr(documents, "PAGE", 700)
    listed = list(api.list_repo_tree(name, recursive=True))
    assert len(listed) == len({each.path for each in listed}) == 40 * 172
    assert [each.path for each in listed if each.path.endswith(".json")] == sorted(paths)
    assert [each.path for each in api.list_repo_tree(name, "f/a/a")] == ["f/a/a/a"]
    assert [each.path for each in api.get_paths_info(name, ["f/a", "f/b", paths[0], "f/a/"])] == ["f/a", paths[0]]
    api.create_commit(name, [CommitOperationDelete("f/a/a/", is_folder=True)], commit_message="less")
    assert len(list(api.list_repo_tree(name, recursive=True))) == 39 * 172


def test_files_that_versions_have_are_found_by_one_look_through_the_manifests(
    hub: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of a thousand objects looked through every manifest a thousand times."""
    from adapterhub_fin_registry.hub_server.repo import repository as repositories
    from adapterhub_fin_registry.hub_server.repo.draft_state import RepositoryState
    from adapterhub_fin_registry.hub_server.repo.state import State
    from adapterhub_fin_registry.hub_server.repo.tree import version_files

    api, name = hub.api(), "work/batch"
    api.create_repo(name)
    for seed in range(3):
        operations = [CommitOperationAdd(*each) for each in adapter(seed).items()]
        api.create_commit(name, operations, commit_message="x")
    found = repositories.ServedRepository(hub.registry, State(hub.state), lambda version: b"", name, RepositoryState())
    read: list[int] = []

    def noted(version: Any) -> Any:
        read.append(version.number)
        return version_files(version)

    monkeypatch.setattr(repositories, "version_files", noted)
    shas = [blob.sha256 for number in (1, 2, 3) for blob in version_files(found.versions[number - 1]).values()]
    holders = [[version.number for version, _ in found.holding(sha)] for sha in [*shas * 20, *["0" * 64] * 100]]
    assert sorted(read) == [1, 2, 3], "each once, whatever is asked"
    config = found.versions[0].files / "adapter_config.json"
    assert holders[shas.index(_sha256(config))] == [3, 2, 1]


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_a_repository_holds_beside_its_versions_is_bounded(
    hub: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapterhub_fin_registry.hub_server.push import operations, push
    from adapterhub_fin_registry.hub_server.repo import repositories

    api, name = hub.api(), "work/bounded"
    api.create_repo(name)
    api.create_commit(name, [CommitOperationAdd(*each) for each in adapter(1).items()], commit_message="x")
    monkeypatch.setattr(repositories, "REFS", 2)
    for number in range(2):
        api.create_branch(name, branch=f"b{number}")
        api.create_tag(name, tag=f"t{number}", revision="v1")
    with pytest.raises(BadRequestError, match="2 branches at most"):
        api.create_branch(name, branch="more")
    with pytest.raises(BadRequestError, match="2 tags at most"):
        api.create_tag(name, tag="more", revision="v1")
    api.delete_branch(name, branch="b0")
    api.create_branch(name, branch="more")

    def draft(branch: str, count: int) -> None:
        files = [CommitOperationAdd(f"{branch}-{number}.txt", b"x") for number in range(count)]
        api.create_commit(name, files, commit_message="x", revision=branch)

    monkeypatch.setattr(push, "ALL_ROWS", 30)
    draft("b1", 20)
    with pytest.raises(BadRequestError, match="delete a branch first"):
        draft("more", 12)
    monkeypatch.setattr(operations, "FILES", 10)
    with pytest.raises(BadRequestError, match="10 files at most"):
        draft("more", 11)
    api.delete_branch(name, branch="b1")


def test_commits_that_were_read_are_not_all_kept_in_memory(
    hub: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapterhub_fin_registry.hub_server.repo import repository as repositories
    from adapterhub_fin_registry.hub_server.repo.draft_state import RepositoryState
    from adapterhub_fin_registry.hub_server.repo.state import State

    api, name = hub.api(), "work/history"
    api.create_repo(name)
    for seed in range(5):
        api.create_commit(name, [CommitOperationAdd(*each) for each in adapter(seed).items()], commit_message="x")
    monkeypatch.setattr(repositories, "_CACHED_FILES", 9)
    found = repositories.ServedRepository(hub.registry, State(hub.state), lambda version: b"", name, RepositoryState())
    for _ in range(2):
        for number in range(1, 6):
            assert len(found.commit(f"v{number}").files) == 4
    assert sum(len(commit.files) for commit in found._commits.values()) <= 9
    listed, count = found.history(found.commit("v5"), 1, 2)
    assert ([commit.version.number for commit in listed if commit.version], count) == ([4, 3], 5)


def test_a_page_of_a_history_makes_no_more_than_its_commits(hub: Any) -> None:
    from adapterhub_fin_registry.hub_server.repo import repository as repositories
    from adapterhub_fin_registry.hub_server.repo.draft_state import RepositoryState
    from adapterhub_fin_registry.hub_server.repo.state import State

    made: list[int] = []

    def card(version: Any) -> bytes:
        made.append(version.number)
        return b""

    found = repositories.ServedRepository(hub.registry, State(hub.state), card, "work/history", RepositoryState())
    found.history(found.commit("v5"), 0, 2)
    assert sorted(set(made)) == [4, 5]
