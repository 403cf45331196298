"""Store a folder as a version: check its contents, copy and hash it, complete its manifest, and give it a number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin_registry.errors import Corrupted, NotAnAdapter, PolicyViolation, Refused
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.io.safe_read import HIGHEST, SMALL, NotRegularError, following, open_regular
from adapterhub_fin_registry.io.safetensors_header import is_lfs_pointer, lfs_pointer, read_header
from adapterhub_fin_registry.model.file_rules import clash, refusal, size_limit
from adapterhub_fin_registry.model.manifest import Manifest, StoredFile, Tensor
from adapterhub_fin_registry.model.version import Version
from adapterhub_fin_registry.storage.name_folder import NameFolder
from adapterhub_fin_registry.storage.transaction import Transaction
from adapterhub_fin_registry.trust.signatures import Signature

# The highest number that a store may choose, so that no store can use up the numbers of a registry.
_HIGHEST_GIVEN: Final = HIGHEST // 2

if TYPE_CHECKING:
    Check = Callable[[Manifest, Path], object]


def take_in(disk: Disk, folder: Path, target: Path, manifest: Manifest) -> Manifest:
    """Copy a folder to an empty one and return the manifest, completed with its files and tensors.

    Raises NotAnAdapter if the folder can't be stored, Corrupted if it differs from the manifest, and BadManifest if the
    result isn't valid.
    """
    paths = _contents(folder)
    files = tuple(_copy(disk, folder, path, target) for path in paths)
    tensors = _tensors(folder, target, paths)
    _must_match(folder, manifest, files, tensors)
    data = manifest.model_copy(update={"files": files, "tensors": tensors}).canonical()
    if len(data) > SMALL:
        raise NotAnAdapter(
            f"the manifest of {folder} would have {len(data)} bytes, beyond the {SMALL} that one may have: store fewer "
            "tensors, or shorter options of its method"
        )
    return Manifest.parse(data)  # parsed again, so that nothing is stored that can't be read back


def run_checks(checks: Iterable[Check], manifest: Manifest, files: Path) -> None:
    """Run every check on a manifest and its files.

    Raises what a check raises if that is Refused, and PolicyViolation if a check fails with any other error.
    """
    for check in checks:
        try:
            check(manifest, files)
        except Refused:
            raise
        except Exception as error:  # a broken check must stop the add, whatever the error
            name = f"{getattr(check, '__module__', '?')}.{getattr(check, '__qualname__', type(check).__name__)}"
            raise PolicyViolation(
                f"the check {name} failed with {type(error).__name__} ({error}), which counts as a rejection: fix it, "
                "or disable the plugin that provides it"
            ) from error


def store(
    change: Transaction,
    name_folder: NameFolder,
    manifest: Manifest,
    signatures: Iterable[Signature],
    record: Mapping[str, Any],
    number: int | None,
) -> tuple[Version, bool]:
    """Store what was built as the next version; return the version, and whether it is new.

    If the name holds the same manifest already, that version is returned. `number` is used if it is free and not too
    high. Raises Refused after the highest number.
    """
    data = manifest.canonical()
    used = name_folder.numbers()
    if existing := name_folder.holding(data, used):
        return existing, False
    change.write(change.built / "manifest.json", data)
    for signature in signatures:
        change.disk.make(change.built / "signatures", change.built)
        change.write(change.built / "signatures" / signature.file_name, signature.data)
    start = following(used) if number is None or number in used or number > _HIGHEST_GIVEN else number

    def before(number: int) -> None:
        # The process that took the previous number may have stored this very version.
        if number > start and (existing := name_folder.holding(data, [number - 1])):
            raise _StoredMeanwhile(existing)
        change.write(change.built / "record.json", canonical({**record, "version": number}))

    try:
        new_number = change.append(name_folder.versions_folder, start, before)
    except _StoredMeanwhile as meanwhile:
        return meanwhile.version, False
    return Version(
        name_folder.name, new_number, manifest.digest, name_folder.versions_folder / str(new_number), data
    ), True


class _StoredMeanwhile(Exception):
    """Report that another process has just stored the same version."""

    def __init__(self, version: Version) -> None:
        super().__init__(version.reference)
        self.version = version


def _contents(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise NotAnAdapter(f"{folder} isn't a folder: give the folder that holds the adapter's files")
    try:
        paths = sorted(_walk(folder, ""))
    except OSError as error:
        raise NotAnAdapter(f"{error.filename} can't be read ({error.strerror}): fix its permissions") from error
    if pair := clash(paths):
        raise NotAnAdapter(f"{folder} holds {pair[0]!r} and {pair[1]!r}, one file on some systems: rename one")
    if not any(path.endswith(".safetensors") for path in paths):
        raise NotAnAdapter(f"{folder} holds no .safetensors file: save the adapter's weights there as safetensors")
    return paths


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.is_symlink():
                raise NotAnAdapter(f"{entry.path} is a link: replace it by the file itself")
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{path}/")
            elif not entry.is_file(follow_symlinks=False):
                raise NotAnAdapter(f"{entry.path} isn't a plain file: remove it")
            elif reason := refusal(path):
                raise NotAnAdapter(f"{entry.path!r} {reason}, and can't be stored: remove or rename it")
            else:
                yield path


def _copy(disk: Disk, folder: Path, path: str, target: Path) -> StoredFile:
    source, copy = folder / path, target / path
    try:
        file = open_regular(source)
    except NotRegularError as error:
        raise NotAnAdapter(f"{source} isn't a plain file: replace it by the file itself") from error
    except OSError as error:
        raise NotAnAdapter(f"{source} can't be read ({error.strerror}): fix its permissions") from error
    with file:
        if is_lfs_pointer(file.read(64)):
            raise lfs_pointer(str(source))
        file.seek(0)
        disk.make(copy.parent, target)
        size, sha256 = disk.copy(file, copy, size_limit(path))
    if size > size_limit(path):
        raise NotAnAdapter(f"{source} has more than the {size_limit(path)} bytes that {path} may have: make it smaller")
    return StoredFile(path, size, sha256)


def _tensors(folder: Path, target: Path, paths: list[str]) -> tuple[Tensor, ...]:
    tensors: dict[str, tuple[str, Tensor]] = {}
    for path in paths:
        if PurePosixPath(path).suffix != ".safetensors":
            continue
        for name, info in read_header(target / path, str(folder / path)).items():
            if name in tensors:
                raise NotAnAdapter(f"{folder} holds the tensor {name!r} in {tensors[name][0]} and in {path}: keep one")
            tensors[name] = (path, Tensor(name, info.dtype, info.shape))
    return tuple(tensors[name][1] for name in sorted(tensors))


def _must_match(folder: Path, manifest: Manifest, files: tuple[StoredFile, ...], tensors: tuple[Tensor, ...]) -> None:
    for expected, actual in ((manifest.files, files), (manifest.tensors, tensors)):
        differing = {row[0] for row in set(expected) ^ set(actual)}
        if expected and differing:
            raise Corrupted(
                f"{min(differing)} in {folder} differs from the manifest: get the folder again, or "
                "leave files and tensors out of the manifest"
            )
