"""Listing must stay light: which modules are imported is asked of a fresh process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapterhub_fin_registry import Manifest, Registry

READS = {
    "import": "",
    "names": "Registry(root).names()",
    "rows": "assert Registry(root).rows()[0]['name'] == 'acme/tone'",
    "search": "assert Registry(root).search('alias = champion finance').rows[0]['name'] == 'acme/tone'",
    "aliases": "assert Registry(root).aliases('acme/tone') == {'champion': 1}",
    "resolve": "Registry(root).resolve('acme/tone'); Registry(root).resolve('acme/tone@champion', as_of='2030-01-01')",
    "versions": "assert Registry(root).versions('acme/tone')[0].tags == ['finance']",
    "damaged": "assert Registry(root).damaged() == {}",
    "references": "Reference.parse('acme/tone@3')",
}
HEAVY = (
    "pydantic",
    "pydantic_core",
    "torch",
    "numpy",
    "safetensors",
    "pluggy",
    "click",
    "transformers",
    "huggingface_hub",
)


def _loaded(code: str, *arguments: str) -> set[str]:
    lines = ("import sys", "from adapterhub_fin_registry import Reference, Registry", "root = sys.argv[1]", code)
    script = "\n".join((*lines, "print(*sys.modules)"))
    answer = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


@pytest.mark.parametrize("read", READS)
def test_reading_imports_nothing_heavy(
    registry: Registry, make_folder: Callable[..., Path], make_manifest: Callable[..., Manifest], read: str
) -> None:
    registry.add(make_folder(), make_manifest(tags=["finance"]), name="acme/tone")
    registry.set_alias("acme/tone", "champion", 1)
    assert not set(HEAVY) & _loaded(READS[read], str(registry.root))


def test_verifying_needs_no_tensor_library(
    registry: Registry, make_folder: Callable[..., Path], make_manifest: Callable[..., Manifest]
) -> None:
    registry.add(make_folder(), make_manifest(), name="acme/tone")
    heavy = set(HEAVY) - {"pydantic", "pydantic_core"}
    assert not heavy & _loaded(
        "Registry(root).verify('acme/tone'); Registry(root).path('acme/tone')", str(registry.root)
    )


def test_the_package_offers_what_it_lists() -> None:
    import adapterhub_fin_registry

    for name in adapterhub_fin_registry.__all__:
        assert getattr(adapterhub_fin_registry, name).__name__ == name
        assert name in dir(adapterhub_fin_registry)
    with pytest.raises(AttributeError):
        adapterhub_fin_registry.Registrar  # noqa: B018 - the lookup is the test
