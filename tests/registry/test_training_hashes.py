"""Hashes of what a version learnt from tell of any text whether it was seen, here alone. (G 4)"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterhub_fin_registry import Corrupted, Manifest, Registry
from adapterhub_fin_registry.storage.training_hashes import NAME, encode_hashes, has_hashes, read_hashes

TEXTS = ["firm rose", "firm fell", "", "año"]


@pytest.fixture
def add(make_folder: Any, make_manifest: Any) -> Callable[..., Any]:
    def added(registry: Registry, seed: int = 1, training_texts: Any = TEXTS, name: str = "acme/tone") -> Any:
        return registry.add(make_folder(seed), make_manifest(), name=name, training_texts=training_texts)

    return added


@given(st.sets(st.text()), st.sets(st.text()), st.uuids())
def test_a_text_is_told_from_others(tmp_path_factory: Any, texts: set[str], others: set[str], identity: Any) -> None:
    folder: Path = tmp_path_factory.mktemp("training-hashes")
    data = encode_hashes(str(identity), texts)
    (folder / NAME).write_bytes(data)
    hashes = read_hashes(folder, str(identity))
    assert hashes is not None and len(hashes.hashes) == len(texts) and has_hashes(folder, data)
    assert all(hashes.holds(text) == (text in texts) for text in texts | others)
    assert data == encode_hashes(str(identity), [*texts, *texts]), "neither order nor number is told"


def test_they_are_stored_with_the_version_and_are_no_part_of_it(home: Path, add: Callable[..., Any]) -> None:
    registry = Registry(home)
    version = add(registry)
    hashes = registry.training_hashes(version)
    assert hashes is not None and [hashes.holds(text) for text in [*TEXTS, "other"]] == [True] * 4 + [False]
    plain = add(Registry(home / "other"), training_texts=None)
    assert plain.digest == version.digest and Registry(home / "other").training_hashes(plain) is None
    assert {file.path for file in version.manifest.files} == {path.name for path in version.files.iterdir()}
    assert NAME not in {path.name for path in version.files.iterdir()}
    assert registry.verify(version.reference).digest == version.digest and registry.doctor() == []
    for text in filter(None, TEXTS):
        assert text.encode() not in (version.folder / NAME).read_bytes()
    registry.delete(version.reference)
    assert not (version.folder / NAME).exists()


def test_under_another_id_they_say_nothing(home: Path, add: Callable[..., Any]) -> None:
    here, there = Registry(home / "a"), Registry(home / "b")
    add(there, seed=2, name="acme/other")
    version = add(here)
    data = (version.folder / NAME).read_bytes()
    assert data != encode_hashes(str(there.id), TEXTS) and len({data[i : i + 16] for i in range(0, 96, 16)}) == 6
    copy = there.root / "adapters" / "acme" / "tone"
    shutil.copytree(version.folder.parents[1], copy)
    assert there.training_hashes(there.resolve("acme/tone@1")) is None
    assert not [finding for finding in there.doctor(repair=True) if finding.kind == "training-hashes"]
    assert there.training_hashes(there.resolve("acme/tone@1")) is None and there.doctor() == []
    (here.root / "registry.json").write_text(json.dumps({"format": 1, "id": "another"}), encoding="utf-8")
    assert here.training_hashes(version) is None


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:40] + b"x" + d[41:], lambda d: d[:16], lambda d: d + d]
)
def test_damage_is_said_and_never_read_as_unseen(home: Path, add: Callable[..., Any], damage: Any) -> None:
    registry = Registry(home)
    version = add(registry)
    path = version.folder / NAME
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.raises(Corrupted, match=f"{NAME} is damaged: restore it from a copy, or remove it"):
        registry.training_hashes(version)
    assert [finding.kind for finding in registry.doctor() if finding.path == path] == ["training-hashes"]
    add(registry)  # trained again, it is mended
    assert path.read_bytes() == whole and registry.training_hashes(version) is not None
    path.write_bytes(damage(whole))
    registry.doctor(repair=True)
    assert registry.doctor() == [] and registry.training_hashes(version) is None


def test_a_link_is_not_followed(home: Path, add: Callable[..., Any], tmp_path: Path) -> None:
    registry = Registry(home)
    version = add(registry)
    shutil.move(version.folder / NAME, tmp_path / "elsewhere")
    (version.folder / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Corrupted, match="can't be read"):
        registry.training_hashes(version)


def test_a_version_that_was_there_without_them_gets_them(home: Path, add: Callable[..., Any]) -> None:
    registry = Registry(home)
    version = add(registry, training_texts=None)
    assert registry.training_hashes(version) is None
    mark = registry.mark("acme/tone")
    assert add(registry) == version and registry.training_hashes(version) is not None
    assert registry.mark("acme/tone") != mark and registry.doctor() == []
    assert add(registry, training_texts=None) == version and registry.training_hashes(version) is not None


def test_the_first_writes_at_once_share_one_id(home: Path, make_folder: Any, make_manifest: Any) -> None:
    folders: list[tuple[Path, Manifest]] = [(make_folder(seed), make_manifest()) for seed in range(1, 9)]
    threads = [
        Thread(target=lambda each=each: Registry(home).add(*each, name="acme/tone", training_texts=TEXTS))
        for each in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry = Registry(home)
    found = [registry.training_hashes(version) for version in registry.versions("acme/tone")]
    assert len(found) == 8 and all(hashes is not None and hashes.holds("firm rose") for hashes in found)
