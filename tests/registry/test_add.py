"""The one way in: what is stored, what is refused, and what a refusal leaves behind."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import (
    BadManifest,
    BadReference,
    Corrupted,
    Manifest,
    NotAnAdapter,
    ReadOnly,
    Refused,
    Registry,
    WriteFailed,
)
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.io.safe_read import SMALL
from adapterhub_fin_registry.model.manifest import StoredFile, Tensor
from adapterhub_fin_registry.storage import ingest as adding_module

MakeFolder = Callable[..., Path]
MakeManifest = Callable[..., Manifest]


def _unchanged(registry: Registry) -> None:
    """Nothing is stored, and nothing half-built lies about."""
    assert registry.names() == [] and registry.rows() == []
    tmp = registry.root / "tmp"
    assert not tmp.exists() or list(tmp.iterdir()) == []


def test_a_version_is_a_complete_folder(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    folder = make_folder(1, {"sub/notes.md": b"# notes"})
    version = registry.add(folder, make_manifest(), name="acme/tone", origin={"from": "a test"})
    assert (version.name, version.number, version.reference) == ("acme/tone", 1, "acme/tone@1")
    stored = {str(p.relative_to(version.files)): p.read_bytes() for p in version.files.rglob("*") if p.is_file()}
    assert stored == {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert version.manifest.files == tuple(
        StoredFile(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in sorted(stored.items())
    )
    assert version.manifest.tensors == (Tensor("a.lora_B", "F32", (3, 2)), Tensor("b.lora_A", "F32", (2, 3)))
    assert version.digest == version.manifest.digest == f"sha256:{hashlib.sha256(version.manifest_bytes).hexdigest()}"
    assert version.manifest_bytes == (version.folder / "manifest.json").read_bytes()
    record = version.record
    assert (record["name"], record["version"], record["origin"]) == ("acme/tone", 1, {"from": "a test"})
    assert "@" in record["added_by"] and record["added_at"].endswith("Z")
    assert list((registry.root / "tmp").iterdir()) == []


def test_the_stored_folder_is_as_open_as_the_user_makes_folders(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    # The work folder is 0700; a registry of a team must not end up so.
    modes = []

    def look(manifest: Manifest, files: Path) -> None:
        modes.append(files.parent.parent.stat().st_mode & 0o777)

    old = os.umask(0o022)
    try:
        version = registry.add(make_folder(), make_manifest(), name="acme/tone", checks=[look])
    finally:
        os.umask(old)
    assert modes == [0o700]
    assert version.folder.stat().st_mode & 0o777 == 0o755


def test_the_same_digest_is_stored_once_per_name(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    first = registry.add(make_folder(1), make_manifest(), name="acme/tone")
    other = registry.add(make_folder(2), make_manifest(), name="acme/tone")
    again = registry.add(make_folder(1), make_manifest(), name="acme/tone", origin={"else": "where"})
    assert again == first and again.record == first.record
    assert other.number == 2 and other.digest != first.digest
    elsewhere = registry.add(make_folder(1), make_manifest(), name="acme/copy")
    assert (elsewhere.number, elsewhere.digest) == (1, first.digest)
    different = registry.add(make_folder(1), make_manifest(description="another"), name="acme/tone")
    assert different.number == 3


def test_a_number_is_taken_where_it_is_free(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    assert registry.add(make_folder(1), make_manifest(), name="acme/tone", number=7).number == 7
    assert registry.add(make_folder(2), make_manifest(), name="acme/tone", number=7).number == 8
    assert registry.add(make_folder(3), make_manifest(), name="acme/tone", number=2).number == 2
    assert registry.add(make_folder(4), make_manifest(), name="acme/tone").number == 9
    assert registry.add(make_folder(1), make_manifest(), name="acme/tone", number=20).number == 7
    for number in (0, -1, 10**9):
        with pytest.raises(BadReference):
            registry.add(make_folder(5), make_manifest(), name="acme/tone", number=number)


def test_what_the_manifest_names_must_match(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    known = registry.add(make_folder(1), make_manifest(), name="acme/tone").manifest
    assert registry.add(make_folder(1), known, name="acme/pulled").digest == known.digest
    with pytest.raises(Corrupted, match=r"adapter_model\.safetensors"):
        registry.add(make_folder(2), known, name="acme/pulled")
    with pytest.raises(Corrupted, match=r"more\.json"):
        registry.add(make_folder(1, {"more.json": b"{}"}), known, name="acme/pulled")
    renamed = known.model_copy(update={"files": (), "tensors": (Tensor("c", "F32", (1,)),)})
    with pytest.raises(Corrupted, match=r"a\.lora_B"):
        registry.add(make_folder(1), renamed, name="acme/pulled")
    assert len(registry.versions("acme/pulled")) == 1


def test_checks_see_the_completed_manifest_and_the_copy(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    seen: list[tuple[Manifest, list[str]]] = []
    folder = make_folder()
    version = registry.add(
        folder,
        make_manifest(),
        name="acme/tone",
        checks=[lambda manifest, files: seen.append((manifest, sorted(p.name for p in files.iterdir())))],
    )
    assert seen == [(version.manifest, ["adapter_config.json", "adapter_model.safetensors"])]


class _Broken:
    def __call__(self, manifest: Manifest, files: Path) -> None:
        raise ZeroDivisionError("oops")


def test_a_veto_stops_and_so_does_one_that_breaks(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    def refuse(manifest: Manifest, files: Path) -> None:
        raise Refused("the license is not allowed here")

    with pytest.raises(Refused, match="the license is not allowed here"):
        registry.add(make_folder(), make_manifest(), name="acme/tone", checks=[refuse])
    with pytest.raises(Refused, match=r"_Broken failed with ZeroDivisionError \(oops\)") as refused:
        registry.add(make_folder(), make_manifest(), name="acme/tone", checks=[_Broken()])
    assert isinstance(refused.value.__cause__, ZeroDivisionError)
    _unchanged(registry)


def test_a_check_that_alters_the_copy_is_found_on_read(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    def alter(manifest: Manifest, files: Path) -> None:
        (files / "adapter_config.json").write_bytes(b"{}")

    registry.add(make_folder(), make_manifest(), name="acme/tone", checks=[alter])
    with pytest.raises(Corrupted, match=r"adapter_config\.json"):
        registry.path("acme/tone")


@pytest.mark.parametrize(
    "name", ["tone", "../tone", "acme/../../tone", "Acme/tone", "acme/con", "acme/tone@1", "/abs/x", "a\\b/c"]
)
def test_hostile_names(registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, name: str) -> None:
    with pytest.raises(BadReference):
        registry.add(make_folder(), make_manifest(), name=name)
    _unchanged(registry)
    assert list(registry.root.parent.iterdir()) == []


def _link_file(folder: Path) -> str:
    (folder / "link.json").symlink_to("/etc/hostname")
    return r"link\.json is a link"


def _link_weights(folder: Path) -> str:
    (folder / "adapter_model.safetensors").rename(folder.parent / "moved.safetensors")
    (folder / "adapter_model.safetensors").symlink_to(folder.parent / "moved.safetensors")
    return r"adapter_model\.safetensors is a link"


def _link_folder(folder: Path) -> str:
    (folder / "sub").symlink_to(folder.parent)
    return "sub is a link"


def _dangling_link(folder: Path) -> str:
    (folder / "x.json").symlink_to("nowhere")
    return r"x\.json is a link"


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.json")
    return r"pipe\.json isn't a plain file"


def _pickle(folder: Path) -> str:
    (folder / "training_args.bin").write_bytes(b"\x80")
    return r"training_args\.bin' isn't of an allowed kind"


def _hidden(folder: Path) -> str:
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.json").write_bytes(b"")
    return "begins or ends a name with a dot"


def _readme(folder: Path) -> str:
    (folder / "README.md").write_bytes(b"")
    return r"README\.md' is the path of the card"


def _windows(folder: Path) -> str:
    (folder / "aux.json").write_bytes(b"")
    return r"aux\.json' is a device"


def _backslash(folder: Path) -> str:
    (folder / "..\\x.json").write_bytes(b"")
    return "Windows forbids"


def _not_unicode(folder: Path) -> str:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.json")).write_bytes(b"")
    return "can't be printed"


def _case(folder: Path) -> str:
    (folder / "ADAPTER_CONFIG.json").write_bytes(b"")
    return "one file on some systems"


def _no_weights(folder: Path) -> str:
    (folder / "adapter_model.safetensors").unlink()
    return r"no \.safetensors"


def _pointer(folder: Path) -> str:
    (folder / "tokenizer.json").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    return r"tokenizer\.json is a git LFS pointer .*git lfs pull"


def _truncated(folder: Path) -> str:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    return r"adapter_model\.safetensors isn't a valid safetensors file"


def _same_tensor(folder: Path) -> str:
    (folder / "second.safetensors").write_bytes((folder / "adapter_model.safetensors").read_bytes())
    return r"'(a|b)\.lora_[AB]' in adapter_model\.safetensors and in second\.safetensors"


def _gone(folder: Path) -> str:
    folder.rename(folder.parent / f"{folder.name}-gone")
    return "isn't a folder"


SPOILERS = [
    _link_file, _link_weights, _link_folder, _dangling_link, _pipe, _pickle, _hidden, _readme, _windows, _backslash,
    _not_unicode, _case, _no_weights, _pointer, _truncated, _same_tensor, _gone,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_folder_that_cannot_be_stored_says_why(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, spoil: Callable[[Path], str]
) -> None:
    folder = make_folder()
    says = spoil(folder)
    with pytest.raises(NotAnAdapter, match=says) as refused:
        registry.add(folder, make_manifest(), name="acme/tone")
    assert str(folder) in str(refused.value)
    _unchanged(registry)


def test_a_file_beyond_the_limit_is_not_copied_whole(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding_module, "size_limit", lambda path: 10)
    with pytest.raises(NotAnAdapter, match="more than the 10 bytes"):
        registry.add(make_folder(), make_manifest(), name="acme/tone")
    _unchanged(registry)


def test_a_shared_copy_is_hashed_as_any_other(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clone(target: int, request: int, source: int) -> int:
        assert request == 0x40049409
        os.pwrite(target, os.pread(source, 2**20, 0), 0)
        return 0

    plain = Registry(registry.root.parent / "plain").add(make_folder(1), make_manifest(), name="acme/tone")
    monkeypatch.setattr(fcntl, "ioctl", clone)
    version = registry.add(make_folder(1), make_manifest(), name="acme/tone")
    assert version.digest == plain.digest
    assert registry.verify("acme/tone") == version


def test_a_manifest_that_could_not_be_read_back_is_not_stored(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    with pytest.raises(BadManifest):
        registry.add(make_folder(), make_manifest().model_copy(update={"seed": "seven"}), name="acme/tone")
    _unchanged(registry)
    method = {"name": "lora", "options": {"text": "a" * SMALL}}
    with pytest.raises(NotAnAdapter, match="beyond the 67108864 that one may have"):
        registry.add(make_folder(), make_manifest(method=method), name="acme/tone")
    _unchanged(registry)


class _NoDisk(Disk):
    def __init__(self, number: int) -> None:
        self.number = number

    def begin(self, root: Path) -> Path:
        raise OSError(self.number, os.strerror(self.number), str(root))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_root_is_read_and_refuses_writes(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest, number: int
) -> None:
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    registry.set_alias("acme/tone", "champion", 1)
    before = {p: p.stat().st_mtime_ns for p in registry.root.rglob("*")}
    reader = Registry(registry.root, disk=_NoDisk(number))
    assert reader.names() == ["acme/tone"] and len(reader.rows()) == 1
    assert reader.verify("acme/tone@champion").number == 1 and reader.id == registry.id
    writes: tuple[Callable[[], object], ...] = (
        lambda: reader.add(make_folder(2), make_manifest(), name="acme/tone"),
        lambda: reader.set_alias("acme/tone", "stable", 1),
        lambda: reader.add_event("acme/tone@1", "yank"),
        reader.check_writable,
    )
    for write in writes:
        with pytest.raises(ReadOnly, match="ask for write access, or set AHF_HOME"):
            write()
    assert {p: p.stat().st_mtime_ns for p in registry.root.rglob("*")} == before


def test_asking_whether_it_can_be_written_changes_nothing(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    registry.add(make_folder(), make_manifest(), name="acme/tone")
    before = {p: p.read_bytes() for p in registry.root.rglob("*") if p.is_file()}
    registry.check_writable()
    assert {p: p.read_bytes() for p in registry.root.rglob("*") if p.is_file()} == before
    assert not list((registry.root / "tmp").iterdir())


def test_a_full_disk_is_one_sentence(registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest) -> None:
    with pytest.raises(WriteFailed, match=r"No space left on device.*free space") as failed:
        Registry(registry.root, disk=_NoDisk(errno.ENOSPC)).add(make_folder(), make_manifest(), name="acme/tone")
    assert not isinstance(failed.value, ReadOnly)


def test_opening_and_reading_write_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "root")
    assert (registry.names(), registry.rows(), registry.id, registry.mark()) == ([], [], None, "")
    assert registry.versions("acme/tone") == [] and registry.aliases("acme/tone") == {}
    assert list(tmp_path.iterdir()) == []


def test_the_first_write_makes_the_registry(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    registry.add(make_folder(1), make_manifest(), name="acme/tone")
    identity: dict[str, Any] = json.loads((registry.root / "registry.json").read_bytes())
    assert identity == {"format": 1, "id": registry.id}
    registry.add(make_folder(2), make_manifest(), name="acme/tone")
    assert json.loads((registry.root / "registry.json").read_bytes()) == identity


def test_every_change_changes_the_marks(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    seen = {(registry.mark(), registry.mark("acme/tone"))}
    registry.add(make_folder(0), make_manifest(), name="acme/other")
    other = registry.mark("acme/other")
    changes: tuple[Callable[[], object], ...] = (
        lambda: registry.add(make_folder(1), make_manifest(), name="acme/tone"),
        lambda: registry.add(make_folder(2), make_manifest(), name="acme/tone"),
        lambda: registry.set_alias("acme/tone", "champion", 1),
        lambda: registry.add_event("acme/tone@1", "yank"),
        lambda: registry.delete("acme/tone@2"),
    )
    for number, change in enumerate(changes, 2):
        change()
        seen.add((registry.mark(), registry.mark("acme/tone")))
        assert len({root for root, _ in seen}) == len({name for _, name in seen}) == number
    assert registry.mark("acme/other") == other


def test_the_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHF_HOME", str(tmp_path / "home"))
    assert Registry().root == tmp_path / "home"
    assert Registry(tmp_path / "given").root == tmp_path / "given"
    monkeypatch.delenv("AHF_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert Registry().root == tmp_path / "data" / "adapterhub_fin"


def test_a_registry_of_a_newer_format_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text('{"format":2}')
    with pytest.raises(Corrupted, match="upgrade"):
        Registry(tmp_path)
    (tmp_path / "registry.json").write_text("")
    with pytest.raises(Corrupted, match="isn't JSON"):
        Registry(tmp_path)
