"""A registry written once and kept byte for byte: what was stored then is read now, and would be stored the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from adapterhub_fin_registry import Manifest, NotFound, Registry
from adapterhub_fin_registry.model.schema import PATH

GOLDEN = Path(__file__).parent / "golden"
DIGESTS = {
    "acme/tone@1": "sha256:23b94b02416008d4376abbe5d11bd78d92f8a81d88a9940162008374b02033de",
    "acme/tone@2": "sha256:0cc56346c2f07d232f98e1fcc55bd65a4cca0e797edef492f8284adc0958d538",
    "beta-desk/rates.v2@1": "sha256:821f3c1e85f527f0c203e1bcd94047885957bce665905ca5e01defdd02a76164",
}


@pytest.fixture
def golden() -> Registry:
    return Registry(GOLDEN)


def test_everything_is_found(golden: Registry) -> None:
    assert golden.id == "00000000-0000-4000-8000-000000000002"
    assert golden.names() == ["acme/tone", "beta-desk/rates.v2"]
    assert {f"{row['name']}@{row['version']}": row["digest"] for row in golden.rows()} == DIGESTS
    assert golden.damaged() == {}
    for reference, digest in DIGESTS.items():
        assert golden.verify(reference).digest == golden.verify(digest).digest == digest
    assert golden.resolve("acme/tone").number == 1  # 2 is yanked and 3 deleted
    assert golden.resolve("acme/tone@champion").number == 2
    assert golden.resolve("beta-desk/rates.v2", as_of="2019-06-02").number == 1
    with pytest.raises(NotFound):
        golden.resolve("acme/tone@3")


def test_what_grew_is_read_in_order(golden: Registry) -> None:
    assert golden.aliases("acme/tone") == {"champion": 2}
    assert golden.alias_history("acme/tone", "champion") == [
        {"number": 1, "version": 1, "at": "2026-01-02T03:04:04Z"},
        {"number": 2, "version": 2, "at": "2026-01-02T03:04:05Z"},
    ]
    assert [entry["version"] for entry in golden.alias_history("acme/tone", "retired")] == [1, None]
    evaluation, tag, untag = golden.events("acme/tone@1")
    assert evaluation == {
        "number": 1, "kind": "evaluation", "at": "2026-01-02T03:04:08Z", "by": "golden@example",
        "corpus": "headlines", "split": "test", "metrics": {"accuracy": 0.81},
    }  # fmt: skip
    assert (tag["tag"], untag["tag"]) == ("production", "tone")
    assert golden.rows("acme/tone")[0]["tags"] == ["finance", "production"]
    assert golden.rows("acme/tone")[1]["yanked"]


def test_the_manifest_says_what_it_said(golden: Registry, full_manifest: dict[str, Any]) -> None:
    manifest = golden.resolve("acme/tone@1").manifest
    stored = {"files": manifest.files, "tensors": manifest.tensors}
    assert manifest == Manifest.model_validate({**full_manifest, **stored})
    assert [file.path for file in manifest.files] == [
        "adapter_config.json", "adapter_model.safetensors", "classifier/labels.txt"
    ]  # fmt: skip
    schema = json.loads(PATH.read_text(encoding="utf-8"))
    for reference in DIGESTS:
        jsonschema.validate(json.loads(golden.resolve(reference).manifest_bytes), schema)


@pytest.mark.parametrize("reference", DIGESTS)
@pytest.mark.parametrize("complete", [False, True])
def test_storing_it_again_gives_the_same_bytes(
    golden: Registry, registry: Registry, tmp_path: Path, reference: str, complete: bool
) -> None:
    old = golden.resolve(reference)
    folder = shutil.copytree(old.files, tmp_path / "folder")
    manifest = old.manifest if complete else old.manifest.model_copy(update={"files": (), "tensors": ()})
    new = registry.add(folder, manifest, name="someone/else")
    assert (new.folder / "manifest.json").read_bytes() == (old.folder / "manifest.json").read_bytes()
    assert new.digest == old.digest == DIGESTS[reference]


def test_writing_goes_on_where_it_ended(tmp_path: Path, golden: Registry) -> None:
    copy = Registry(shutil.copytree(GOLDEN, tmp_path / "copy"))
    first = golden.resolve("acme/tone@1")
    assert copy.add(first.files, first.manifest, name="acme/tone").number == 1
    assert copy.add(first.files, first.manifest.model_copy(update={"seed": 8}), name="acme/tone").number == 4
    copy.set_alias("acme/tone", "retired", 4)
    assert [entry["number"] for entry in copy.alias_history("acme/tone", "retired")] == [1, 2, 3]
    assert copy.id == golden.id


def test_reading_it_wrote_nothing(golden: Registry) -> None:
    before = {path: path.stat().st_mtime_ns for path in GOLDEN.rglob("*")}
    golden.rows()
    golden.path("acme/tone")
    assert {path: path.stat().st_mtime_ns for path in GOLDEN.rglob("*")} == before
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 16_000
