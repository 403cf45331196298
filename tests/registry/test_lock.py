"""A lock file holds references to what they meant, and says what has changed since."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Corrupted, NotFound, Refused, Registry, WriteFailed
from adapterhub_fin_registry.io.disk import Disk


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "adapters.lock"


@pytest.fixture
def stocked(registry: Registry, make_folder: Any, make_manifest: Any) -> Registry:
    """acme/tone 1 to 3, which know until 2018, 2019 and 2020; 1 is champion."""
    for year in (2018, 2019, 2020):
        manifest = make_manifest(f"{year}-01-01T00:00:00Z", f"{year}-06-30T00:00:00Z")
        registry.add(make_folder(year), manifest, name="acme/tone")
    registry.set_alias("acme/tone", "champion", 1)
    return registry


def test_what_was_resolved_is_written_sorted_and_whole(stocked: Registry, lock: Path) -> None:
    stocked.resolve("acme/tone@champion", lock=lock)
    stocked.resolve("acme/tone", lock=lock)
    stocked.resolve("acme/tone", as_of="2019-12-31", include_base=False, lock=lock)
    digests = [version.digest for version in stocked.versions("acme/tone")]
    assert json.loads(lock.read_text()) == {
        "format": 2,
        "resolutions": [
            {
                "as_of": "2019-12-31T00:00:00Z",
                "digest": digests[1],
                "reference": "acme/tone",
                "include_base": False,
                "version": "acme/tone@2",
            },
            {"digest": digests[2], "reference": "acme/tone", "version": "acme/tone@3"},
            {"digest": digests[0], "reference": "acme/tone@champion", "version": "acme/tone@1"},
        ],
    }
    assert lock.read_text() == json.dumps(json.loads(lock.read_text()), indent=2, sort_keys=True) + "\n"
    assert [path.name for path in lock.parent.iterdir() if path.name.startswith(".")] == []


def test_the_order_of_asking_leaves_no_trace(stocked: Registry, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = [
        {"reference": "acme/tone"},
        {"reference": "acme/tone@champion"},
        {"reference": "acme/tone", "as_of": "2019-12-31"},
    ]
    for name, order in (("a", asked), ("b", asked[::-1])):
        for one in order:
            stocked.resolve(**one, lock=tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_locked_reference_ignores_moves_and_yanks_with_a_warning(
    stocked: Registry, lock: Path, make_folder: Any, make_manifest: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for reference in ("acme/tone", "acme/tone@champion"):
        stocked.resolve(reference, lock=lock)
    before = lock.read_bytes()
    stocked.set_alias("acme/tone", "champion", 2)
    stocked.add(make_folder(9), make_manifest(), name="acme/tone")
    stocked.add_event("acme/tone@3", "yank")
    with caplog.at_level(logging.WARNING):
        assert stocked.resolve("acme/tone", lock=lock).number == 3
        assert stocked.path("acme/tone@champion", lock=lock) == stocked.path("acme/tone@1")
    assert lock.read_bytes() == before
    for said in ("@3, which was yanked", "it is acme/tone@4, sha256:", "it is acme/tone@2, sha256:"):
        assert said in caplog.text
    assert stocked.resolve("acme/tone").number == 4 and stocked.resolve("acme/tone@champion").number == 2


def test_an_alias_that_is_gone_and_a_name_whose_versions_are_all_yanked_still_answer(
    stocked: Registry, lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for reference in ("acme/tone", "acme/tone@champion"):
        stocked.resolve(reference, lock=lock)
    stocked.set_alias("acme/tone", "champion", None)
    for number in (1, 2, 3):
        stocked.add_event(f"acme/tone@{number}", "yank")
    assert stocked.resolve("acme/tone", lock=lock).number == 3
    assert stocked.resolve("acme/tone@champion", lock=lock).number == 1
    assert "every version of acme/tone is yanked" in caplog.text and "there is no acme/tone@champion" in caplog.text


def test_a_damaged_version_that_was_never_held_keeps_nobody_from_the_one_that_is(
    stocked: Registry, lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stocked.resolve("acme/tone@champion", lock=lock)
    stocked.set_alias("acme/tone", "champion", 2)
    (stocked.resolve("acme/tone@2").folder / "manifest.json").write_bytes(b"{}")
    with pytest.raises(Corrupted):
        stocked.resolve("acme/tone@champion")
    assert stocked.resolve("acme/tone@champion", lock=lock).number == 1
    assert "holds acme/tone@champion to acme/tone@1; by now" in caplog.text


def test_a_version_that_is_gone_is_said_to_be(stocked: Registry, lock: Path) -> None:
    stocked.resolve("acme/tone", lock=lock)
    stocked.delete("acme/tone@3")
    with pytest.raises(NotFound, match="holds acme/tone to acme/tone@3, sha256:.*gone from the registry: restore"):
        stocked.resolve("acme/tone", lock=lock)


def test_a_lock_follows_the_digest_into_a_registry_with_other_numbers(
    stocked: Registry, lock: Path, tmp_path: Path, make_folder: Any, make_manifest: Any
) -> None:
    held = stocked.resolve("acme/tone", lock=lock)
    other = Registry(tmp_path / "other")
    other.add(make_folder(7), make_manifest(description="another first"), name="acme/tone")
    manifest = make_manifest("2020-01-01T00:00:00Z", "2020-06-30T00:00:00Z")
    other.add(make_folder(2020), manifest, name="acme/tone")
    other.add(make_folder(8), make_manifest(description="a later third"), name="acme/tone")
    found = other.resolve("acme/tone", lock=lock)
    assert (found.number, found.digest) == (2, held.digest)


def test_a_date_is_checked_on_a_locked_version_too(stocked: Registry, lock: Path) -> None:
    """Else an edited file would let a backtest see the future."""
    stocked.resolve("acme/tone", as_of="2019-01-01", lock=lock)
    document = json.loads(lock.read_text())
    document["resolutions"][0].update(version="acme/tone@3", digest=stocked.resolve("acme/tone@3").digest)
    lock.write_text(json.dumps(document))
    with pytest.raises(Refused, match="knows until 2020-06-30"):
        stocked.resolve("acme/tone", as_of="2019-01-01", lock=lock)


def test_one_date_has_one_entry_however_it_is_written(stocked: Registry, lock: Path) -> None:
    for spelling in ("2019-12-31", "2019-12-31T00:00:00Z", "2019-12-31T01:00:00+01:00"):
        stocked.resolve("acme/tone", as_of=spelling, lock=lock)
    stocked.resolve("acme/tone", as_of="now", lock=lock)
    stocked.resolve("acme/tone@latest", as_of="now", lock=lock)
    assert [entry["as_of"] for entry in json.loads(lock.read_text())["resolutions"]] == ["2019-12-31T00:00:00Z", "now"]


DIGEST = "sha256:" + "0" * 64
GOOD = {"reference": "acme/tone", "version": "acme/tone@1", "digest": DIGEST}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "isn't a lock file"),
        (b"\xff", "isn't a lock file"),
        (b"[" * 100_000, "isn't a lock file"),
        (b"[]", "isn't a lock file"),
        (b'{"format": 1, "resolutions": []}', "its format is 1 and not 2"),
        (b'{"format": 2}', "isn't a lock file"),
        (json.dumps({"format": 2, "resolutions": [1]}).encode(), "isn't a lock file"),
        (json.dumps({"format": 2, "resolutions": [GOOD, GOOD]}).encode(), "a reference twice"),
        (json.dumps({"format": 2, "resolutions": [{**GOOD, "digest": "sha256:0"}]}).encode(), "isn't a digest"),
        (json.dumps({"format": 2, "resolutions": [{**GOOD, "version": "../x"}]}).encode(), "isn't"),
        (json.dumps({"format": 2, "resolutions": [{**GOOD, "version": "acme/other@1"}]}).encode(), "another name"),
        (json.dumps({"format": 2, "resolutions": [{**GOOD, "as_of": []}]}).encode(), "isn't a lock file"),
    ],
)
def test_what_is_no_lock_file_is_refused_and_left_alone(
    content: bytes, why: str, stocked: Registry, lock: Path
) -> None:
    lock.write_bytes(content)
    with pytest.raises(Corrupted, match=why):
        stocked.resolve("acme/tone", lock=lock)
    assert lock.read_bytes() == content


def test_a_full_disk_leaves_the_file_as_it_was(stocked: Registry, lock: Path) -> None:
    stocked.resolve("acme/tone@champion", lock=lock)
    before = lock.read_bytes()

    class Full(Disk):
        def write(self, path: Path, data: bytes) -> None:
            path.write_bytes(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WriteFailed, match="No space left"):
        Registry(stocked.root, disk=Full()).resolve("acme/tone", lock=lock)
    assert lock.read_bytes() == before
    assert sorted(path.name for path in lock.parent.iterdir()) == ["adapters.lock", "root"]


def test_a_link_to_a_lock_file_stays_a_link(stocked: Registry, lock: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    lock.symlink_to(tmp_path / "elsewhere" / "adapters.lock")
    stocked.resolve("acme/tone", lock=lock)
    assert lock.is_symlink() and json.loads(lock.read_text())["resolutions"][0]["version"] == "acme/tone@3"


def test_the_file_is_durable_before_its_place_and_its_place_after(
    stocked: Registry, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order: the new bytes are forced to the disk, take their place, and the folder is forced."""
    done: list[str] = []
    replace = Path.replace

    def seen(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    def moved(path: Path, target: Path) -> Path:
        done.append("replace")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", seen)
    monkeypatch.setattr(Path, "replace", moved)
    stocked.resolve("acme/tone", lock=lock)
    assert done == ["file", "replace", "folder"]
