"""Detect alterations as docs/explanation/crash_safety.md says, by a reader that hashed before and one that did not."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from mmap import mmap
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import AdapterHubError, Corrupted, NotFound, Registry
from adapterhub_fin_registry.io import hash_cache as memory_module
from adapterhub_fin_registry.io.hash_cache import RACY, cache_folder

Spoil = Callable[[Path], None]


@pytest.fixture
def stored(registry: Registry, make_folder: Any, make_manifest: Any) -> Registry:
    """acme/tone@1 with a file in a folder, an event, an alias, and times that lie long enough back to be remembered."""
    registry.add(make_folder(1, {"sub/notes.md": b"# notes"}), make_manifest(tags=["finance"]), name="acme/tone")
    registry.add_event("acme/tone@1", "tag", {"tag": "production"})
    registry.set_alias("acme/tone", "champion", 1)
    return registry


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour later: what was written just now is old enough to be remembered."""
    now = time.time_ns
    monkeypatch.setattr("adapterhub_fin_registry.storage.verify.time.time_ns", lambda: now() + 3600 * 10**9)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of each file that is hashed."""
    from adapterhub_fin_registry.storage import verify as verification

    sizes: list[int] = []
    true_hash = verification.hash_open

    def watched(file: Any) -> tuple[int, str]:
        found = true_hash(file)
        sizes.append(found[0])
        return found

    monkeypatch.setattr(verification, "hash_open", watched)
    return sizes


def _flip(path: Path, at: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _lose(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    """Another file of the same size, moved there with its times put back."""
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


SPOILS = [_flip, _truncate, _empty, _lose, _replace]


def _read(registry: Registry) -> None:
    """All that a reader can ask of the version."""
    version = registry.resolve("acme/tone@champion")
    registry.path(version.reference)
    registry.rows("acme/tone")
    assert version.record and version.manifest and version.events
    assert registry.alias_history("acme/tone", "champion") and registry.damaged() == {}


def _stored_files(registry: Registry) -> list[Path]:
    name = registry.root / "adapters/acme/tone"
    return sorted(path for path in name.rglob("*") if path.is_file() and path.name != "changed")


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__.strip("_"))
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.usefixtures("later")
def test_every_file_spoilt_is_caught_by_name(stored: Registry, tmp_path: Path, spoil: Spoil, warm: bool) -> None:
    files = _stored_files(stored)
    names = [path.name for path in files]
    assert names == [
        "alias.json", "event.json", "adapter_config.json", "adapter_model.safetensors", "notes.md", "manifest.json",
        "record.json",
    ]  # fmt: skip
    for number, file in enumerate(files):
        root = shutil.copytree(stored.root, tmp_path / str(number))
        registry, path = Registry(root), root / file.relative_to(stored.root)
        if warm:
            _read(registry)
        before = path.stat()
        spoil(path)
        if path.exists():  # whoever puts the mtime back can't put the ctime back
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises((Corrupted, NotFound, AssertionError)) as caught:
            _read(registry)
        if path.name == "manifest.json" and spoil is _lose:
            assert isinstance(caught.value, NotFound) and "acme/tone@champion" in str(caught.value)
            continue
        assert isinstance(caught.value, Corrupted) and str(path) in str(caught.value)


@pytest.mark.usefixtures("later")
def test_every_byte_of_every_hashed_file(stored: Registry) -> None:
    version = stored.resolve("acme/tone@1")
    for file in version.manifest.files:
        path = version.files / file.path
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :])
            with pytest.raises(Corrupted, match=f"{path.name} of acme/tone@1"):
                stored.path("acme/tone@1")
            path.write_bytes(whole[:at])
            with pytest.raises(Corrupted, match=f"{path.name} of acme/tone@1"):
                stored.path("acme/tone@1")
        path.write_bytes(whole)
    assert stored.path("acme/tone@1") == version.files


@pytest.mark.parametrize("name", ["record.json", "events/1/event.json", "../../aliases/champion/1/alias.json"])
def test_a_value_altered_in_what_no_hash_covers_is_read_or_refused_by_name(stored: Registry, name: str) -> None:
    """Bytes that still have the form of a record, an event or an alias are believed: only a manifest has a digest."""
    path = stored.resolve("acme/tone@1").folder / name
    whole = path.read_bytes()
    refused = 0
    for at in range(len(whole)):
        for bit in (0x01, 0x20, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            try:
                _read(stored)
            except (Corrupted, NotFound, AssertionError) as error:
                assert not isinstance(error, Corrupted) or path.name in str(error)
                refused += 1
        path.write_bytes(whole[:at])
        with pytest.raises((Corrupted, AssertionError)):
            _read(stored)
    assert 0 < refused < 3 * len(whole)
    path.write_bytes(whole)
    _read(stored)


@pytest.mark.usefixtures("later")
def test_every_bit_of_the_manifest_is_in_the_digest(stored: Registry) -> None:
    version = stored.resolve("acme/tone@1")
    path, whole = version.folder / "manifest.json", version.manifest_bytes
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises((Corrupted, NotFound)):  # whoever knows the digest
            stored.verify(f"acme/tone@{version.digest}")
        try:  # whoever knows the number gets what its bytes say, under another digest, or an error
            assert stored.verify("acme/tone@1").digest != version.digest
        except AdapterHubError as error:
            assert isinstance(error, Corrupted)


@pytest.mark.usefixtures("later")
def test_what_was_hashed_is_not_read_again(stored: Registry, hashed: list[int]) -> None:
    stored.path("acme/tone@1")
    assert len(hashed) == 3
    Registry(stored.root).path("acme/tone@1")
    assert len(hashed) == 3
    notes = stored.resolve("acme/tone@1").files / "sub" / "notes.md"
    os.utime(notes)  # touched, and the same bytes: read once more
    for _ in range(2):
        stored.path("acme/tone@1")
        assert len(hashed) == 4
    assert list((stored.root).rglob("*.sqlite")) == []


@pytest.mark.usefixtures("later")
def test_verify_remembers_nothing(stored: Registry, hashed: list[int]) -> None:
    stored.verify("acme/tone@1")
    assert not cache_folder(stored.id or "").exists()
    stored.path("acme/tone@1")
    stored.verify("acme/tone@1")
    assert len(hashed) == 9


@pytest.mark.usefixtures("later")
def test_a_change_below_the_file_system_is_caught_by_verify(stored: Registry) -> None:
    """A disk that rots changes no ctime: here the memory is given what the file system would say then."""
    stored.path("acme/tone@1")
    path = stored.resolve("acme/tone@1").files / "adapter_model.safetensors"
    _flip(path)
    state = path.stat()
    with sqlite3.connect(cache_folder(stored.id or "") / "hashed.sqlite") as database:
        times = (state.st_mtime_ns, state.st_ctime_ns, str(state.st_ino))
        assert database.execute("UPDATE hashed SET mtime_ns = ?, ctime_ns = ? WHERE inode = ?", times).rowcount == 1
    stored.path("acme/tone@1")
    with pytest.raises(Corrupted, match=r"adapter_model\.safetensors of acme/tone@1 has other bytes"):
        stored.verify("acme/tone@1")


def test_what_was_written_just_now_is_not_remembered(
    stored: Registry, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.path("acme/tone@1")
    stored.path("acme/tone@1")
    assert len(hashed) == 6
    newest = max(path.stat().st_ctime_ns for path in stored.resolve("acme/tone@1").files.rglob("*"))
    for since, more in ((newest + RACY - 1, 1), (newest + RACY, 0), (newest - 10**12, 0)):
        monkeypatch.setattr("adapterhub_fin_registry.storage.verify.time.time_ns", lambda since=since: since)
        stored.path("acme/tone@1")
        before = len(hashed)
        stored.path("acme/tone@1")
        assert (len(hashed) > before) == bool(more)


@pytest.mark.usefixtures("later")
def test_the_bytes_that_are_read_are_those_that_were_verified(stored: Registry, hashed: list[int]) -> None:
    version, notes = stored.resolve("acme/tone@1"), "sub/notes.md"
    path = version.files / notes
    for _ in range(2):  # hashed, and then remembered
        assert contents(stored.read_files(version, [notes, "not there.txt"])) == {notes: b"# notes"}
    assert len(hashed) == 2, "those that aren't asked for are verified as ever, and once"
    whole = path.read_bytes()
    for wrong in (b"# nodes", whole + b"!", whole[:-1], b""):
        path.write_bytes(wrong)
        for read in ([notes], []):
            with pytest.raises(Corrupted, match=r"notes\.md of acme/tone@1 has other bytes"):
                stored.read_files(version, read)
    path.write_bytes(whole)
    assert contents(stored.read_files(version, [notes])) == {notes: b"# notes"}
    path.unlink()
    with pytest.raises(Corrupted, match=r"notes\.md of acme/tone@1 is missing"):
        stored.read_files(version, [notes])


def contents(read: Mapping[str, Any]) -> dict[str, bytes]:
    return {path: bytes(data) for path, data in read.items()}


def test_files_are_read_beside_the_heap_and_a_forks_writes_stay_its_own(
    registry: Registry, make_folder: Any, make_manifest: Any
) -> None:
    # A server keeps such bytes for long; on the heap they would hold the pages of all that was freed around them.
    version = registry.add(
        make_folder(1, {"notes.md": b"# notes", "empty.txt": b""}), make_manifest(), name="acme/tone"
    )
    read = registry.read_files(version, ["notes.md", "empty.txt"])
    assert bytes(read["empty.txt"]) == b""
    data = read["notes.md"]
    assert isinstance(data, mmap)
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            data[:1] = b"!"
            os._exit(0)
        os.waitpid(child, 0)
    assert bytes(data) == b"# notes"


@pytest.mark.usefixtures("later")
def test_a_file_that_changes_while_it_is_read_is_hashed(stored: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory knows the state that the file had before; its bytes are of after."""
    from adapterhub_fin_registry.storage import verify as verification

    version, notes = stored.resolve("acme/tone@1"), "sub/notes.md"
    stored.read_files(version, [notes])
    opened = verification.open_regular

    def changing(path: Path) -> Any:
        file = opened(path)
        if path.name == "notes.md":
            true_read = file.raw.readinto

            class Changing:
                def __getattr__(self, name: str) -> Any:
                    return getattr(file, name)

                def __enter__(self) -> Changing:
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                def readinto(self, data: bytearray) -> int:
                    path.write_bytes(b"# nodes")
                    return int(true_read(data))

            return Changing()
        return file

    monkeypatch.setattr(verification, "open_regular", changing)
    with pytest.raises(Corrupted, match=r"notes\.md of acme/tone@1 has other bytes"):
        stored.read_files(version, [notes])


