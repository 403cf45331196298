"""What comes from a Hub is checked before anything of it is kept, and keeps its number where that is free."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationDelete, constants

import adapterhub_fin as ahf
from adapterhub_fin.plugin import manager as extensions
from adapterhub_fin_registry.hub_client import repository
from adapterhub_fin_registry.trust.keys import new_key

Store = Callable[..., ahf.Version]


@pytest.fixture
def publish(at_hub: Any, stored: Store, tmp_path: Path) -> Callable[..., ahf.Version]:
    """Publish a version from elsewhere, so that this test's own registry is empty."""

    def put(name: str, **told: Any) -> ahf.Version:
        elsewhere = ahf.Registry(tmp_path / "elsewhere")
        version = stored(name, registry=elsewhere, **told)
        ahf.publish(version.reference, f"hf://{name}", registry=elsewhere)
        return version

    return put


def test_a_version_comes_with_its_number_its_digest_and_where_it_is_from(
    at_hub: Any, name: str, publish: Callable[..., ahf.Version]
) -> None:
    first, second = publish(name, seed=1), publish(name, seed=2)
    pulled = ahf.pull(f"hf://{name}@v2")
    assert (pulled.reference, pulled.digest) == (f"{name}@2", second.digest)
    tags = {tag.name: tag.target_commit for tag in at_hub.api().list_repo_refs(name).tags}
    assert pulled.record["origin"] == {
        "endpoint": at_hub.url, "repository": name, "commit": tags["v2"], "tag": "v2"
    }  # fmt: skip
    assert ahf.pull(f"hf://{name}").reference == f"{name}@2", "what is there is found"
    assert ahf.pull(f"hf://{name}@v1", as_="desk/first").digest == first.digest
    assert ahf.pull(f"hf://{name}@v1").reference == f"{name}@1"


STRICT = """
import sys
import adapterhub_fin as ahf
from adapterhub_fin.registries import configured_registries
print(ahf.pull(f"hf://{sys.argv[1]}@v1").reference)
for take in (ahf.pull, configured_registries().path):
    try:
        take(f"hf://{sys.argv[1]}@v2")
    except ahf.Refused as refused:
        assert "sign" in str(refused), refused
        print("Refused")
"""


