"""What came from what, by digest: found here, deleted, or elsewhere; bounded whatever a manifest claims."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Manifest, Registry, Version
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of
from adapterhub_fin_registry.storage.lineage import LIMIT, Relative

Grow = Callable[..., Version]


@pytest.fixture
def grow(registry: Registry, make_folder: Callable[..., Path], make_manifest: Callable[..., Manifest]) -> Grow:
    """A version with given parents: versions, or digests of none."""
    seeds = iter(range(1000))

    def add(name: str, *parents: Version | str, role: str = "continued", weight: float | None = None) -> Version:
        entries = [
            {"digest": parent, "name": "acme/elsewhere", "role": role, "weight": weight}
            if isinstance(parent, str)
            else {"digest": parent.digest, "name": parent.name, "role": role, "weight": weight}
            for parent in parents
        ]
        return registry.add(make_folder(next(seeds)), make_manifest(parents=entries), name=name)

    return add


def shape(relatives: tuple[Relative, ...]) -> list[Any]:
    return [[each.references[0] if each.references else each.state, *shape(each.relatives)] for each in relatives]


def test_both_ways_through_generations(registry: Registry, grow: Grow) -> None:
    root, other = grow("acme/root"), grow("acme/other")
    middle = grow("acme/middle", root, other, role="merge", weight=0.5)
    leaf = grow("acme/leaf", middle)
    grow("acme/leaf", middle)
    found = registry.lineage("acme/leaf@1")
    assert shape(found.ancestors) == [["acme/middle@1", ["acme/root@1"], ["acme/other@1"]]] and not found.descendants
    assert found.ancestors[0].digest == middle.digest and found.ancestors[0].role == "continued"
    assert [(each.role, each.weight) for each in found.ancestors[0].relatives] == [("merge", 0.5)] * 2
    down = registry.lineage("acme/root")
    assert shape(down.descendants) == [["acme/middle@1", ["acme/leaf@1"], ["acme/leaf@2"]]] and not down.ancestors
    assert registry.lineage(f"acme/leaf@{leaf.digest}").version.digest == leaf.digest


def test_a_parent_that_was_deleted_and_one_that_was_never_here(registry: Registry, grow: Grow) -> None:
    gone = grow("acme/gone")
    grow("acme/child", gone, "sha256:" + "ab" * 32)
    registry.delete("acme/gone@1")
    deleted, absent = registry.lineage("acme/child").ancestors
    assert (deleted.state, deleted.references) == ("deleted", ("acme/gone@1",))
    assert (absent.state, absent.references, absent.name) == ("absent", (), "acme/elsewhere")


def test_one_version_under_two_names_is_one_relative(registry: Registry, grow: Grow, tmp_path: Path) -> None:
    root = grow("acme/root")
    registry.add(root.files, root.manifest, name="acme/twin")
    grow("acme/child", root)
    (parent,) = registry.lineage("acme/child").ancestors
    assert parent.references == ("acme/root@1", "acme/twin@1")
    assert len(registry.lineage("acme/twin").descendants) == 1


def test_a_damaged_version_blocks_no_other(registry: Registry, grow: Grow) -> None:
    root, bad = grow("acme/root"), grow("acme/bad")
    grow("acme/child", root, bad)
    path = bad.folder / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(b'{"parents": [3]}')
    assert [each.state for each in registry.lineage("acme/child").ancestors] == ["here", "absent"]


def test_a_family_that_meets_again_is_drawn_once(registry: Registry, grow: Grow) -> None:
    """Thirty generations of two parents each are a thousand million paths, and sixty versions."""
    pair = (grow("acme/first"), grow("acme/second"))
    for _ in range(30):
        pair = (grow("acme/first", *pair), grow("acme/second", *pair))
    found = registry.lineage(pair[0].reference)
    first, second = found.ancestors
    assert count(found.ancestors) == 2 + 29 * 4 and first.relatives and all(each.cut for each in second.relatives)


def count(relatives: tuple[Relative, ...]) -> int:
    return sum(1 + count(each.relatives) for each in relatives)


def plant(registry: Registry, name: str, manifest: dict[str, Any]) -> str:
    """A version as a hostile copy leaves it: its manifest says what it likes."""
    data = canonical(manifest)
    folder = registry.root.joinpath("adapters", *name.split("/"), "versions", "1")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(data)
    return digest_of(data)


def test_hostile_manifests_are_bounded(registry: Registry, grow: Grow) -> None:
    template = json.loads(grow("acme/template").manifest_bytes)
    chain = "sha256:" + "00" * 32
    for number in range(1200):  # a chain deeper than Python's own recursion
        entry = {"digest": chain, "name": "acme/x", "role": "continued", "weight": None}
        chain = plant(registry, f"acme/chain-{number}", {**template, "parents": [entry]})
    found = registry.lineage(f"acme/chain-1199@{chain}")
    place, depth = found.ancestors[0], 1
    while place.relatives:
        place, depth = place.relatives[0], depth + 1
    assert depth == LIMIT and place.cut
    many = [{"digest": f"sha256:{n:064x}", "name": "acme/x", "role": "merge", "weight": True} for n in range(5000)]
    plant(registry, "acme/many", {**template, "parents": many})
    assert len(registry.lineage("acme/many@1").ancestors) == LIMIT
    for number, parents in enumerate((3, [3], [{}], {"digest": 1}, [[]], None)):
        plant(registry, f"acme/odd-{number}", {**template, "parents": parents})
    assert not registry.lineage("acme/template").ancestors


def test_a_file_in_the_place_of_a_version_is_passed_over(registry: Registry, grow: Grow) -> None:
    root = grow("acme/root")
    grow("acme/leaf", root)
    (registry.root / "adapters/acme/leaf/versions/2").write_text("x")
    (registry.root / "adapters/acme/other/versions").mkdir(parents=True)
    (registry.root / "adapters/acme/other/versions/1").write_text("x")
    assert shape(registry.lineage("acme/root").descendants) == [["acme/leaf@1"]]