def _no_folder(cache: Path) -> None:
    cache.write_text("a file in the place of the folder")


def _a_link_to_nowhere(cache: Path) -> None:
    cache.symlink_to(cache.parent / "nowhere" / "at" / "all")


def _garbage(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "hashed.sqlite").write_bytes(b"garbage" * 1000)


def _a_folder_in_its_place(cache: Path) -> None:
    (cache / "hashed.sqlite").mkdir(parents=True)


def _another_table(cache: Path) -> None:
    cache.mkdir(parents=True)
    with sqlite3.connect(cache / "hashed.sqlite") as database:
        database.execute("CREATE TABLE hashed (unlike)")


def _locked(cache: Path) -> None:
    cache.mkdir(parents=True)
    database = sqlite3.connect(cache / "hashed.sqlite", isolation_level=None)
    database.execute(memory_module._TABLE)
    database.execute("BEGIN EXCLUSIVE")
    HELD.append(database)


HELD: list[sqlite3.Connection] = []


@pytest.mark.parametrize(
    "spoil", [_no_folder, _a_link_to_nowhere, _garbage, _a_folder_in_its_place, _another_table, _locked]
)
@pytest.mark.usefixtures("later")
def test_a_memory_that_cannot_be_used_is_none(stored: Registry, hashed: list[int], spoil: Spoil) -> None:
    cache = cache_folder(stored.id or "")
    cache.parent.mkdir(parents=True)
    spoil(cache)
    try:
        for _ in range(2):
            assert stored.path("acme/tone@1").is_dir()
        assert len(hashed) == (3 if spoil is _garbage else 6)  # which is thrown away and begun again
        _flip(stored.resolve("acme/tone@1").files / "adapter_config.json")
        with pytest.raises(Corrupted, match=r"adapter_config\.json"):
            stored.path("acme/tone@1")
    finally:
        while HELD:
            HELD.pop().close()


