"""Whether what is stored is what the manifest says: nothing missing, nothing altered, nothing added."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from adapterhub_fin_registry.errors import Corrupted, NotAnAdapter
from adapterhub_fin_registry.io.hash_cache import Memory
from adapterhub_fin_registry.io.safe_read import NotRegularError, hash_open, open_regular
from adapterhub_fin_registry.io.safetensors_header import read_header
from adapterhub_fin_registry.model.manifest import StoredFile, Tensor
from adapterhub_fin_registry.model.version import Version


def verify_files(version: Version, memory: Memory | None = None) -> None:
    """Compare every file with its size and sha256, and refuse any that the manifest doesn't name.

    With a memory, a file that is as it was when it was hashed before isn't read again.
    """
    memory = memory or Memory()
    if version.files.is_symlink():
        raise Corrupted(f"{version.files} is a link: put the folder itself in its place")
    said = {file.path: file for file in version.manifest.files}
    found = set(_walk(version.files, ""))
    for path in sorted(found - set(said)):
        raise Corrupted(f"{version.files / path} isn't in the manifest of {version.reference}: remove it")
    for path, file in said.items():
        if path not in found:
            raise _altered(version, path, "is missing")
        try:
            with open_regular(version.files / path) as opened:
                whole = is_whole(opened, file, memory)
        except NotRegularError as error:
            raise _altered(version, path, "isn't a plain file") from error
        except OSError as error:
            raise _altered(version, path, f"can't be read ({error.strerror})") from error
        if not whole:
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


def is_whole(file: BinaryIO, said: StoredFile, memory: Memory) -> bool:
    """Whether an open file, read from its beginning, is what is said of it; a memory saves reading it again."""
    since = time.time_ns()
    state = os.fstat(file.fileno())
    # A memory is believed where it agrees, and asked for nothing else: if it were spoilt, the file is read.
    if state.st_size == said.size and memory.recall(state) == said.sha256:
        return True
    size, sha256 = hash_open(file)
    memory.learn(state, sha256, since)
    return (size, sha256) == (said.size, said.sha256)


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
