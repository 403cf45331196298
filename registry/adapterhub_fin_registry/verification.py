"""Whether what is stored is what the manifest says: nothing missing, nothing altered, nothing added."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from adapterhub_fin_registry.errors import Corrupted, NotAnAdapter
from adapterhub_fin_registry.manifest import Tensor
from adapterhub_fin_registry.reading import NotRegularError, hash_file
from adapterhub_fin_registry.safetensors_header import read_header
from adapterhub_fin_registry.version import Version


def verify_files(version: Version) -> None:
    """Compare every file with its size and sha256, and refuse any that the manifest doesn't name."""
    said = {file.path: file for file in version.manifest.files}
    found = set(_walk(version.files, ""))
    for path in sorted(found - set(said)):
        raise Corrupted(f"{version.files / path} isn't in the manifest of {version.reference}: remove it")
    for path, file in said.items():
        if path not in found:
            raise _altered(version, path, "is missing")
        try:
            size, sha256 = hash_file(version.files / path)
        except NotRegularError as error:
            raise _altered(version, path, "isn't a plain file") from error
        except OSError as error:
            raise _altered(version, path, f"can't be read ({error.strerror})") from error
        if (size, sha256) != (file.size, file.sha256):
            raise _altered(version, path, "has other bytes than its manifest says")


def verify_tensors(version: Version) -> None:
    """Compare the tensors in the files' headers with the manifest's."""
    found = []
    for file in version.manifest.files:
        if file.path.endswith(".safetensors"):
            try:
                header = read_header(version.files / file.path)
            except NotAnAdapter as error:
                raise Corrupted(str(error)) from error
            found += [Tensor(name, info.dtype, info.shape) for name, info in header.items()]
    if tuple(sorted(found)) != version.manifest.tensors:
        raise Corrupted(f"{version.folder / 'manifest.json'} lists other tensors than the files hold: get it again")


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
                else:
                    yield prefix + entry.name
    except OSError as error:
        raise Corrupted(f"{folder} can't be listed ({error.strerror}): restore it from a copy") from error


def _altered(version: Version, path: str, how: str) -> Corrupted:
    return Corrupted(f"{version.files / path} of {version.reference} {how}: restore it, or get the version again")
