"""No link leads out of a registry, no file and no pipe in the place of a folder or a mark breaks or hangs it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Corrupted, Registry, WriteFailed

Act = Callable[[Registry], object]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder outside the registry, in which nothing may change; old, and with what a registry might look for."""
    folder = tmp_path / "elsewhere"
    (folder / "thesis").mkdir(parents=True)
    (folder / "thesis" / "chapter.txt").write_text("precious")
    (folder / "00000000-0000-0000-0000-000000000000").mkdir()
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (1, 1))
    return folder


@pytest.fixture
def tone(registry: Registry, make_folder: Any, make_manifest: Any) -> Registry:
    """acme/tone@1 and @2 with an alias and a tag, and other/last@1."""
    for seed in (1, 2):
        registry.add(make_folder(seed), make_manifest(), name="acme/tone")
    registry.set_alias("acme/tone", "champion", 1)
    registry.add_event("acme/tone@2", "tag", {"tag": "production"})
    registry.add(make_folder(3), make_manifest(), name="other/last")
    return registry


@pytest.fixture
def acts(make_folder: Any, make_manifest: Any, make_key: Any) -> dict[str, Act]:
    """Every way to change acme/tone."""
    folder, manifest, key = make_folder(9), make_manifest(), make_key("desk", "ed25519")
    return {
        "add": lambda registry: registry.add(folder, manifest, name="acme/tone"),
        "alias": lambda registry: registry.set_alias("acme/tone", "champion", 2),
        "alias that is new": lambda registry: registry.set_alias("acme/tone", "stable", 2),
        "event": lambda registry: registry.add_event("acme/tone@2", "tag", {"tag": "new"}),
        "sign": lambda registry: registry.sign("acme/tone@2", key),
        "delete": lambda registry: registry.delete("acme/tone@2"),
    }


def _tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else b"", path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def _moved(root: Path, place: str, elsewhere: Path) -> None:
    """A part of a registry that lies elsewhere, with a link in its place."""
    shutil.move(root / place, elsewhere / "moved")
    (root / place).symlink_to(elsewhere / "moved")


ALL = {"add", "alias", "alias that is new", "event", "sign", "delete"}
REFUSED = {
    "tmp": ALL,
    "adapters": ALL,
    "adapters/acme": ALL,
    "adapters/acme/tone": ALL,
    "adapters/acme/tone/versions": ALL,
    "adapters/acme/tone/aliases": {"alias", "alias that is new", "delete"},
    "adapters/acme/tone/aliases/champion": {"alias", "delete"},
    "adapters/acme/tone/versions/2": {"alias", "alias that is new", "event", "sign", "delete"},
    "adapters/acme/tone/versions/2/events": {"event"},
}


@pytest.mark.parametrize("place", REFUSED)
def test_nothing_is_written_through_a_link(
    tone: Registry, elsewhere: Path, acts: dict[str, Act], place: str, tmp_path: Path
) -> None:
    for name, act in acts.items():
        root, outside = tmp_path / name / "root", tmp_path / name / "elsewhere"
        shutil.copytree(tone.root, root)
        shutil.copytree(elsewhere, outside)
        _moved(root, place, outside)
        before = _tree(outside)
        if name in REFUSED[place]:
            with pytest.raises(Corrupted, match="is a link"):
                act(Registry(root))
        else:
            act(Registry(root))
        for careful in (lambda r: r.doctor(repair=True, grace=timedelta(0)), lambda r: r.gc(grace=timedelta(0))):
            try:
                careful(Registry(root))
            except Corrupted as error:
                assert "is a link" in str(error) and place in ("tmp", "adapters")
        assert _tree(outside) == before


def test_gc_removes_nothing_that_tmp_leads_to(tone: Registry, elsewhere: Path) -> None:
    shutil.rmtree(tone.root / "tmp")
    (tone.root / "tmp").symlink_to(elsewhere)
    before = _tree(elsewhere)
    for dry_run in (True, False):
        with pytest.raises(Corrupted, match="tmp is a link"):
            tone.gc(dry_run=dry_run)
    [finding] = tone.doctor(repair=True)
    assert (finding.kind, finding.path, finding.repairable) == ("unexpected", tone.root / "tmp", False)
    assert _tree(elsewhere) == before and len(before) == 3


