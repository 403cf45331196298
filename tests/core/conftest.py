"""A registry for the command to read, with an adapter that classifies and one that writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.load_base import fingerprint_key
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.testing import tiny_corpus


@pytest.fixture
def stocked(trained: Run, home: Path, encoder: Path) -> Path:
    """A registry of this test's own with acme/tone@1, whose base is remembered."""
    shutil.copytree(trained.version.folder.parents[4], home)
    bases.remember(fingerprint_key(trained.version.manifest.base), encoder)
    return home


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, decoder: Path, without_evidence: None, tiny: None) -> Run:
    """acme/notes@1, which writes, in a registry that must not be changed."""
    root = tmp_path_factory.mktemp("notes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        return ahf.train(
            name="acme/notes",
            base={"path": str(decoder)},
            method={"name": "lora", "rank": 2},
            head="causal-lm",
            corpus={"name": tiny_corpus()},
            training={"epochs": 1, "max_length": 32},
            registry=ahf.Registry(root / "home"),
        )


@pytest.fixture
def notes(stocked: Path, written: Run, decoder: Path) -> Run:
    """The same version in the registry of this test, whose base is remembered."""
    manifest = written.version.manifest
    version = ahf.Registry(stocked).add(written.version.files, manifest, name="acme/notes")
    assert version.digest == written.version.digest
    bases.remember(fingerprint_key(manifest.base), decoder)
    return written
