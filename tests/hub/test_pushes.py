"""What a push becomes: a version, a draft, a card, a signature, or nothing."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RevisionNotFoundError

from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.model.manifest import Manifest


def push(api: Any, name: str, files: dict[str, bytes], **options: Any) -> Any:
    """One commit with some files."""
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(name, operations, commit_message="pushed", **options)


def on_a_hub(version: Any) -> dict[str, bytes]:
    """The files of a version as they lie on a Hub."""
    files = {file.path: (version.files / file.path).read_bytes() for file in version.manifest.files}
    return {**files, "ahf_manifest.json": version.manifest_bytes}


def test_a_pushed_manifest_keeps_its_digest_and_its_signatures(hub: Any, made: Any, tmp_path: Path) -> None:
    from adapterhub_fin.cli.sign import write_new_key
    from adapterhub_fin_registry.trust.keys import PrivateKey
    from adapterhub_fin_registry.trust.signatures import Signature

    api = hub.api()
    api.create_repo("acme/made")
    key = PrivateKey.read(_key(tmp_path, write_new_key))
    signature = Signature.make(made.manifest, key)
    signed = {f"ahf_signatures/{signature.file_name}": signature.data}
    oid = push(api, "acme/made", on_a_hub(made) | signed).oid
    version = hub.registry.resolve("acme/made@1")
    assert version.digest == made.digest and version.record["origin"] == {"pushed_by": "writer"}
    assert [each.sha256 for each in hub.registry.signatures("acme/made@1")] == [signature.sha256]
    assert push(api, "acme/made", on_a_hub(made) | signed).oid == oid
    other = Signature.make(made.manifest, PrivateKey.read(_key(tmp_path / "b", write_new_key)))
    assert push(api, "acme/made", {f"ahf_signatures/{other.file_name}": other.data}).oid == oid
    assert len(hub.registry.signatures("acme/made@1")) == 2 and len(hub.registry.versions("acme/made")) == 1
    for path in ("ahf_manifest.json", f"ahf_signatures/{other.file_name}"):
        with pytest.raises(BadRequestError, match="stays with it"):
            api.create_commit("acme/made", [CommitOperationDelete(path)], commit_message="taken out")
    assert f"ahf_signatures/{other.file_name}" in api.list_repo_files("acme/made", revision="v1")


def _key(folder: Path, write_new_key: Any) -> Path:
    folder.mkdir(exist_ok=True)
    write_new_key(folder / "key.pem")
    return folder / "key.pem"


def test_a_commit_id_is_that_of_the_digest_on_any_server(serving: Any, made: Any) -> None:
    oids = set()
    for _ in range(2):
        hub = serving()
        hub.api().create_repo("desk/same")
        oids.add(push(hub.api(), "desk/same", on_a_hub(made)).oid)
        shutil.rmtree(hub.state / "repositories")
        assert hub.api().model_info("desk/same", revision="v1").sha in oids
    assert len(oids) == 1


def _without_tensors(files: dict[str, bytes]) -> bytes:
    return Manifest.parse(files["ahf_manifest.json"]).model_copy(update={"tensors": ()}).canonical()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda files: {**files, "ahf_manifest.json": files["ahf_manifest.json"] + b"\n"}, "canonical"),
        (lambda files: {**files, "ahf_manifest.json": b'{"format":1}'}, "manifest"),
        (lambda files: {**files, "ahf_manifest.json": _without_tensors(files)}, "doesn't name its files and tensors"),
        (lambda files: {**files, "adapter_config.json": b"{}"}, "isn't what ahf_manifest.json says"),
        (lambda files: {**files, "notes.txt": b"more"}, "not named by ahf_manifest.json"),
        (lambda files: {**files, "ahf_signatures/" + "0" * 64 + ".json": b"{}"}, "isn't a signature"),
        (lambda files: {"ahf_signatures/" + "0" * 64 + ".json": b"{}"}, "push ahf_manifest.json with it"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(hub: Any, made: Any, spoil: Any, why: str) -> None:
    api = hub.api()
    api.create_repo("acme/unfit", exist_ok=True)
    with pytest.raises(BadRequestError, match=why):
        push(api, "acme/unfit", spoil(on_a_hub(made)))
    assert hub.registry.versions("acme/unfit") == [] and api.list_repo_files("acme/unfit") == []


def test_a_push_file_by_file_is_a_draft_until_it_is_whole(hub: Any, adapter: Any) -> None:
    api, files = hub.api(), adapter()
    api.create_repo("acme/draft")
    assert api.list_repo_files("acme/draft") == [] and api.list_repo_refs("acme/draft").tags == []
    draft = push(api, "acme/draft", {"adapter_config.json": files["adapter_config.json"]}).oid
    assert api.list_repo_files("acme/draft") == ["adapter_config.json"]
    with pytest.raises(BadRequestError, match="is no version yet"):
        api.create_tag("acme/draft", tag="v1")
    whole = push(api, "acme/draft", {"adapter_model.safetensors": files["adapter_model.safetensors"]}).oid
    assert [ref.name for ref in api.list_repo_refs("acme/draft").tags] == ["v1"]
    assert api.model_info("acme/draft").sha == whole
    assert api.list_repo_files("acme/draft", revision=draft) == ["adapter_config.json"], "who reads it may go on"
    api.create_commit("acme/draft", [CommitOperationDelete("adapter_model.safetensors")], commit_message="taken out")
    assert "adapter_model.safetensors" not in api.list_repo_files("acme/draft")
    assert "adapter_model.safetensors" in api.list_repo_files("acme/draft", revision="v1")


def test_a_draft_on_main_hides_no_version(hub: Any, adapter: Any) -> None:
    api, name = hub.api(), "acme/hidden"
    api.create_repo(name)
    push(api, name, adapter())
    hub.registry.add_event(f"{name}@1", "tag", {"tag": "ready"})
    before = api.model_info(name)
    api.create_commit(name, [CommitOperationDelete("adapter_config.json")], commit_message="broken")
    draft = api.model_info(name)
    assert draft.sha != before.sha and {"adapterhub_fin", "ready", "base_model:acme/base"} <= set(draft.tags)
    assert (draft.tags, draft.library_name, draft.card_data) == (before.tags, "peft", before.card_data)
    for word in ("adapterhub_fin", "peft", "ready"):
        assert name in [each.id for each in api.list_models(filter=word)], word
    push(api, name, {"README.md": b"---\nlibrary_name: own\n---\n"})
    assert api.model_info(name).library_name == "own" and "adapterhub_fin" in api.model_info(name).tags


def test_a_push_that_was_repaired_is_known_again(hub: Any, adapter: Any) -> None:
    api, files = hub.api(), adapter(33)
    old = json.loads(files["adapter_config.json"]) | {"task_type": "TaskType.CAUSAL_LM"}
    files["adapter_config.json"] = json.dumps(old).encode()
    api.create_repo("acme/repaired")
    oid = push(api, "acme/repaired", files).oid
    stored = hub.registry.path("acme/repaired@1") / "adapter_config.json"
    assert stored.read_bytes() != files["adapter_config.json"]
    assert push(api, "acme/repaired", files).oid == oid and len(hub.registry.versions("acme/repaired")) == 1


def test_a_push_that_broke_off_behind_its_version_is_known_again(
    hub: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api, files = hub.api(), adapter(34)
    old = json.loads(files["adapter_config.json"]) | {"task_type": "TaskType.CAUSAL_LM"}  # which is repaired
    pushed = {**files, "adapter_config.json": json.dumps(old).encode(), "README.md": b"# mine\n"}
    api.create_repo("acme/broken-off")

    def full(self: State, *told: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(State, "write", full)
        with pytest.raises(HfHubHTTPError, match="disk failed"):
            push(api, "acme/broken-off", pushed)
    assert len(hub.registry.versions("acme/broken-off")) == 1
    oid = push(api, "acme/broken-off", pushed).oid
    assert len(hub.registry.versions("acme/broken-off")) == 1 and api.model_info("acme/broken-off").sha == oid
    card = api.hf_hub_download("acme/broken-off", "README.md", cache_dir=tmp_path)
    assert Path(card).read_bytes() == b"# mine\n"


def test_a_version_stored_by_other_means_supersedes_a_draft(hub: Any, adapter: Any, made: Any) -> None:
    api = hub.api()
    api.create_repo("acme/both")
    push(api, "acme/both", adapter())
    push(api, "acme/both", {"notes.txt": b"with notes"})
    api.create_commit("acme/both", [CommitOperationDelete("adapter_config.json")], commit_message="broken")
    hub.registry.add(made.files, made.manifest, name="acme/both")
    assert sorted(api.list_repo_files("acme/both"))[:2] == ["README.md", "adapter_config.json"]
    assert api.model_info("acme/both").sha == api.model_info("acme/both", revision="v3").sha


def test_a_card_alone_makes_no_version(hub: Any, adapter: Any, tmp_path: Path) -> None:
    api = hub.api()
    api.create_repo("acme/card")
    version = push(api, "acme/card", adapter()).oid
    made = Path(api.hf_hub_download("acme/card", "README.md", cache_dir=tmp_path)).read_text()
    assert "library_name" in made and "acme/base" in made
    card = push(api, "acme/card", {"README.md": b"---\ntags: [mine]\n---\n# mine\n"}).oid
    assert card != version and api.model_info("acme/card").sha == card
    assert "mine" in api.model_info("acme/card").tags and "mine" not in api.model_info("acme/card", revision="v1").tags
    assert len(hub.registry.versions("acme/card")) == 1
    assert push(api, "acme/card", {"README.md": b"---\ntags: [mine]\n---\n# mine\n"}).oid == card
    api.create_commit("acme/card", [CommitOperationDelete("README.md")], commit_message="back")
    assert api.model_info("acme/card").sha == version
    with pytest.raises(Exception, match="YAML"):
        push(api, "acme/card", {"README.md": b"---\ntags: [mine\n---\n"})


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"model.safetensors": b"x", "config.json": b"{}"}, "isn't an adapter's weights"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"}, "adapter_config.json"),
        ({"adapter_model.bin": b"\x80\x02"}, "isn't of an allowed kind"),
        ({"run.py": b"import os"}, "isn't of an allowed kind"),
        ({"A.json": b"{}", "a.json": b"{}"}, "one file on some systems"),
    ],
)
def test_what_is_no_adapter_is_refused_with_the_reason(hub: Any, files: dict[str, bytes], why: str) -> None:
    api = hub.api()
    api.create_repo("acme/none", exist_ok=True)
    with pytest.raises(BadRequestError, match=why) as error:
        push(api, "acme/none", files)
    assert str(hub.state) not in str(error.value) and "/tmp" not in str(error.value)
    assert hub.registry.versions("acme/none") == [] and api.list_repo_files("acme/none") == []


def test_a_file_in_a_folder_is_not_left_behind_without_a_word(hub: Any, adapter: Any) -> None:
    api = hub.api()
    api.create_repo("acme/folders")
    push(api, "acme/folders", {"notes/a.txt": b"a"})
    with pytest.raises(BadRequestError, match="notes/a.txt is in a folder"):
        push(api, "acme/folders", adapter())
    assert api.list_repo_files("acme/folders") == ["notes/a.txt"] and not hub.registry.versions("acme/folders")


def test_what_trainers_leave_beside_an_adapter_is_left_out(hub: Any, adapter: Any) -> None:
    api = hub.api()
    api.create_repo("acme/trainer")
    push(api, "acme/trainer", {**adapter(), "training_args.bin": b"\x80\x02", "runs/events.out.tfevents.1": b"x"})
    assert "training_args.bin" not in api.list_repo_files("acme/trainer")
    assert hub.registry.resolve("acme/trainer").record["origin"]["pushed_by"] == "writer"
    assert len(hub.registry.versions("acme/trainer")) == 1


def test_altered_files_are_not_given_out(hub: Any, adapter: Any, caplog: pytest.LogCaptureFixture) -> None:
    api = hub.api()
    api.create_repo("acme/altered")
    push(api, "acme/altered", adapter())
    config = hub.registry.path("acme/altered@1") / "adapter_config.json"
    config.chmod(0o644)
    config.write_bytes(config.read_bytes().replace(b"LORA", b"MORA"))
    token = {"Authorization": f"Bearer {hub.secrets['writer']}"}
    with caplog.at_level("ERROR", logger="adapterhub_fin_registry.hub_server.http.access"):
        answer = httpx2.get(f"{hub.url}/acme/altered/resolve/v1/adapter_config.json", headers=token)
    assert any(str(config) in record.getMessage() for record in caplog.records), "whoever runs the server is told"
    assert answer.status_code == 500 and "isn't what its manifest says" in answer.json()["error"]


@pytest.mark.parametrize("damage", ["undated", "cut-off"])
def test_damaged_versions_are_passed_over_and_pushed_anew(hub: Any, adapter: Any, damage: str) -> None:
    api, name = hub.api(), f"acme/{damage}"
    api.create_repo(name)
    oids = [push(api, name, adapter(seed)).oid for seed in range(4)]
    for number in (1, 4):
        path = hub.registry.resolve(f"{name}@{number}").folder / "manifest.json"
        data = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(data[:-1] if damage == "cut-off" else data.replace(b'"inputs":[', b'"inputs":[[],'))
    hub.registry.add_event(f"{name}@2", "tag", {"tag": "seen"})  # by which the server notices
    refs = api.list_repo_refs(name)
    assert sorted(tag.name for tag in refs.tags) == ["v2", "v3"] and refs.branches[0].target_commit == oids[2]
    assert [each.commit_id for each in api.list_repo_commits(name)] == [oids[2], oids[1]]
    for revision in ("v1", "v4", oids[0], oids[3]):
        with pytest.raises(RevisionNotFoundError):
            api.model_info(name, revision=revision)
    assert push(api, name, adapter(3)).oid not in oids[:3]
    assert [version.number for version in hub.registry.versions(name)] == [2, 3, 5]
    hub.registry.verify(f"{name}@5")


def test_six_who_push_at_once_lose_nothing(hub: Any, adapter: Any) -> None:
    hub.api().create_repo("acme/six")
    push(hub.api(), "acme/six", adapter(0))
    head = hub.api().model_info("acme/six").sha

    def first(seed: int) -> int:
        try:
            push(hub.api(), "acme/six", adapter(seed), parent_commit=head)
        except HfHubHTTPError as error:
            return int(error.response.status_code)
        return 200

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(first, range(1, 7))) == [200, 412, 412, 412, 412, 412]
        oids = list(pool.map(lambda seed: push(hub.api(), "acme/six", adapter(seed)).oid, range(7, 13)))
    tags = hub.api().list_repo_refs("acme/six").tags
    assert len(tags) == 8 and set(oids) == {ref.target_commit for ref in tags[2:]}


def test_a_repository_that_the_registry_made_is_served(hub: Any, made: Any, tmp_path: Path) -> None:
    hub.registry.add(made.files, made.manifest, name="desk/local")
    api = hub.api()
    info = api.model_info("desk/local")
    assert info.private and info.card_data.base_model == "acme/base"
    folder = Path(api.snapshot_download("desk/local", cache_dir=tmp_path))
    assert json.loads((folder / "ahf_manifest.json").read_bytes())["description"] == "made elsewhere"
    hub.registry.delete("desk/local@1")
    with pytest.raises((RevisionNotFoundError, HfHubHTTPError)):
        api.model_info("desk/local", revision="v1")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """A veto of this process, which serves: events by which it says that it thinks of `slow/base`, and goes on."""
    from adapterhub_fin.plugin.manager import extensions

    checks, begun, go_on = extensions().vetoes, threading.Event(), threading.Event()

    def thinks(manifest: Manifest, folder: Path) -> None:
        if manifest.base.repository == "slow/base":
            begun.set()
            assert go_on.wait(60)

    monkeypatch.setattr(type(extensions()), "vetoes", lambda self: [*checks(), thinks])
    return begun, go_on


def test_a_push_that_takes_long_is_waited_for_by_its_own_repository_alone(hub: Any, adapter: Any, held: Any) -> None:
    api, (begun, go_on) = hub.api(), held
    for name in ("acme/slow", "acme/beside"):
        api.create_repo(name)
    token = {"Authorization": f"Bearer {hub.secrets['writer']}"}
    with ThreadPoolExecutor(50) as pool, httpx2.Client(base_url=hub.url, headers=token, timeout=10) as client:
        try:
            slow = pool.submit(push, api, "acme/slow", adapter(base="slow/base"))
            assert begun.wait(60)
            waiting = [pool.submit(api.create_branch, "acme/slow", branch=f"b{number}") for number in range(45)]
            for _ in range(30):
                assert client.get("/health").text == "ok\n"
                assert client.get("/api/models/acme/beside").status_code == 200
            push(api, "acme/beside", adapter(1))
            assert not slow.done() and not any(each.done() for each in waiting)
        finally:
            go_on.set()
    assert slow.result().oid and all(each.result() is None for each in waiting)
    assert len(api.list_repo_refs("acme/slow").branches) == 46