def test_signatures_travel_and_policies_and_vetoes_are_asked(
    at_hub: Any,
    name: str,
    publish: Callable[..., ahf.Version],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    private, public = new_key("p256", None)
    key = tmp_path / "desk.pem"
    key.touch(mode=0o600)
    key.write_bytes(private)
    (tmp_path / "desk.pub").write_bytes(public)
    config = tmp_path / "config" / "adapterhub_fin" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'sign_with = "{key}"\n')
    publish(name, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(repository, "_SIGNED", 0)
        with pytest.raises(ahf.Refused, match="more signatures than 0"):  # which are all held in memory
            ahf.pull(f"hf://{name}")
    config.unlink()
    publish(name, seed=2)
    rules = tmp_path / "rules.toml"  # of a process apart, lest the server went by them too
    rules.write_text(f'[policy]\nkeys = {{desk = "{tmp_path / "desk.pub"}"}}\nrequire_signature = true\n')
    env = {**at_hub.environment(tmp_path / "hf"), "AHF_CONFIG": str(rules)}
    done = subprocess.run([sys.executable, "-c", STRICT, name], env=env, capture_output=True, text=True)
    assert done.stdout.split() == [f"{name}@1", "Refused", "Refused"], done.stderr
    assert len(ahf.Registry().signatures(f"{name}@1")) == 1 and len(ahf.Registry().versions(name)) == 1

    class House:
        @ahf.hookimpl
        def ahf_before_add(self, manifest: ahf.Manifest, folder: Path) -> None:
            raise ahf.Refused("not in this house")

    monkeypatch.setattr(extensions, "_registered", [])
    monkeypatch.setattr(extensions, "_current", None)
    ahf.register(House())
    for vetoed in (lambda: ahf.pull(f"hf://{name}@v2"), lambda: ahf.load(f"hf://{name}@v2")):
        with pytest.raises(ahf.Refused, match="not in this house"):
            vetoed()
    extensions._registered.clear()
    monkeypatch.setattr(extensions, "_current", None)
    assert len(ahf.Registry().versions(name)) == 1


SLIPS: dict[str, dict[str, Any]] = {
    "files that aren't there": {"files": [["adapter_model.safetensors", 10, "0" * 64]]},
    "no files": {"files": []},
    "no tensors": {"tensors": []},
    "a path that leads out": {"files": [["../adapter_model.safetensors", 10, "0" * 64]]},
    "a file too large": {"files": [["adapter_model.safetensors", 17 * 2**30, "0" * 64]]},
    "spaces": {},
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_manifest_that_is_not_of_its_files_is_refused(
    slip: str, proxy: Any, name: str, publish: Callable[..., ahf.Version]
) -> None:
    manifest = {**json.loads(publish(name).manifest_bytes), **SLIPS[slip]}
    spaces = (", ", ": ") if slip == "spaces" else (",", ":")
    proxy.files["ahf_manifest.json"] = json.dumps(
        manifest, sort_keys=True, separators=spaces, ensure_ascii=False
    ).encode()
    for take in (ahf.pull, ahf.load):
        with pytest.raises((ahf.Refused, ahf.BadManifest, ahf.Corrupted)):
            take(f"hf://{name}")
    assert not [seen for seen in proxy.seen if "model.safetensors" in seen] or slip in ("no files", "no tensors")
    assert ahf.Registry().names() == [] and ahf.RegistryChain.configured().answering(f"hf://{name}").names() == []


def test_a_tag_that_was_moved_is_said(plain: Any, name: str, stored: Store) -> None:
    """A number means one version for ever, whatever a Hub says of it later."""
    first, second = stored(name, seed=1), stored(name, seed=2)
    chain = ahf.RegistryChain.configured()
    for version in (first, second):
        ahf.publish(version.reference, f"hf://{name}")
    tags = plain.tags[name]
    assert chain.resolve(f"hf://{name}@v1").digest == first.digest
    tags["v1"] = tags["v2"]
    with pytest.raises(ahf.Corrupted, match="moved its tag"):
        chain.resolve(f"hf://{name}@v1")
    assert chain.resolve(f"hf://{name}@{tags['v2']}").digest == second.digest


def test_names_that_only_a_hub_allows(at_hub: Any, proxy: Any, name: str, publish: Callable[..., ahf.Version]) -> None:
    for bad in ("hf://acme/../tone", "hf://acme/a--b", "hf://acme", "hf://acme/tone@../x", "hf:///tone"):
        with pytest.raises(ahf.BadReference):
            ahf.pull(bad)
    with pytest.raises(ahf.BadReference, match="--as"):
        ahf.pull("hf://Acme/Tone")


def test_dates_choose_among_what_is_on_the_hub_and_locks_hold_it(
    at_hub: Any, name: str, publish: Callable[..., ahf.Version], tmp_path: Path
) -> None:
    old = publish(name, seed=1, corpus=("2021-01-01T00:00:00Z",))
    new = publish(name, seed=2, corpus=("2022-01-01T00:00:00Z",))
    registry = ahf.RegistryChain.configured().answering(f"hf://{name}")
    assert registry.resolve(f"hf://{name}", as_of="2021-06-30").digest == old.digest
    assert registry.resolve(f"hf://{name}", as_of="now").digest == new.digest
    dates = ["2022-06-30", "2021-01-01", "2021-06-30", "2019-01-01", "2022-01-01"]
    many = registry.as_of_many(f"hf://{name}", dates)
    assert [version and version.digest for version in many] == [new.digest, None, old.digest, None, old.digest]
    second = registry.as_of_many(f"hf://{name}@v2", dates)
    assert [version and version.digest for version in second] == [new.digest, None, None, None, None]
    with pytest.raises(ahf.Refused, match="knows until"):
        registry.resolve(f"hf://{name}@v2", as_of="2021-06-30")
    with pytest.raises(ahf.Refused, match="no version of"):
        registry.resolve(f"hf://{name}", as_of="2019-01-01")
    lock = tmp_path / "adapters.lock"
    held = registry.resolve(f"hf://{name}", lock=lock)
    publish(name, seed=3)
    assert registry.resolve(f"hf://{name}").digest != held.digest
    assert registry.resolve(f"hf://{name}", lock=lock).digest == held.digest
    [entry] = json.loads(lock.read_text())["resolutions"]
    assert entry["version"] == f"hf://{name}@{held.record['origin']['commit']}"
    lock.write_text(lock.read_text().replace(held.digest, old.digest))
    with pytest.raises(ahf.Refused, match="find out why"):
        registry.resolve(f"hf://{name}", lock=lock)


def test_what_was_yanked_on_a_served_registry_is_had_by_its_number_alone(
    at_hub: Any, name: str, publish: Callable[..., ahf.Version]
) -> None:
    first, second = publish(name, seed=1), publish(name, seed=2, corpus=("2022-01-01T00:00:00Z",))
    chain = ahf.RegistryChain.configured()
    assert chain.resolve(f"hf://{name}").digest == second.digest
    at_hub.registry.add_event(f"{name}@2", "yank", {"reason": "leaks"})
    assert chain.resolve(f"hf://{name}").digest == first.digest
    assert chain.resolve(f"hf://{name}", as_of="now").digest == first.digest
    assert ahf.pull(f"hf://{name}").reference == f"{name}@1"
    assert ahf.pull(f"hf://{name}@v2").digest == second.digest
    at_hub.registry.add_event(f"{name}@1", "yank", {"reason": "leaks too"})
    for take in (lambda: chain.resolve(f"hf://{name}"), lambda: ahf.pull(f"hf://{name}")):
        with pytest.raises(ahf.NotFound, match="was yanked"):
            take()


def test_a_draft_on_main_brings_back_nothing_that_was_yanked(
    at_hub: Any, name: str, publish: Callable[..., ahf.Version]
) -> None:
    versions = [publish(name, seed=seed) for seed in (1, 2, 3)]
    at_hub.registry.add_event(f"{name}@3", "yank", {"reason": "leaks"})
    weights = CommitOperationDelete("adapter_model.safetensors")
    at_hub.api().create_commit(name, [weights], commit_message="begin a draft")
    assert ahf.RegistryChain.configured().resolve(f"hf://{name}").digest == versions[1].digest


def test_a_card_on_main_brings_back_nothing_that_was_yanked(
    at_hub: Any, name: str, publish: Callable[..., ahf.Version]
) -> None:
    publish(name)
    at_hub.registry.add_event(f"{name}@1", "yank", {"reason": "leaks"})
    at_hub.api().upload_file(path_or_fileobj=b"# withdrawn\n", path_in_repo="README.md", repo_id=name)
    with pytest.raises(ahf.NotFound, match="was yanked"):
        ahf.RegistryChain.configured().resolve(f"hf://{name}")


def test_of_two_who_published_at_once_the_higher_number_counts(plain: Any, name: str, stored: Store) -> None:
    """Where only a tag makes a version, whoever committed first may be tagged last, and `main` shows the other."""
    versions = [stored(name, seed=1), stored(name, seed=2)]
    for version in versions:
        ahf.publish(version.reference, f"hf://{name}")
    tags = plain.tags[name]
    tags["v1"], tags["v2"] = tags["v2"], tags["v1"]
    chain = ahf.RegistryChain.configured()
    assert chain.resolve(f"hf://{name}").digest == versions[0].digest
    assert chain.resolve(f"hf://{name}@v1").digest == versions[1].digest


def test_offline_what_was_read_is_there_and_what_was_not_says_so(
    proxy: Any, name: str, publish: Callable[..., ahf.Version], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = publish(name, seed=1), publish(name, seed=2, corpus=("2022-01-01T00:00:00Z",))
    chain = ahf.RegistryChain.configured()
    commit = chain.resolve(f"hf://{name}@v1").record["origin"]["commit"]
    chain.resolve(f"hf://{name}@v2")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    proxy.seen.clear()
    for reference, version in (("", second), ("@v1", first), (f"@{commit}", first)):
        folder = chain.path(f"hf://{name}{reference}")
        assert (folder / "notes.md").is_file() and chain.resolve(f"hf://{name}{reference}").digest == version.digest
    assert chain.resolve(f"hf://{name}", as_of="2021-06-30").digest == first.digest
    for missing in (f"hf://{name}@v3", "hf://acme/never-read"):
        with pytest.raises(ahf.Unreachable, match="HF_HUB_OFFLINE"):
            chain.path(missing)
    with pytest.raises(ahf.Unreachable, match="HF_HUB_OFFLINE"):
        ahf.pull("hf://acme/never-read")
    assert proxy.seen == []


def test_private_without_and_with_a_token(
    at_hub: Any, name: str, publish: Callable[..., ahf.Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish(name)
    assert at_hub.api().model_info(name).private
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ahf.NotFound, match="hf auth login"):
        ahf.pull(f"hf://{name}")
    Path(constants.HF_TOKEN_PATH).write_text(at_hub.secrets["reader"])  # as `hf auth login` leaves it
    assert ahf.pull(f"hf://{name}").digest == version.digest
    monkeypatch.setenv("HF_TOKEN", "hf_nobodys")
    with pytest.raises((ahf.NotFound, ahf.Refused), match="hf auth login"):
        ahf.pull(f"hf://{name}")


def test_a_hub_that_is_not_there_says_so(at_hub: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from adapterhub_fin_registry.hub_client.client import Hub
    from adapterhub_fin_registry.hub_client.repository import HubRepository

    with pytest.raises(ahf.Unreachable, match="can't be reached"):
        HubRepository(Hub("http://127.0.0.1:9"), name).numbers()
