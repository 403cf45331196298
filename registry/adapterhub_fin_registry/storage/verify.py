"""Verify that the stored files are those of the manifest: none missing, altered or added."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Iterator
from mmap import ACCESS_COPY, mmap
from pathlib import Path
from typing import BinaryIO

from adapterhub_fin_registry.errors import Corrupted, NotAnAdapter
from adapterhub_fin_registry.io.hash_cache import Memory
from adapterhub_fin_registry.io.safe_read import NotRegularError, hash_open, open_regular
from adapterhub_fin_registry.io.safetensors_header import read_header
from adapterhub_fin_registry.model.manifest import StoredFile, Tensor
from adapterhub_fin_registry.model.version import Version

Contents = bytearray | mmap


def verify_files(version: Version, memory: Memory | None = None, read: Collection[str] = ()) -> dict[str, Contents]:
    """Compare every file with its size and SHA-256 in the manifest; return the verified bytes of those named in `read`.

    With a memory, a file that is unchanged since it was hashed isn't hashed again. Raises Corrupted if a file is
    missing, altered, unreadable or not in the manifest.
    """
    memory, contents = memory or Memory(), {}
    if version.files.is_symlink():
        raise Corrupted(f"{version.files} is a link: replace it by the folder itself")
    expected = {file.path: file for file in version.manifest.files}
    present = set(_walk(version.files, ""))
    for path in sorted(present - set(expected)):
        raise Corrupted(f"{version.files / path} isn't in the manifest of {version.reference}: remove it")
    for path, file in expected.items():
        if path not in present:
            raise _altered(version, path, "is missing")
        try:
            with open_regular(version.files / path) as opened:
                data = _whole(opened, file, memory) if path in read else None
                is_unaltered = data is not None or (path not in read and is_whole(opened, file, memory))
        except NotRegularError as error:
            raise _altered(version, path, "isn't a plain file") from error
        except OSError as error:
            raise _altered(version, path, f"can't be read ({error.strerror})") from error
        if not is_unaltered:
            raise _altered(version, path, "has other bytes than its manifest says")
        if data is not None:
            contents[path] = data
    return contents


def verify_tensors(version: Version) -> None:
    """Compare the tensors in the headers of the files with those in the manifest.

    Raises Corrupted if they differ, or if a header isn't valid.
    """
    tensors = []
    for file in version.manifest.files:
        if file.path.endswith(".safetensors"):
            try:
                header = read_header(version.files / file.path)
            except NotAnAdapter as error:
                raise Corrupted(str(error)) from error
            tensors += [Tensor(name, info.dtype, info.shape) for name, info in header.items()]
    if tuple(sorted(tensors)) != version.manifest.tensors:
        raise Corrupted(
            f"{version.folder / 'manifest.json'} lists other tensors than the files hold: get the version again"
        )


def is_whole(file: BinaryIO, expected: StoredFile, memory: Memory) -> bool:
    """Return whether an open file, read from its beginning, has the size and SHA-256 of a manifest's entry.

    A memory of earlier hashes may save reading it. Raises OSError if it can't be read.
    """
    since = time.time_ns()
    state = os.fstat(file.fileno())
    # The memory counts only if it agrees with the manifest: if it is damaged, the file is read.
    if state.st_size == expected.size and memory.recall(state) == expected.sha256:
        return True
    size, sha256 = hash_open(file)
    memory.learn(state, sha256, since)
    return (size, sha256) == (expected.size, expected.sha256)


def _whole(file: BinaryIO, expected: StoredFile, memory: Memory) -> Contents | None:
    """Return the bytes of an open file, which are those of a manifest's entry; None where they aren't.

    A memory counts only for a file that is in one state before it is read and after. Raises OSError if it can't be
    read.
    """
    since = time.time_ns()
    state = os.fstat(file.fileno())
    if state.st_size != expected.size:
        return None
    data = _room(expected.size)
    if file.readinto(data) != expected.size or file.read(1):  # type: ignore[attr-defined]
        return None
    if memory.recall(state) == expected.sha256 and _state(os.fstat(file.fileno())) == _state(state):
        return data
    sha256 = hashlib.sha256(data).hexdigest()
    memory.learn(state, sha256, since)
    return data if sha256 == expected.sha256 else None


def _room(size: int) -> Contents:
    """Return memory of its own for a file, which goes back to the system as a whole once nothing uses it.

    On the heap it would lie for long among what is there for a moment, whose pages then could never be given back.
    """
    return mmap(-1, size, access=ACCESS_COPY) if size else bytearray()  # private: a fork's writes stay its own


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


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
