"""Reading what is stored, following no link and trusting no size."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO, Final

from adapterhub_fin_registry.errors import Corrupted

SMALL: Final = 64 * 2**20  # no manifest, record, alias or event comes near it
HIGHEST: Final = 999_999_999
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")
_DIGITS: Final = re.compile(r"[0-9]+")
_CHUNK: Final = 2**20
# O_NONBLOCK, or opening a pipe would wait for its other end; Windows has neither flag.
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


# What opening or listing raises where nothing is: a parent that is a file holds nothing either.
ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class NotRegularError(OSError):
    """A path names a link, a folder, a device or a pipe where a plain file was wanted."""


def open_regular(path: Path) -> BinaryIO:
    """Open a plain file for reading, never through a link at its end."""
    return os.fdopen(_descriptor(path)[0], "rb")


def _descriptor(path: Path | str) -> tuple[int, int]:
    """A descriptor of a plain file, and the file's size."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise NotRegularError(error.errno, "not a plain file", str(path)) from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise NotRegularError(errno.EINVAL, "not a plain file", str(path))
    return descriptor, found.st_size


def hash_file(path: Path) -> tuple[int, str]:
    """The size and the sha256 of a plain file."""
    with open_regular(path) as file:
        return hash_open(file)


def hash_open(file: BinaryIO) -> tuple[int, str]:
    """The size and the sha256 of an open file, from where it is."""
    size, digest = 0, hashlib.sha256()
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        digest.update(chunk)
    return size, digest.hexdigest()


def unreadable(path: Path | str, error: OSError) -> Corrupted:
    """What to tell of a path that is there and can't be read or listed."""
    return Corrupted(f"{path} can't be read ({error.strerror}): mend its permissions, or restore it from a copy")


def is_there(path: Path) -> bool:
    """Whether something is at a path; Corrupted where that can't be told."""
    try:
        path.stat()
    except ABSENT:
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    return True


def entries(folder: Path | str) -> list[str]:
    """The names in a folder, in no order; none where it isn't there, and Corrupted where it can't be listed."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - quick
    except ABSENT:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def read_small(path: Path | str) -> bytes:
    """The bytes of one of the registry's own small files: an ABSENT error where it isn't there, else Corrupted."""
    try:
        return _read(path)
    except ABSENT:
        raise
    except NotRegularError as error:
        raise Corrupted(f"{path} isn't a plain file: restore it from a copy") from error
    except OSError as error:
        raise unreadable(path, error) from error


def read_start(path: Path | str, size: int) -> bytes:
    """The first bytes of a plain file, or an OSError: without a file object, as one is read for each search."""
    descriptor, _ = _descriptor(path)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def refuse_links(root: Path, place: Path) -> None:
    """Corrupted where a link on the way from a root to a place in it leads elsewhere; the root itself may be one."""
    way = str(root)
    for part in place.relative_to(root).parts:
        way = f"{way}{os.sep}{part}"
        if os.path.islink(way):  # noqa: PTH114 - for each name, and a Path costs more than the look
            raise Corrupted(f"{way} is a link, and no link leads out of a registry: put the folder itself in its place")


def _read(path: Path | str) -> bytes:
    descriptor, size = _descriptor(path)
    try:
        if size > SMALL:
            raise Corrupted(f"{path} is larger than any file of its kind: restore it from a copy")
        data = os.read(descriptor, size + 1)  # without a file object: an index is made of a hundred thousand of these
        # The size that was told, and one byte fewer than asked for: that is the end.
        while len(data) != size and len(data) <= SMALL and (more := os.read(descriptor, _CHUNK)):
            data += more
        return data
    finally:
        os.close(descriptor)


def parse_object(data: bytes, path: Path | str) -> dict[str, Any]:
    """The JSON object that stored bytes hold; `path` is for the message only."""
    try:
        value = json.loads(text := data.decode())  # or it would be taken for UTF-16 too
        if "\\u" in text:  # perhaps an escaped half of a pair, which nothing can write again
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Corrupted(f"{path} isn't JSON: restore it from a copy") from error
    if not isinstance(value, dict):
        raise Corrupted(f"{path} isn't a JSON object: restore it from a copy")
    return value


def read_object(path: Path | str) -> dict[str, Any]:
    """The JSON object in one of the registry's own small files."""
    return parse_object(read_small(path), path)


def numbers(parent: Path) -> list[int]:
    """The numbers in use under a parent, ascending; none where it isn't there, Corrupted where it can't be listed."""
    return sorted([int(entry) for entry in entries(parent) if _NUMBER.fullmatch(entry)])


def misnumbered(parent: Path) -> list[str]:
    """What is named by digits under a parent and is no number of a list, such as 007 or one beyond the highest."""
    return sorted(entry for entry in entries(parent) if _DIGITS.fullmatch(entry) and not _NUMBER.fullmatch(entry))


def following(used: list[int]) -> int:
    """The number after those in use."""
    return used[-1] + 1 if used else 1
