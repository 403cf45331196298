"""Bases in a registry: what their manifests may say, and who needs one that is to be deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Manifest, Registry, RegistryChain, Version
from adapterhub_fin_registry.errors import BadManifest, BadReference, NotFound, Refused
from adapterhub_fin_registry.registry_chain import Member

MakeFolder = Callable[..., Path]
MakeManifest = Callable[..., Manifest]
Weights = Callable[..., bytes]
StoreBase = Callable[..., Version]
StoreAdapter = Callable[..., Version]
OF_A_BASE: dict[str, Any] = {"kind": "base", "base": {"architecture": "BertModel", "fingerprint": "verified"}}


@pytest.fixture
def base(registry: Registry, make_manifest: MakeManifest, weights: Weights, tmp_path: Path) -> StoreBase:
    """Store a base whose weights differ by its seed; `files` are further ones, by path."""

    def store(name: str = "acme/fin", seed: int = 0, registry: Registry = registry, **files: bytes) -> Version:
        folder = tmp_path / f"base-{name.replace('/', '-')}-{seed}-{len(files)}"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_bytes(b"{}")
        (folder / "model.safetensors").write_bytes(weights({"a": (2, 3)}, seed))
        for path, data in files.items():
            (folder / path).write_bytes(data)
        return registry.add(folder, make_manifest(**OF_A_BASE), name=name)

    return store


@pytest.fixture
def adapter(registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest) -> StoreAdapter:
    """Store an adapter that was trained on a base."""

    def store(name: str, base: Version, seed: int = 0, registry: Registry = registry) -> Version:
        recorded = {"version": {"digest": base.digest, "name": base.name}, "fingerprint": "verified"}
        return registry.add(make_folder(seed), make_manifest(base=recorded), name=name)

    return store


def test_a_base_that_adapters_stand_on_is_not_deleted_by_accident(
    registry: Registry, base: StoreBase, adapter: StoreAdapter
) -> None:
    first, second = base(), base(seed=1)
    assert registry.orphans(first) == []
    for number in range(11):
        adapter("acme/tone", first, seed=number)
    adapter("acme/other", second)
    with pytest.raises(Refused, match=r"acme/fin@1 is the base of acme/tone@1, acme/tone@2, acme/tone@3 and 8 more,"):
        registry.delete("acme/fin@1")
    with pytest.raises(Refused, match="--allow-orphans") as refused:
        registry.delete(first.digest)
    assert "\n" not in str(refused.value)
    with pytest.raises(BadReference, match="by number or by digest"):
        registry.delete("acme/fin", allow_orphans=True)
    registry.gc()
    assert registry.verify(first).digest == first.digest, "nothing of it is gone"
    registry.add_event("acme/other@1", "yank", {"reason": "wrong rows"})
    with pytest.raises(Refused, match="acme/fin@2 is the base of acme/other@1,"):
        registry.delete("acme/fin@2")  # what is yanked is loaded by its number
    registry.delete("acme/other@1")
    registry.delete("acme/fin@2")
    registry.delete("acme/fin@1", allow_orphans=True)
    assert registry.deleted(first.digest) == ["acme/fin@1"]


def test_a_base_that_is_here_twice_may_go_once(registry: Registry, base: StoreBase, adapter: StoreAdapter) -> None:
    first = base()
    registry.add(first.files, first.manifest, name="desk/copy")
    adapter("acme/tone", first)
    registry.delete("acme/fin@1")
    with pytest.raises(Refused, match="desk/copy@1 is the base of acme/tone@1, and no other version here has its"):
        registry.delete("desk/copy@1")


def test_the_next_vintage_does_not_need_the_one_before(
    registry: Registry, base: StoreBase, make_manifest: MakeManifest
) -> None:
    first, second = base(), base(seed=1)
    parents = [{"digest": first.digest, "name": first.name, "role": "continued"}]
    registry.add(second.files, make_manifest(**OF_A_BASE, parents=parents), name="acme/next")
    registry.delete("acme/fin@1")


def test_an_adapter_that_is_stored_meanwhile_keeps_its_base(
    registry: Registry, base: StoreBase, adapter: StoreAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = base()
    looked: list[list[str]] = []

    def orphans(version: Version) -> list[str]:
        found = Registry.orphans(registry, version)
        looked.append(found)
        if not found:
            adapter("acme/tone", first)
        return found

    monkeypatch.setattr(registry, "orphans", orphans)
    with pytest.raises(Refused, match="acme/fin@1 is the base of acme/tone@1"):
        registry.delete("acme/fin@1")
    assert looked == [[], ["acme/tone@1"]] and registry.resolve("acme/fin@1").digest == first.digest


def test_adapters_of_every_registry_count(tmp_path: Path, base: StoreBase, adapter: StoreAdapter) -> None:
    home, team = Registry(tmp_path / "home"), Registry(tmp_path / "team")
    chain = RegistryChain([Member("home", home), Member("team", team)])
    first = base(registry=team)
    adapter("acme/tone", first, registry=home)
    with pytest.raises(Refused, match="acme/fin@1 is the base of acme/tone@1"):
        chain.delete("acme/fin@1")
    with pytest.raises(BadReference, match="by number or by digest"):
        chain.delete("acme/fin")
    with pytest.raises(NotFound):
        chain.delete("acme/nowhere@1")
    adapter("acme/theirs", first, seed=1, registry=team)
    copy = home.add(first.files, first.manifest, name="desk/fin")
    assert chain.delete("acme/fin@1").name == "acme/fin"
    with pytest.raises(Refused, match="desk/fin@1 is the base of acme/theirs@1, and no other"):
        chain.delete(copy.digest)
    team.delete("acme/theirs@1")
    with pytest.raises(Refused, match="desk/fin@1 is the base of acme/tone@1, and no other"):
        chain.delete(copy.digest)
    chain.delete(copy.digest, allow_orphans=True, reason="its license ended")
    assert chain.delete("acme/tone@1").name == "acme/tone"


@pytest.mark.parametrize("path", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_base_with_an_adapters_files_is_refused(base: StoreBase, weights: Weights, path: str) -> None:
    """Transformers loads the adapter that lies beside a model, and whatever base its configuration names."""
    with pytest.raises(BadManifest, match=f"a base holds {path}"):
        base(**{path: weights({"b": (1,)}) if path.endswith("safetensors") else b"{}"})


def test_an_adapters_folder_is_no_base(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    with pytest.raises(BadManifest, match=r"without config\.json is no model"):
        registry.add(make_folder(), make_manifest(**OF_A_BASE), name="acme/forged")
    assert registry.names() == []


def forged(version: Version, **changes: Any) -> bytes:
    from adapterhub_fin_registry.io.canonical_json import canonical

    return canonical({**json.loads(version.manifest_bytes), **changes})


def test_what_a_forged_manifest_claims_to_be(base: StoreBase, adapter: StoreAdapter) -> None:
    first = base()
    tone = adapter("acme/tone", first)
    inputs = [{"input": "corpus:x", "at": "2020-01-01T00:00:00Z", "kind": "observed", "evidence": ""}]
    dated = {"inputs": inputs, "end": "2020-01-01T00:00:00Z"}
    for version, changes, why in (
        (tone, {"kind": "base"}, r"a base isn't trained on a base version"),
        (tone, {"kind": "model"}, "kind"),
        (tone, {"kind": "adapter"}, "canonical form"),
        (tone, {"knowledge": dated}, "no input is named 'base'"),
        (first, {"head": {"name": "classify"}}, "a base has no head"),
        (
            first,
            {"base": {**json.loads(first.manifest_bytes)["base"], "fingerprint": "declared"}},
            "of its own weights",
        ),
    ):
        with pytest.raises(BadManifest, match=why):
            Manifest.parse(forged(version, **changes))