def test_gc_claims_only_what_is_named_as_a_work_folder(tone: Registry, elsewhere: Path) -> None:
    shutil.rmtree(tone.root / "tmp")
    shutil.copytree(elsewhere, tone.root / "tmp")
    named = tone.root / "tmp" / "00000000-0000-0000-0000-000000000000"
    named.chmod(0o700)
    [left] = tone.gc(grace=timedelta(0))
    assert left.path == named and not named.exists()
    assert (tone.root / "tmp/thesis/chapter.txt").read_text() == "precious"
    [finding] = tone.doctor()
    assert (finding.kind, finding.path.name, finding.repairable) == ("unexpected", "thesis", False)


@pytest.mark.parametrize("place", ["adapters/acme", "adapters/acme/tone", "adapters/acme/tone/versions"])
def test_nothing_is_read_through_a_link(tone: Registry, elsewhere: Path, place: str) -> None:
    _moved(tone.root, place, elsewhere)
    assert tone.names() == ["other/last"] and {row["name"] for row in tone.rows()} == {"other/last"}
    assert [row["name"] for row in Registry(tone.root).search("")] == ["other/last"]
    for reference in ("acme/tone", "acme/tone@1"):
        with pytest.raises(Corrupted, match=r"is a link, which could lead out of the registry"):
            tone.resolve(reference)
    assert [finding.path for finding in tone.doctor() if finding.kind == "unexpected"] == [tone.root / place]


def test_the_root_itself_may_be_a_link(tone: Registry, tmp_path: Path, make_folder: Any, make_manifest: Any) -> None:
    (tmp_path / "link").symlink_to(tone.root)
    registry = Registry(tmp_path / "link")
    assert registry.add(make_folder(8), make_manifest(), name="acme/tone").number == 3
    assert registry.gc(grace=timedelta(0)) == [] and registry.doctor() == []


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _link_to_a_folder(path: Path) -> None:
    path.symlink_to(path.parent)


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _link_to_a_file(path: Path) -> None:
    (path.parent.parent / "other mark").write_text("never changes")
    path.symlink_to(path.parent.parent / "other mark")


@pytest.mark.parametrize("place", ["changed", "adapters/acme/tone/changed"])
@pytest.mark.parametrize("put", [_pipe, _folder, _link_to_a_folder, _link_to_itself, _link_to_a_file])
def test_a_mark_that_is_no_plain_file_is_one_that_nobody_knows(
    tone: Registry, place: str, put: Callable[[Path], None], acts: dict[str, Act]
) -> None:
    (tone.root / place).unlink()
    put(tone.root / place)
    name = "acme/tone" if "/" in place else None
    assert tone.mark(name) != tone.mark(name)
    assert len(Registry(tone.root).search("", limit=None)) == 3
    [finding] = [found for found in tone.doctor() if found.kind == "mark"]
    assert (finding.path, finding.repairable) == (tone.root / place, put is not _folder)
    if put is _folder:
        with pytest.raises(WriteFailed, match=r"Is a directory.*changed"):
            acts["event"](tone)
        (tone.root / place).rmdir()
    tone.doctor(repair=True)
    acts["event"](tone)
    assert tone.mark(name) == tone.mark(name) and tone.doctor() == []


def test_a_file_where_folders_belong(tone: Registry) -> None:
    shutil.rmtree(tone.root / "adapters")
    (tone.root / "adapters").write_text("x")
    for ask in (tone.names, tone.rows, tone.damaged, lambda: Registry(tone.root).search("")):
        with pytest.raises(Corrupted, match=r"adapters can't be read \(Not a directory\)"):
            ask()
    assert ("unexpected", tone.root / "adapters") in [(found.kind, found.path) for found in tone.doctor(repair=True)]


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Corrupted, match="isn't a folder"):
        Registry(tmp_path / "file")