@pytest.mark.usefixtures("later")
def test_a_memory_that_lies_costs_a_reading_only(stored: Registry, hashed: list[int]) -> None:
    stored.path("acme/tone@1")
    with sqlite3.connect(cache_folder(stored.id or "") / "hashed.sqlite") as database:
        database.execute("UPDATE hashed SET sha256 = 'x'")
    stored.path("acme/tone@1")
    stored.path("acme/tone@1")
    assert len(hashed) == 6


@pytest.mark.parametrize("identity", ["../../outside", "/etc", "", "x" * 300, 7, None])
def test_an_id_from_a_registry_is_no_path(stored: Registry, tmp_path: Path, identity: Any) -> None:
    (stored.root / "registry.json").write_text(json.dumps({"format": 1, "id": identity}))
    assert Registry(stored.root).path("acme/tone@1").is_dir()
    assert not (tmp_path / "cache").exists() and not (tmp_path / "outside").exists()


def test_the_cache_is_the_users(stored: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AHF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    stored.path("acme/tone@1")
    folder = tmp_path / "users" / "adapterhub_fin" / "registries" / str(stored.id)
    assert (folder / "hashed.sqlite").is_file() and folder.stat().st_mode & 0o077 == 0


def test_links_lead_nowhere(stored: Registry) -> None:
    version = stored.resolve("acme/tone@1")
    version.files.rename(stored.root / "moved")
    version.files.symlink_to(stored.root / "moved")
    for read in (stored.path, stored.verify):
        with pytest.raises(Corrupted, match=r"files is a link"):
            read("acme/tone@1")
    version.folder.rename(stored.root / "whole")
    version.folder.symlink_to(stored.root / "whole")
    for act in (stored.path, stored.verify, stored.delete):
        with pytest.raises(AdapterHubError, match=r"versions/1 is a link"):
            act("acme/tone@1")
    assert (stored.root / "whole" / "manifest.json").exists()
