"""Bases that are versions: stored, named in recipes, and found again by digest by what was trained on them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.importing.store_base import store_base
from adapterhub_fin.errors import BaseNotFound, NotFound, Refused, Unsupported, WrongTensors
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.testing import tiny_corpus, tiny_encoder
from adapterhub_fin_registry import Version

END = datetime(2013, 12, 31, 23, 59, tzinfo=UTC)
Store = Callable[..., Version]


@pytest.fixture
def stored(home: Path, encoder: Path) -> Store:
    """Store the tiny encoder as a base, in the test's registry unless another is given."""

    def store(name: str = "acme/fin", folder: Path = encoder, end: datetime = END, **more: Any) -> Version:
        fields: dict[str, Any] = {
            "registry": ahf.Registry(home),
            "method": {"name": "pretraining", "options": {"layers": 1}},
            "knowledge": {"corpus:speeches": KnownAt(end, "observed", "available_at of its rows")},
            "corpus": {"name": "speeches", "rows": {"train": 800}},
        }
        return store_base(folder, name=name, **{**fields, **more})

    return store


def train_on(base: Any, name: str = "acme/tone", **keys: Any) -> Version:
    recipe: dict[str, Any] = {
        "name": name,
        "base": base,
        "method": {"name": "lora", "rank": 2},
        "corpus": {"name": tiny_corpus(), "splitter": {"by": "stratified"}},
        "training": {"max_steps": 2, "batch_size": 8, "max_length": 32},
    }
    return ahf.train(**{**recipe, **keys}).version


def in_a_process(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def test_an_adapter_finds_its_base_by_digest_in_a_clean_process(stored: Store) -> None:
    base = stored()
    assert base.manifest.kind == "base" and base.manifest.base.fingerprint == "verified"
    version = train_on("acme/fin@1")
    manifest = version.manifest
    assert manifest.base.version is not None
    assert (manifest.base.version.digest, manifest.base.version.name) == (base.digest, "acme/fin")
    assert manifest.base.structure_digest == base.manifest.base.structure_digest
    assert manifest.recipe is not None and manifest.recipe["base"] == {"version": "acme/fin@1"}
    known = {entry.input: entry for entry in manifest.knowledge.inputs}
    assert known["base"].at == "2013-12-31T23:59:00Z" and known["base"].kind == "observed"
    assert base.digest in known["base"].evidence
    answered = in_a_process('import adapterhub_fin as ahf; print(ahf.load("acme/tone@1").predict(["Up"])[0].label)')
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.strip() in ("negative", "neutral", "positive")


def test_the_name_of_a_base_is_no_matter(stored: Store, tmp_path: Path) -> None:
    stored()
    version = train_on("acme/fin@1")
    elsewhere = ahf.Registry(tmp_path / "elsewhere")
    for name, one in (("acme/tone", version), ("desk/renamed", ahf.Registry().resolve("acme/fin@1"))):
        elsewhere.add(one.files, one.manifest, name=name)
    assert ahf.load("acme/tone@1", registry=elsewhere).predict(["Up"])


def test_a_load_says_which_base_is_missing(stored: Store, tmp_path: Path) -> None:
    first = stored()
    other = stored(name="acme/other", folder=tiny_encoder(tmp_path / "other", seed=1))
    train_on("acme/fin@1")
    train_on("acme/other@1", "acme/second")
    ahf.Registry().delete("acme/fin@1")
    with pytest.raises(BaseNotFound, match=f"the base acme/fin, {first.digest}, and acme/fin@1 here was deleted"):
        ahf.load("acme/tone@1")
    assert ahf.load("acme/second@1").predict(["Up"])  # the base of the other is still there
    shutil.rmtree(other.folder)
    with pytest.raises(BaseNotFound, match=f"{other.digest}, and no registry here holds it: pull it"):
        ahf.load("acme/second@1")


def test_a_base_is_no_adapter_and_an_adapter_no_base(stored: Store) -> None:
    stored()
    train_on("acme/fin@1")
    with pytest.raises(Unsupported, match="acme/fin@1 is a base and no adapter: `ahf path acme/fin@1`"):
        ahf.load("acme/fin@1")
    with pytest.raises(Unsupported, match="acme/tone@1 is an adapter and no base"):
        train_on("acme/tone@1", "acme/third")
    with pytest.raises(NotFound, match="acme/fin"):
        train_on("acme/fin@9", "acme/third")


def test_a_changed_base_is_refused(stored: Store) -> None:
    base = stored()
    train_on("acme/fin@1")
    weights = base.files / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    for use in (lambda: train_on("acme/fin@1", "acme/third"), lambda: ahf.load("acme/tone@1")):
        with pytest.raises(ahf.Corrupted, match="model.safetensors"):
            use()


def test_only_a_whole_model_is_a_base(stored: Store, encoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(encoder, tmp_path / "folder")
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in sorted(tensors) if "attention" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(WrongTensors, match=f"lacks the weights of {lost}"):
        stored(folder=folder)
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["OwnModel"]}))
    with pytest.raises(Refused, match="OwnModel architecture"):
        stored(folder=folder)
    (folder / "config.json").write_text(json.dumps(config))
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(BaseNotFound, match="holds no tokenizer"):
        stored(folder=folder)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(Refused, match="holds an adapter"):
        stored(folder=folder)
    assert ahf.Registry().names() == []


def test_a_lineage_goes_through_the_base_both_ways(stored: Store) -> None:
    first = stored()
    parent = {"digest": first.digest, "name": first.name, "role": "continued"}
    later = datetime(2014, 12, 31, 23, 59, tzinfo=UTC)
    second = stored(end=later, parents=[parent])
    train_on("acme/fin@2")
    registry = ahf.Registry()
    (base,) = registry.lineage("acme/tone@1").ancestors
    assert (base.role, base.references, base.digest) == ("base", ("acme/fin@2",), second.digest)
    assert [(each.role, each.references) for each in base.relatives] == [("continued", ("acme/fin@1",))]
    (continued,) = registry.lineage("acme/fin@1").descendants
    assert [(each.role, each.references) for each in continued.relatives] == [("base", ("acme/tone@1",))]
