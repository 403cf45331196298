"""What was put into a registry by other means, once `doctor` has marked it, is what every index finds."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Registry

TONE = Path("adapters/acme/tone")


@pytest.fixture
def indexed(registry: Registry, make_folder: Any, make_manifest: Any) -> Registry:
    """acme/tone@1 and @2, each of which knew until 2021, in an index of this user's."""
    for seed in (1, 2):
        registry.add(make_folder(seed), make_manifest(metrics={"f1": 0.5}), name="acme/tone")
    registry.add_event("acme/tone@1", "tag", {"tag": "production"})
    assert len(registry.search("", as_of="2022-01-01")) == 2 and registry.doctor() == []
    time.sleep(0.05)  # a file system's clock ticks every few milliseconds
    return registry


@pytest.fixture
def other(tmp_path: Path, make_folder: Any, make_manifest: Any) -> Registry:
    """Another registry, whose acme/tone@1 and @2 knew until 2024."""
    registry, late = Registry(tmp_path / "other"), "2024-01-01T00:00:00Z"
    for seed in (3, 4):
        manifest = make_manifest("2020-01-01T00:00:00Z", late, metrics={"f1": 0.9})
        registry.add(make_folder(seed), manifest, name="acme/tone")
    registry.add_event("acme/tone@1", "tag", {"tag": "staging"})
    return registry


def _replace_the_name(root: Path, other: Path) -> None:
    shutil.rmtree(root / TONE)
    shutil.copytree(other / TONE, root / TONE)


def _replace_a_version(root: Path, other: Path) -> None:
    shutil.rmtree(root / TONE / "versions/1")
    shutil.copytree(other / TONE / "versions/1", root / TONE / "versions/1")


def _write_over_a_manifest(root: Path, other: Path) -> None:
    """The same inode, size and mtime: the ctime alone tells."""
    manifest = root / TONE / "versions/1/manifest.json"
    before, written = manifest.stat(), manifest.read_bytes().replace(b"2021-01-01", b"2024-01-01")
    manifest.write_bytes(written)
    os.utime(manifest, ns=(before.st_atime_ns, before.st_mtime_ns))


def _write_over_an_event(root: Path, other: Path) -> None:
    event = root / TONE / "versions/1/events/1/event.json"
    event.write_text(json.dumps({**json.loads(event.read_text()), "tag": "staging"}))


def _write_over_a_record(root: Path, other: Path) -> None:
    record = root / TONE / "versions/1/record.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "added_at": "2026-01-01T00:00:00Z"}))


COPIES = [
    _replace_the_name, _replace_a_version, _write_over_a_manifest, _write_over_an_event, _write_over_a_record,
]  # fmt: skip


@pytest.mark.parametrize("copy", COPIES, ids=lambda copy: copy.__name__.strip("_"))
def test_an_index_finds_what_was_copied_once_doctor_has_marked_it(
    indexed: Registry, other: Registry, copy: Callable[[Path, Path], None]
) -> None:
    before = indexed.rows()
    copy(indexed.root, other.root)
    assert {finding.kind for finding in indexed.doctor(repair=True)} <= {"copy", "record"}
    assert indexed.doctor() == []
    for registry in (indexed, Registry(indexed.root)):
        assert registry.search("").rows == registry.rows() != before
        early = [row["version"] for row in registry.search("", as_of="2022-01-01")]
        assert early == [row["version"] for row in registry.rows() if row["knowledge_end"] < "2022"]
