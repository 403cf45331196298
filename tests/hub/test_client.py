"""The Hub's own client against the server: every call that it has for models, with hf-xet installed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils._runtime import is_xet_available

from adapterhub_fin_registry import Manifest
from adapterhub_fin_registry.hub_server.http import parameters
from adapterhub_fin_registry.hub_server.tokens import Tokens

Files = dict[str, bytes]


def push(api: HfApi, name: str, files: Files, **options: Any) -> Any:
    """One commit with some files."""
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(name, operations, commit_message="pushed", **options)


def test_a_repository_from_its_making_to_its_end(hub: Any, adapter: Any, tmp_path: Path) -> None:
    api, files = hub.api(), adapter()
    assert is_xet_available()
    assert (api.whoami()["name"], api.whoami()["auth"]["accessToken"]["role"]) == ("writer", "write")
    assert api.create_repo("acme/thin").repo_id == "acme/thin"
    assert api.create_repo("acme/thin", exist_ok=True).repo_id == "acme/thin"
    pushed = {**files, "README.md": b"---\nlicense: mit\n---\n# hi\n"}
    done = push(api, "acme/thin", pushed)
    api.create_tag("acme/thin", tag="v1", revision=done.oid)

    info = api.model_info("acme/thin", revision="v1", files_metadata=True)
    assert (info.sha, info.private, info.author, info.card_data.license) == (done.oid, True, "acme", "mit")
    assert info.library_name is None and {"lora", "base_model:acme/base", "license:mit"} <= set(info.tags)
    assert {each.rfilename for each in info.siblings} == {*pushed, "ahf_manifest.json"}
    assert all(each.lfs.sha256 and each.size == each.lfs.size for each in info.siblings)

    folder = Path(api.snapshot_download("acme/thin", revision="v1", cache_dir=tmp_path))
    for path, data in pushed.items():
        assert (folder / path).read_bytes() == data
    checked = api.verify_repo_checksums("acme/thin", revision=done.oid, cache_dir=tmp_path)
    assert checked.checked_count == 4 and not checked.mismatches
    (folder / "README.md").unlink()
    (folder / "README.md").write_bytes(b"other")
    assert api.verify_repo_checksums("acme/thin", revision=done.oid, cache_dir=tmp_path).mismatches

    version = hub.registry.resolve("acme/thin@1")
    assert version.record["origin"] is not None and version.manifest.base.repository == "acme/base"
    api.delete_repo("acme/thin")
    assert not api.repo_exists("acme/thin") and "acme/thin" not in hub.registry.names()
    api.create_repo("acme/thin")
    assert push(api, "acme/thin", files).oid and api.list_repo_refs("acme/thin").tags[0].name == "v2"


def test_versions_are_tags_and_main_is_the_newest(hub: Any, adapter: Any) -> None:
    api = hub.api()
    api.create_repo("acme/tags")
    oids = [push(api, "acme/tags", adapter(seed)).oid for seed in range(3)]
    refs = api.list_repo_refs("acme/tags")
    assert [(ref.name, ref.target_commit) for ref in refs.tags] == [(f"v{n}", oid) for n, oid in enumerate(oids, 1)]
    assert [(ref.name, ref.target_commit) for ref in refs.branches] == [("main", oids[2])]
    assert [each.commit_id for each in api.list_repo_commits("acme/tags")] == oids[::-1]
    assert [each.commit_id for each in api.list_repo_commits("acme/tags", revision="v2")] == oids[1::-1]
    hub.registry.add_event("acme/tags@3", "yank", {"reason": "wrong"})
    assert api.model_info("acme/tags").sha == oids[1] and api.model_info("acme/tags", revision="v3").sha == oids[2]
    hub.registry.add_event("acme/tags@3", "unyank")
    assert api.model_info("acme/tags").sha == oids[2]


def test_other_tags_are_aliases(hub: Any, adapter: Any) -> None:
    api = hub.api()
    api.create_repo("acme/alias")
    oid = push(api, "acme/alias", adapter()).oid
    push(api, "acme/alias", adapter(1))
    api.create_tag("acme/alias", tag="champion", revision="v1", tag_message="the best yet")
    assert hub.registry.aliases("acme/alias") == {"champion": 1}
    assert api.model_info("acme/alias", revision="champion").sha == oid
    assert ("champion", oid) in {(ref.name, ref.target_commit) for ref in api.list_repo_refs("acme/alias").tags}
    api.create_tag("acme/alias", tag="champion", revision="v2", exist_ok=True)
    assert hub.registry.aliases("acme/alias") == {"champion": 1}
    api.delete_tag("acme/alias", tag="champion")
    assert hub.registry.aliases("acme/alias") == {}


def test_a_repository_that_can_not_be_deleted_whole_stays_whole(hub: Any, adapter: Any) -> None:
    api = hub.api()
    api.create_repo("acme/damaged")
    for seed in range(2):
        push(api, "acme/damaged", adapter(seed))
    manifest = hub.registry.path("acme/damaged@1").parent / "manifest.json"
    whole = manifest.read_bytes()
    manifest.chmod(0o644)
    manifest.write_bytes(b"{")
    with pytest.raises(HfHubHTTPError, match="acme/damaged@1 is damaged"):
        api.delete_repo("acme/damaged")
    manifest.write_bytes(whole)
    assert [ref.name for ref in api.list_repo_refs("acme/damaged").tags] == ["v1", "v2"]


@pytest.fixture
def family(hub: Any, adapter: Any, made: Any, tmp_path: Path) -> Callable[..., None]:
    """Store a base on the server, and adapters that were trained on it, under names."""

    def store(base: str, *adapters: str) -> None:
        folder = tmp_path / "base"
        folder.mkdir()
        (folder / "config.json").write_bytes(b"{}")
        (folder / "model.safetensors").write_bytes(adapter(5)["adapter_model.safetensors"])
        shape = {"architecture": "BertModel", "fingerprint": "verified"}
        document = json.loads(made.manifest_bytes) | {"files": [], "tensors": []}
        version = hub.registry.add(
            folder, Manifest.model_validate({**document, "kind": "base", "base": shape}), name=base
        )
        recorded = {**shape, "version": {"digest": version.digest, "name": base}}
        for name in adapters:
            hub.registry.add(made.files, Manifest.model_validate({**document, "base": recorded}), name=name)

    return store


def test_the_base_of_other_repositories_is_not_deleted(hub: Any, family: Callable[..., None]) -> None:
    api = hub.api()
    family("acme/base-of", "acme/base-of", "acme/base-on", "desk/base-on")
    api.update_repo_settings("desk/base-on", private=True)
    with pytest.raises(HfHubHTTPError, match="the base of acme/base-on and desk/base-on, which") as refused:
        api.delete_repo("acme/base-of")
    assert refused.value.response.status_code == 409
    assert [ref.name for ref in api.list_repo_refs("acme/base-of").tags] == ["v1", "v2"]
    for name in ("acme/base-on", "desk/base-on"):
        api.delete_repo(name)
    api.delete_repo("acme/base-of")
    assert not api.repo_exists("acme/base-of")


def test_a_base_of_repositories_that_are_not_seen_names_none(hub: Any, family: Callable[..., None]) -> None:
    family("other/base-of", "acme/hidden-on", "acme/shown-on")
    api = hub.api()
    for name, private in (("other/base-of", False), ("acme/hidden-on", True), ("acme/shown-on", False)):
        api.update_repo_settings(name, private=private)
    with pytest.raises(HfHubHTTPError, match="has the base of acme/shown-on and 1 more, which") as refused:
        hub.api("other").delete_repo("other/base-of")
    assert "hidden" not in str(refused.value)


def test_a_commit_is_named_by_no_alias(hub: Any, adapter: Any) -> None:
    api = hub.api()
    api.create_repo("acme/named")
    first, second = (push(api, "acme/named", adapter(seed)).oid for seed in range(2))
    hub.registry.set_alias("acme/named", first, 2)
    assert api.model_info("acme/named", revision=first).sha == first != second
    hub.registry.set_alias("acme/named", "f" * 40, 2)
    with pytest.raises(RevisionNotFoundError):
        api.model_info("acme/named", revision="f" * 40)


def test_two_who_move_to_each_other_do_not_wait_for_ever(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from adapterhub_fin_registry.hub_server.repo.repositories import Repositories

    get = Repositories.get

    def slowly(self: Repositories, name: str) -> Any:
        time.sleep(0.05)
        return get(self, name)

    names = ("acme/here", "acme/there")
    for name in names:
        hub.api().create_repo(name)

    def move(number: int) -> int:
        said = {"fromRepo": names[number % 2], "toRepo": names[1 - number % 2], "type": "model"}
        headers = {"Authorization": f"Bearer {hub.secrets['writer']}"}
        return int(httpx2.post(f"{hub.url}/api/repos/move", json=said, headers=headers, timeout=5).status_code)

    monkeypatch.setattr(Repositories, "get", slowly)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(move, range(4))) == {409}


def test_a_list_with_files_leaves_out_what_is_deleted_meanwhile(
    serving: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapterhub_fin_registry.hub_server.repo.listing import Listing

    hub, listed = serving(), Listing.page
    for name in ("acme/goes", "acme/stays", "other/hides"):
        hub.api().create_repo(name, private=False)

    def page(self: Listing, *asked: Any) -> Any:
        found = listed(self, *asked)
        hub.api().delete_repo("acme/goes")
        hub.api().update_repo_settings("other/hides", private=True)
        return found

    monkeypatch.setattr(Listing, "page", page)
    reader = HfApi(endpoint=hub.url, token=Tokens(hub.state).add("acme-reader", "read", ["acme"]))
    assert [each.id for each in reader.list_models(full=True)] == ["acme/stays"]


def test_branches_hold_drafts(hub: Any, adapter: Any) -> None:
    api = hub.api()
    api.create_repo("acme/branch")
    first = push(api, "acme/branch", adapter()).oid
    api.create_branch("acme/branch", branch="dev", revision="v1")
    api.create_branch("acme/branch", branch="dev", exist_ok=True)
    draft = push(api, "acme/branch", adapter(1), revision="dev").oid
    assert {ref.name: ref.target_commit for ref in api.list_repo_refs("acme/branch").branches} == {
        "main": first,
        "dev": draft,
    }
    assert [each.number for each in hub.registry.versions("acme/branch")] == [1]
    assert api.model_info("acme/branch", revision=draft).sha == draft
    api.delete_branch("acme/branch", branch="dev")
    assert [ref.name for ref in api.list_repo_refs("acme/branch").branches] == ["main"]


def test_trees_and_paths(hub: Any, adapter: Any) -> None:
    api = hub.api()
    api.create_repo("acme/tree")
    extra = {"notes/a.txt": b"a", "notes/deep/b.txt": b"b"}
    with pytest.raises(Exception, match="isn't an adapter's weights"):
        push(api, "acme/tree", {"model.safetensors": b"x"})
    push(api, "acme/tree", {**extra, "adapter_config.json": adapter()["adapter_config.json"]})
    flat = {entry.path: type(entry).__name__ for entry in api.list_repo_tree("acme/tree")}
    assert flat == {"notes": "RepoFolder", "adapter_config.json": "RepoFile"}
    deep = {entry.path for entry in api.list_repo_tree("acme/tree", recursive=True)}
    assert deep == {"notes", "notes/deep", *extra, "adapter_config.json"}
    inner = [entry.path for entry in api.list_repo_tree("acme/tree", "notes", expand=True)]
    assert inner == ["notes/deep", "notes/a.txt"]
    found = api.get_paths_info("acme/tree", ["notes", "notes/a.txt", "absent"], expand=True)
    assert [each.path for each in found] == ["notes", "notes/a.txt"] and found[1].last_commit.title == "pushed"
    assert api.file_exists("acme/tree", "notes/a.txt") and not api.file_exists("acme/tree", "notes/c.txt")


def test_lists_are_filtered_sorted_and_in_pages(serving: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = serving()
    api = hub.api()
    for number, base in enumerate(("acme/small", "acme/large", "acme/large")):
        api.create_repo(f"desk/list-{number}", private=number != 0)
        card = f"---\ntags: [tone{number}]\ndatasets: [news]\n---\n".encode()
        push(api, f"desk/list-{number}", {**adapter(number, base=base), "README.md": card})
    api.create_repo("other/empty")

    def names(**wanted: Any) -> list[str]:
        return [each.id for each in api.list_models(**wanted)]

    assert sorted(names()) == ["desk/list-0", "desk/list-1", "desk/list-2", "other/empty"]
    assert names(author="other") == ["other/empty"] and names(search="list-1") == ["desk/list-1"]
    assert names(filter="tone1") == ["desk/list-1"]
    assert names(filter=["base_model:acme/large", "lora"], trained_dataset="news") == ["desk/list-1", "desk/list-2"]
    assert names(filter="none") == [] and names(gated=True) == []
    pushed = [each.last_modified for each in api.list_models(sort="last_modified")]
    assert pushed == sorted(pushed, reverse=True)
    address, seen = f"{hub.url}/api/models?limit=2&sort=createdAt&author=desk", []
    while address:
        page = httpx2.get(address, headers={"Authorization": f"Bearer {hub.secrets['writer']}"})
        seen.append([each["id"] for each in page.json()])
        address = page.links.get("next", {}).get("url")
    assert [len(page) for page in seen] == [2, 1] and sorted([*seen[0], *seen[1]]) == sorted(names(author="desk"))
    everything = {sort: names(sort=sort) for sort in (None, "created_at", "last_modified", "downloads", "likes")}
    monkeypatch.setattr(parameters, "PAGE", 2)  # the most that this server gives at once: the client asks for the rest
    for sort, expected in everything.items():
        assert names(sort=sort) == expected and names(sort=sort, limit=3) == expected[:3]
    assert {each.id for each in hub.api("other").list_models()} == {"desk/list-0", "other/empty"}
    assert [len(each.siblings) for each in api.list_models(search="list-1", full=True)] == [4]


def test_a_file_is_read_again_offline(hub: Any, adapter: Any, tmp_path: Path) -> None:
    api = hub.api()
    api.create_repo("acme/offline")
    push(api, "acme/offline", adapter())
    code = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download("acme/offline", revision="v1"))
"""
    environment = hub.environment(tmp_path)
    online = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    environment |= {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    offline = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert offline.stdout == online.stdout
    with pytest.raises(LocalEntryNotFoundError):
        hf_hub_download("acme/offline", "absent.json", cache_dir=tmp_path, local_files_only=True)


def test_large_files_go_by_lfs_where_the_client_has_no_xet(serving: Any, adapter: Any, tmp_path: Path) -> None:
    from adapterhub_fin_registry.hub_server.settings import Settings

    hub = serving(Settings(regular_limit=2000, upload_limit=200_000))
    hub.api().create_repo("acme/lfs")
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path, data in adapter(columns=4000).items():
        (folder / path).write_bytes(data)
    code = """
import sys
from huggingface_hub import CommitOperationAdd, HfApi
files = ("adapter_config.json", "adapter_model.safetensors")
operations = [CommitOperationAdd(path, f"{sys.argv[1]}/{path}") for path in files]
print(HfApi().create_commit("acme/lfs", operations, commit_message="by LFS").oid)
"""
    command = [sys.executable, "-c", code, str(folder)]
    with_xet = subprocess.run(command, env=hub.environment(tmp_path), capture_output=True, text=True)
    assert with_xet.returncode == 1 and "HF_HUB_DISABLE_XET=1" in with_xet.stderr
    environment = hub.environment(tmp_path) | {"HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert hub.api().model_info("acme/lfs", revision="v1").sha == done.stdout.strip()
    stored = hub.registry.path("acme/lfs@1") / "adapter_model.safetensors"
    assert stored.read_bytes() == (folder / "adapter_model.safetensors").read_bytes()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert again.stdout == done.stdout and len(hub.registry.versions("acme/lfs")) == 1
    too_large = [CommitOperationAdd("adapter_model.safetensors", bytes(200_001))]
    with pytest.raises(Exception, match="200000 are the most"):
        hub.api().create_commit("acme/lfs", too_large, commit_message="too large")


def test_copies_deletions_and_folders(hub: Any, adapter: Any) -> None:
    api = hub.api()
    api.create_repo("acme/copy")
    push(api, "acme/copy", {"notes/a.txt": b"a", "notes/b.txt": b"b", "adapter_config.json": b"{}"})
    api.create_commit("acme/copy", [CommitOperationCopy("notes/a.txt", "c.txt")], commit_message="copied")
    assert sorted(api.list_repo_files("acme/copy")) == ["adapter_config.json", "c.txt", "notes/a.txt", "notes/b.txt"]
    operations = [CommitOperationDelete("notes/", is_folder=True), CommitOperationDelete("adapter_config.json")]
    api.create_commit("acme/copy", operations, commit_message="deleted")
    assert api.list_repo_files("acme/copy") == ["c.txt"]


def test_settings_and_names(hub: Any, adapter: Any, tmp_path: Path) -> None:
    api = hub.api()
    api.create_repo("acme/settings")
    api.update_repo_settings("acme/settings", private=False, gated="auto")
    info = api.model_info("acme/settings")
    assert (info.private, info.gated) == (False, "auto")
    push(api, "acme/settings", {"notes.txt": b"a draft"})
    api.move_repo("acme/settings", "acme/moved")
    assert api.repo_exists("acme/moved") and not api.repo_exists("acme/settings")
    moved = api.model_info("acme/moved")
    assert (moved.private, moved.gated) == (False, "auto") and api.list_repo_files("acme/moved") == ["notes.txt"]
    assert Path(api.hf_hub_download("acme/moved", "notes.txt", cache_dir=tmp_path)).read_bytes() == b"a draft"
    assert api.create_repo("alone").repo_id == "writer/alone"
