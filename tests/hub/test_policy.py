"""Vetoes and the server's policy: what they forbid is neither taken in nor given out, on any branch and in any form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import BadRequestError, GatedRepoError, HfHubHTTPError

import adapterhub_fin as ahf
from adapterhub_fin_registry.model.manifest import Manifest

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def push(api: Any, name: str, files: dict[str, bytes], **options: Any) -> Any:
    """One commit with some files."""
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(name, operations, commit_message="pushed", **options)


def on_a_hub(version: Any) -> dict[str, bytes]:
    """The files of a version as they lie on a Hub."""
    files = {file.path: (version.files / file.path).read_bytes() for file in version.manifest.files}
    return {**files, "ahf_manifest.json": version.manifest_bytes}


@pytest.fixture
def forbid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the policy of this process, which serves, allow one base alone."""

    def write(allowed: str = "acme/other") -> None:
        (tmp_path / "config.toml").write_text(f'[policy]\nallowed_bases = ["{allowed}"]\n')
        monkeypatch.setenv("AHF_CONFIG", str(tmp_path / "config.toml"))

    return write


@pytest.fixture
def veto(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that vetoes, in this process, which serves."""
    from adapterhub_fin.plugin.manager import extensions

    checks = extensions().vetoes
    monkeypatch.setattr(type(extensions()), "vetoes", lambda self: [*checks(), NoAcme().ahf_before_add])


def fetched(hub: Any, name: str, revision: str, path: str) -> httpx2.Response:
    """A file as somebody is answered who may read."""
    token = {"Authorization": f"Bearer {hub.secrets['reader']}"}
    return httpx2.get(f"{hub.url}/{name}/resolve/{revision}/{path}", headers=token)


class NoAcme:
    """A house rule."""

    @ahf.hookimpl
    def ahf_before_add(self, manifest: Manifest, folder: Path) -> None:
        if manifest.base.repository == "forbidden/base":
            raise ahf.Refused("forbidden/base isn't licensed here: train on another")


def test_vetoes_and_the_policy_are_asked(hub: Any, adapter: Any, made: Any, veto: None, forbid: Any) -> None:
    api = hub.api()
    api.create_repo("acme/veto")
    with pytest.raises(BadRequestError, match="isn't licensed here"):
        push(api, "acme/veto", adapter(base="forbidden/base"))
    forbid()
    for files in (adapter(), on_a_hub(made)):
        with pytest.raises(BadRequestError, match="allowed_bases in the server's configuration"):
            push(api, "acme/veto", files)
    assert hub.registry.versions("acme/veto") == []


def test_what_the_policy_forbids_is_not_given_out(
    hub: Any, adapter: Any, forbid: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client asks five times more after a status of 500, and waits 23 seconds between.
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    api = hub.api()
    api.create_repo("acme/policy")
    push(api, "acme/policy", adapter())
    forbid()
    with pytest.raises(GatedRepoError, match="allowed_bases"):
        api.hf_hub_download("acme/policy", "adapter_config.json", cache_dir=tmp_path)
    api.create_branch("acme/policy", branch="dev", revision="v1")
    for branch in ("main", "dev"):
        gone = [CommitOperationDelete("adapter_config.json")]
        with pytest.raises(GatedRepoError, match="allowed_bases"):  # or its weights were a draft's, which has no base
            api.create_commit("acme/policy", gone, commit_message="a draft of the rest", revision=branch)
    (tmp_path / "config.toml").write_text("[policy]\nnonsense = 1\n")
    with pytest.raises(HfHubHTTPError, match="configuration can't be used") as error:
        push(api, "acme/policy", adapter(1))
    assert error.value.response.status_code == 500 and str(tmp_path) not in str(error.value)
    token = {"Authorization": f"Bearer {hub.secrets['writer']}"}
    answer = httpx2.get(f"{hub.url}/acme/policy/resolve/v1/adapter_config.json", headers=token)
    assert answer.status_code == 500 and str(tmp_path) not in answer.text


def test_branches_take_in_no_more_than_main(hub: Any, adapter: Any, made: Any, veto: None, forbid: Any) -> None:
    api = hub.api()
    api.create_repo("acme/branches")
    push(api, "acme/branches", adapter(base="acme/other"))
    api.create_branch("acme/branches", branch="dev", revision="v1")
    before = api.model_info("acme/branches", revision="dev").sha
    with pytest.raises(BadRequestError, match="isn't licensed here"):
        push(api, "acme/branches", adapter(1, base="forbidden/base"), revision="dev")
    forbid()
    for files in (adapter(1), on_a_hub(made)):
        with pytest.raises(BadRequestError, match="allowed_bases in the server's configuration"):
            push(api, "acme/branches", files, revision="dev")
    (hub.registry.root / "policy.toml").write_text('allowed_bases = ["acme/none"]\n')
    try:
        with pytest.raises(BadRequestError, match=r"allowed_bases in policy\.toml"):
            push(api, "acme/branches", adapter(1, base="acme/other"), revision="dev")
    finally:
        (hub.registry.root / "policy.toml").unlink()
    assert api.model_info("acme/branches", revision="dev").sha == before
    draft = push(api, "acme/branches", adapter(1, base="acme/other"), revision="dev").oid
    assert fetched(hub, "acme/branches", draft, WEIGHTS).content == adapter(1)[WEIGHTS]
    assert len(hub.registry.versions("acme/branches")) == 1


@pytest.mark.parametrize("with_manifest", [False, True])
def test_a_draft_is_given_out_as_the_policy_is_now(
    hub: Any, adapter: Any, made: Any, forbid: Any, with_manifest: bool
) -> None:
    api, name = hub.api(), f"acme/drafts-{with_manifest}".lower()
    api.create_repo(name)
    push(api, name, adapter(3, base="acme/other"))
    api.create_branch(name, branch="dev", revision="v1")
    files = on_a_hub(made) if with_manifest else adapter(4)
    push(api, name, {**files, "README.md": b"# mine\n"}, revision="dev")
    push(api, name, {"README.md": b"# mine now\n"}, revision="dev")
    draft = api.model_info(name, revision="dev").sha
    assert fetched(hub, name, draft, WEIGHTS).content == files[WEIGHTS]
    forbid()
    for revision in ("dev", draft):
        for path in (*files, "README.md"):
            answer = fetched(hub, name, revision, path)
            assert answer.status_code == 403 and "allowed_bases" in answer.json()["error"], path
    for gone in (CONFIG, WEIGHTS):
        with pytest.raises((GatedRepoError, BadRequestError), match="allowed_bases|stays with it"):
            api.create_commit(name, [CommitOperationDelete(gone)], commit_message="the rest", revision="dev")
    assert fetched(hub, name, "v1", WEIGHTS).status_code == 200


def test_a_file_of_a_forbidden_version_leaves_it_in_no_other_form(
    hub: Any, adapter: Any, forbid: Any, tmp_path: Path
) -> None:
    api, name, allowed = hub.api(), "acme/copied", adapter(6, base="acme/other")
    api.create_repo(name)
    push(api, name, adapter(5))
    api.create_branch(name, branch="early", revision="v1")
    gone = [CommitOperationDelete(CONFIG)]
    early = api.create_commit(name, gone, commit_message="weights alone", revision="early").oid
    assert fetched(hub, name, "early", WEIGHTS).status_code == 200
    forbid()
    push(api, name, allowed)
    api.create_branch(name, branch="dev", revision="main")
    copies = [CommitOperationCopy(path, path, src_revision="v1") for path in (CONFIG, WEIGHTS)]
    for branch in ("dev", "main"):
        with pytest.raises(BadRequestError, match="send its bytes first"):
            api.create_commit(name, copies[1:], commit_message="copied", revision=branch)
    for revision in ("early", early):  # made before it was forbidden
        assert fetched(hub, name, revision, WEIGHTS).status_code == 403
    hub.registry.add_event(f"{name}@2", "yank", {"reason": "so that main is v1"})
    with pytest.raises(GatedRepoError, match="allowed_bases"):  # or its weights were those of a version of acme/other
        push(api, name, {CONFIG: allowed[CONFIG]})
    assert [version.number for version in hub.registry.versions(name)] == [1, 2]


@pytest.mark.parametrize("branch", ["main", "early"])
def test_a_draft_from_before_it_was_forbidden_lends_its_weights_to_nothing(
    hub: Any, adapter: Any, forbid: Any, branch: str
) -> None:
    api, name = hub.api(), f"acme/lent-{branch}"
    api.create_repo(name)
    push(api, name, adapter(8))
    if branch != "main":
        api.create_branch(name, branch=branch, revision="v1")
    api.create_commit(name, [CommitOperationDelete(CONFIG)], commit_message="weights alone", revision=branch)
    forbid()
    with pytest.raises(GatedRepoError, match="allowed_bases"):
        push(api, name, {CONFIG: adapter(8, base="acme/other")[CONFIG]}, revision=branch)
    assert [version.number for version in hub.registry.versions(name)] == [1]
    assert fetched(hub, name, "v1", WEIGHTS).status_code == 403


def test_who_has_the_bytes_of_a_forbidden_version_may_push_them_as_what_they_are(
    hub: Any, adapter: Any, forbid: Any
) -> None:
    from hashlib import sha256

    api, name, files = hub.api(), "acme/again", adapter(7)
    api.create_repo(name)
    push(api, name, files)
    forbid()
    token = {"Authorization": f"Bearer {hub.secrets['writer']}"}
    there = {"oid": sha256(files[WEIGHTS]).hexdigest(), "size": len(files[WEIGHTS])}
    batch = {"operation": "upload", "objects": [there]}
    [agreed] = httpx2.post(f"{hub.url}/{name}.git/info/lfs/objects/batch", json=batch, headers=token).json()["objects"]
    httpx2.put(agreed["actions"]["upload"]["href"], content=files[WEIGHTS]).raise_for_status()
    lines = [
        {"key": "header", "value": {"summary": "again"}},
        {"key": "lfsFile", "value": {"path": WEIGHTS, "algo": "sha256", **there}},
    ]
    for path, data in adapter(7, base="acme/other").items():
        if path == CONFIG:
            import base64

            value = {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}
            lines.append({"key": "file", "value": value})
    body = "\n".join(map(json.dumps, lines))
    answer = httpx2.post(f"{hub.url}/api/models/{name}/commit/main", content=body, headers=token)
    assert answer.status_code == 200 and answer.json()["version"] == 2, answer.text
    assert fetched(hub, name, "v2", WEIGHTS).content == files[WEIGHTS]
