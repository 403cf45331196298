"""What a power cut would need: everything is on the disk before the rename, and the rename before the answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapterhub_fin_registry import Manifest, Registry
from adapterhub_fin_registry.disk import Disk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which file a descriptor is")

MakeFolder = Callable[..., Path]
MakeManifest = Callable[..., Manifest]


class _Journal(Disk):
    """Writes down every fsync and every claim, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries: list[tuple[str, Path]] = []
        monkeypatch.setattr(
            os, "fsync", lambda fd: self.entries.append(("fsync", Path(f"/proc/self/fd/{fd}").readlink()))
        )

    def claim(self, built: Path, target: Path) -> bool:
        self.entries.append(("claim", target))
        self.inside = set(built.rglob("*"))
        self.built = {built, *self.inside}
        return super().claim(built, target)


def test_a_version_is_durable_before_it_is_visible_and_before_it_is_answered(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _Journal(monkeypatch)
    folder = make_folder(1, {"sub/deeper/notes.md": b"# notes"})
    version = Registry(registry.root, disk=disk).add(folder, make_manifest(), name="acme/tone")
    claimed = disk.entries.index(("claim", version.folder))
    before = [path for what, path in disk.entries[:claimed] if what == "fsync"]
    assert disk.built <= set(before)
    # A folder after what it holds, or its entries could be missing.
    for path in disk.inside:
        assert max(n for n, entry in enumerate(before) if entry == path.parent) > before.index(path)
    assert ("fsync", version.folder.parent) in disk.entries[claimed:]
    # Every folder on the way down was itself made durable in its parent.
    parents = {version.folder.parent, *version.folder.parent.parents} - {*registry.root.parents}
    assert {parent.parent for parent in parents} <= {path for what, path in disk.entries if what == "fsync"}


@pytest.mark.parametrize("kind", ["alias", "event"])
def test_so_is_all_that_grows(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    registry.add(make_folder(), make_manifest(), name="acme/tone")
    disk = _Journal(monkeypatch)
    writer = Registry(registry.root, disk=disk)
    if kind == "alias":
        writer.set_alias("acme/tone", "champion", 1)
    else:
        writer.add_event("acme/tone@1", "yank")
    [claimed] = [n for n, entry in enumerate(disk.entries) if entry[0] == "claim"]
    target = disk.entries[claimed][1]
    assert disk.built <= {path for what, path in disk.entries[:claimed] if what == "fsync"}
    assert ("fsync", target.parent) in disk.entries[claimed:]


def test_a_tombstone_is_durable_before_anything_is_removed(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registry.add(make_folder(), make_manifest(), name="acme/tone")
    disk = _Journal(monkeypatch)
    removed: list[tuple[str, bool]] = []

    def remove(tree: Path) -> None:
        removed.append((tree.name, ("fsync", version.folder) in disk.entries))
        Disk.remove(disk, tree)

    monkeypatch.setattr(disk, "remove", remove)
    Registry(registry.root, disk=disk).delete("acme/tone@1")
    assert {name for name, _ in removed} >= {"files", "manifest.json", "record.json"}
    assert all(durable for _, durable in removed)
