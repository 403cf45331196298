"""Read stored files without following links and without trusting sizes, and list numbered folders."""

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

SMALL: Final = 64 * 2**20  # bytes; every manifest, record, alias and event is far smaller
HIGHEST: Final = 999_999_999
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")
_DIGITS: Final = re.compile(r"[0-9]+")
_CHUNK: Final = 2**20
# Without O_NONBLOCK, opening a pipe would wait for its other end. Windows has neither flag.
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


# The errors of opening or listing a path that doesn't exist, also below a file.
ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class NotRegularError(OSError):
    """Report a path that is a link, a folder, a device or a pipe instead of a plain file."""


def open_regular(path: Path) -> BinaryIO:
    """Open a plain file for reading; a link at the end of the path is not followed.

    Raises NotRegularError if it isn't a plain file, and OSError if it can't be opened.
    """
    return os.fdopen(_descriptor(path)[0], "rb")


def _descriptor(path: Path | str) -> tuple[int, int]:
    """Return a descriptor of a plain file, and the file's size in bytes."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise NotRegularError(error.errno, "not a plain file", str(path)) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise NotRegularError(errno.EINVAL, "not a plain file", str(path))
    return descriptor, status.st_size


def hash_file(path: Path) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of a plain file. Raises OSError."""
    with open_regular(path) as file:
        return hash_open(file)


def hash_open(file: BinaryIO) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of an open file, from its current position. Raises OSError."""
    size, digest = 0, hashlib.sha256()
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        digest.update(chunk)
    return size, digest.hexdigest()


def unreadable(path: Path | str, error: OSError) -> Corrupted:
    """Return the error for a path that exists but can't be read or listed."""
    return Corrupted(f"{path} can't be read ({error.strerror}): fix its permissions, or restore it from a copy")


def is_there(path: Path) -> bool:
    """Return whether something exists at a path. Raises Corrupted if that can't be determined."""
    try:
        path.stat()
    except ABSENT:
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    return True


def entries(folder: Path | str) -> list[str]:
    """Return the names in a folder, unsorted; an empty list if it doesn't exist.

    Raises Corrupted if the folder can't be listed.
    """
    try:
        return os.listdir(folder)  # noqa: PTH208 - faster than Path.iterdir
    except ABSENT:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def read_small(path: Path | str) -> bytes:
    """Return the bytes of one of the registry's own small files.

    Raises one of ABSENT if it doesn't exist, and Corrupted if it can't be read or is too large.
    """
    try:
        return _read(path)
    except ABSENT:
        raise
    except NotRegularError as error:
        raise Corrupted(f"{path} isn't a plain file: restore it from a copy") from error
    except OSError as error:
        raise unreadable(path, error) from error


def read_start(path: Path | str, size: int) -> bytes:
    """Return the first `size` bytes of a plain file.

    Raises OSError. It makes no file object, since every search reads a change mark this way.
    """
    descriptor, _ = _descriptor(path)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def refuse_links(root: Path, path: Path) -> None:
    """Raise Corrupted if a link lies on the way from a root to a path in it; the root itself may be one."""
    step = str(root)
    for part in path.relative_to(root).parts:
        step = f"{step}{os.sep}{part}"
        if os.path.islink(step):  # noqa: PTH114 - done for each name, and making a Path costs more than the check
            raise Corrupted(f"{step} is a link, which could lead out of the registry: replace it by the folder itself")


def _read(path: Path | str) -> bytes:
    descriptor, size = _descriptor(path)
    try:
        if size > SMALL:
            raise Corrupted(f"{path} is larger than any file of its kind: restore it from a copy")
        data = os.read(descriptor, size + 1)  # no file object: building an index may read a hundred thousand files
        # If exactly `size` of `size + 1` bytes came, the file has ended.
        while len(data) != size and len(data) <= SMALL and (more := os.read(descriptor, _CHUNK)):
            data += more
        return data
    finally:
        os.close(descriptor)


def parse_object(data: bytes, path: Path | str) -> dict[str, Any]:
    """Return the JSON object in some stored bytes; `path` is for the message only.

    Raises Corrupted if the bytes aren't a JSON object in UTF-8.
    """
    try:
        value = json.loads(text := data.decode())  # json.loads would detect UTF-16 in bytes and accept it
        if "\\u" in text:  # perhaps an escaped lone surrogate, which can't be encoded again
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Corrupted(f"{path} isn't JSON: restore it from a copy") from error
    if not isinstance(value, dict):
        raise Corrupted(f"{path} isn't a JSON object: restore it from a copy")
    return value


def read_object(path: Path | str) -> dict[str, Any]:
    """Return the JSON object in one of the registry's own small files.

    Raises one of ABSENT if the file doesn't exist, and Corrupted if it can't be read or isn't a JSON object.
    """
    return parse_object(read_small(path), path)


def numbers(parent: Path) -> list[int]:
    """Return the numbers in use under a parent folder, ascending; an empty list if it doesn't exist.

    A numbered list is a parent with folders 1, 2, 3 and so on, each created complete by one rename. Raises Corrupted if
    the parent can't be listed.
    """
    return sorted([int(entry) for entry in entries(parent) if _NUMBER.fullmatch(entry)])


def misnumbered(parent: Path) -> list[str]:
    """Return the entries of a parent that consist of digits but are no list number, such as 007.

    Raises Corrupted if the parent can't be listed.
    """
    return sorted(entry for entry in entries(parent) if _DIGITS.fullmatch(entry) and not _NUMBER.fullmatch(entry))


def following(used: list[int]) -> int:
    """Return the number after those in use, which are ascending."""
    return used[-1] + 1 if used else 1
