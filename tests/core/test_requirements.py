"""What a plugin requires and this environment lacks is named in one sentence, with the command that installs it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.testing import tiny_corpus


def distribution(folder: Path, name: str, version: str, *lines: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines]
    (info / "METADATA").write_text("\n".join(metadata) + "\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, "acme_kernels", "1.4")
    extras = [
        *("Provides-Extra: gpu", "Provides-Extra: cpu", "Requires-Dist: pluggy"),
        *('Requires-Dist: acme-kernels>=2; extra == "gpu"', 'Requires-Dist: acme-kernels>=1; extra == "cpu"'),
    ]
    distribution(tmp_path, "acme_adapters", "0.3", *extras)


@pytest.mark.parametrize(
    ("requires", "lacking"),
    [
        ((), None),
        (("pluggy",), None),
        (("acme-kernels>=1.4",), None),
        (("acme-adapters",), None),
        (("acme-adapters[cpu]",), None),
        (("acme-kernels>=2",), "'acme-kernels>=2'"),
        (("acme-adapters[gpu]",), r"'acme-adapters\[gpu\]'"),
        (("acme-adapters>=1",), "'acme-adapters>=1'"),
        (("pluggy", "no-such-thing"), "'no-such-thing'"),
    ],
)
def test_what_is_lacking(requires: tuple[str, ...], lacking: str | None, installed: None) -> None:
    method = Method(name="at", summary="A.", target="nowhere:At", requires=requires)
    if lacking is None:
        method.check_installed()
        return
    with pytest.raises(ahf.PluginError, match=rf"method 'at' needs what is not installed here: pip install {lacking}$"):
        method.check_installed()


@pytest.fixture
def no_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.metadata.distribution

    def without(name: str) -> Any:
        if name == "bitsandbytes":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "distribution", without)


def test_a_dry_run_of_qlora_names_its_extra(encoder: Path, no_bitsandbytes: None) -> None:
    with pytest.raises(ahf.PluginError, match=r"'qlora' needs .*: pip install 'adapterhub-fin\[qlora\]'"):
        ahf.preview(
            base={"id": "acme/tiny", "path": str(encoder)},
            method={"name": "qlora", "rank": 4},
            corpus={"name": tiny_corpus()},
            training={"max_length": 32},
        )
