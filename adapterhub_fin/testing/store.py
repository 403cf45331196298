"""Test that a store returns a version byte for byte, gives it one number, and publishes all of it or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapterhub_fin.errors import NotFound
from adapterhub_fin.plugin.adapter_files import CONFIG, WEIGHTS
from adapterhub_fin.plugin.descriptions import StoreKind
from adapterhub_fin.plugin.interfaces import StoreImplementation
from adapterhub_fin.testing.description import DescriptionContract
from adapterhub_fin_registry import Manifest, Registry, Version
from adapterhub_fin_registry.incoming import Intake, take
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput
from adapterhub_fin_registry.remote_index import RemoteIndex


class StoreContract(DescriptionContract):
    """Test a store: inherit this, name the store, and give the fixture `uri`, an empty address for one name."""

    kind = StoreKind

    @pytest.fixture
    def uri(self, tmp_path: Path) -> str:
        """Return an empty address of the store. Raises NotImplementedError: a contract must override this."""
        raise NotImplementedError("give the fixture uri: an empty address in the store, such as desk:///tmp/acme/tone")

    @pytest.fixture
    def store(self, tmp_path: Path) -> StoreImplementation:
        """Return the store, built from its options."""
        options = self.description.load_options().model_validate(dict(self.options_for(tmp_path)))
        store: StoreImplementation = self.description.load()(options)
        return store

    @pytest.fixture
    def versions(self, tmp_path: Path) -> list[Version]:
        """Return two versions of one name, the second with a later knowledge end."""
        registry = Registry(tmp_path / "here")
        return [small_version(registry, tmp_path / f"folder-{year}", year) for year in (2021, 2022)]

    def test_a_version_comes_back_byte_for_byte(
        self, store: StoreImplementation, uri: str, versions: list[Version], tmp_path: Path
    ) -> None:
        published = store.publish(versions[0], uri)
        assert published.is_new and published.number == 1, f"the first version has the number 1: {published}"
        with store.fetch(published.at, (WEIGHTS,)) as incoming:
            assert incoming.manifest == versions[0].manifest_bytes, "a manifest comes back in its own bytes"
            assert incoming.number == 1
            files = {p.relative_to(incoming.folder).as_posix() for p in incoming.folder.rglob("*") if p.is_file()}
            assert files == {path for path, *_ in versions[0].manifest.files}, (
                "the folder has the manifest's files and no others"
            )
            there = take(incoming, Registry(tmp_path / "there"), "acme/tone", Intake())
        assert there.digest == versions[0].digest and there.number == 1
        assert there.record["origin"], "the record's origin must say where it is from"

    def test_a_version_has_one_number(self, store: StoreImplementation, uri: str, versions: list[Version]) -> None:
        first = store.publish(versions[0], uri)
        again = store.publish(versions[0], uri)
        assert not again.is_new and (again.at, again.number) == (first.at, first.number), (
            "a version that is there already is found by its digest"
        )
        second = store.publish(versions[1], uri)
        assert second.is_new and second.number == 2, f"numbers are consecutive: {second}"
        listed = sorted(store.versions(uri), key=lambda version: version.number)
        assert [(version.number, version.manifest) for version in listed] == [
            (number, version.manifest_bytes) for number, version in enumerate(versions, start=1)
        ], "each version is listed once, with its manifest's own bytes"
        with store.fetch(first.at, (WEIGHTS,)) as incoming:
            assert incoming.manifest == versions[0].manifest_bytes, "what was published before stays under its number"

    def test_what_is_there_can_be_searched(self, store: StoreImplementation, uri: str, versions: list[Version]) -> None:
        for version in versions:
            store.publish(version, uri)
        index = RemoteIndex(store.versions(uri))
        assert [row["version"] for row in index.search("method = lora ORDER BY knowledge_end DESC")] == [2, 1]
        assert [row["version"] for row in index.search(as_of="2021-06-30")] == [1]

    def test_a_dry_run_leaves_nothing(self, store: StoreImplementation, uri: str, versions: list[Version]) -> None:
        plan = store.publish(versions[0], uri, dry_run=True)
        assert plan.number is None and dict(plan.sends).keys() >= {path for path, *_ in versions[0].manifest.files}
        with pytest.raises(NotFound), store.fetch(uri, (WEIGHTS,)):
            raise AssertionError("a dry run published something")

    def test_what_is_not_there_says_so(self, store: StoreImplementation, uri: str, versions: list[Version]) -> None:
        with pytest.raises(NotFound), store.fetch(uri, (WEIGHTS,)):
            raise AssertionError("something was fetched, although nothing was published")
        with pytest.raises(NotFound):
            store.publish(versions[0], uri, create=False)


def small_version(registry: Registry, folder: Path, year: int) -> Version:
    """Add a small LoRA whose bytes and knowledge end depend on `year`, as acme/tone."""
    header = json.dumps({"layer.lora_A": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + bytes([year % 256]) * 24)
    (folder / CONFIG).write_text('{"peft_type":"LORA"}')
    inputs = (
        KnowledgeInput(input="base", at="2020-01-01T00:00:00Z", kind="asserted", evidence="the contract"),
        KnowledgeInput(input="corpus:news", at=f"{year}-01-01T00:00:00Z", kind="asserted", evidence="the contract"),
    )
    manifest = Manifest.model_validate(
        {
            "method": {"name": "lora"},
            "base": {"repository": "acme/base", "fingerprint": "declared"},
            "knowledge": Knowledge.of(inputs),
        }
    )
    return registry.add(folder, manifest, name="acme/tone")
