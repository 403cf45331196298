"""Index the paths of a commit: the content of a folder is one range of the sorted paths."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final

# No path contains \1, nor the \0 that replaces a slash: so a folder's paths sort before the path that follows them.
_END: Final = "\1"
_DIGEST: Final = 2**160


class Folders:
    """Store the sorted paths of a commit, so that listing a folder takes time linear in the answer."""

    def __init__(self, oids: Mapping[str, str]) -> None:
        """Index paths with their git ids, in time n log n of the files, however deep their folders are."""
        self._keys = sorted(_key(path) for path in oids)
        # Running sums of hashes: the id of a folder needs two of them, and not all of its files for each outer folder.
        hashed = (_number(path, oids[path]) for path in map(_path, self._keys))
        self._sums = list(accumulate(hashed, initial=0))
        before = zip(self._keys, ["", *self._keys], strict=False)
        self._openings = [index for index, (key, last) in enumerate(before) if key.rpartition("\0")[0] > last]

    def inside(self, folder: str) -> list[str]:
        """Return the paths in a folder, at any depth."""
        start, end = self._range(folder)
        return [_path(key) for key in self._keys[start:end]]

    def holds(self, folder: str) -> bool:
        """Return whether the folder exists."""
        start, end = self._range(folder)
        return start < end

    def oid(self, folder: str) -> str:
        """Return an id that changes with the paths and bytes of a folder's files, and with nothing else."""
        start, end = self._range(folder)
        text = f"{end - start} {(self._sums[end] - self._sums[start]) % _DIGEST:040x}"
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def folders(self, folder: str, *, recursive: bool, after: str = "") -> Iterator[str]:
        """Yield the folders in a folder ("" for the root) after the path `after`, at any depth with `recursive`."""
        start, end = self._range(folder)
        depth, last = len(_key(folder)) + 1 if folder else 0, max(_key(folder), _key(after))
        index = self._opening(bisect_right(self._keys, last, start, end) if last else start)
        while index < end:
            key = self._keys[index]
            if recursive:
                yield from map(_path, _folders_after(key, last))
                last, index = key, self._opening(index + 1)
                continue
            cut = key.find("\0", depth)
            if cut >= 0 and key[:cut] > last:
                yield _path(key[:cut])
            past = bisect_left(self._keys, key[:cut] + _END, index, end) if cut >= 0 else index + 1
            index = self._opening(past)

    def files(self, folder: str, *, recursive: bool, after: str = "") -> Iterator[str]:
        """Yield the files in a folder ("" for the root) after the path `after`, at any depth with `recursive`."""
        start, end = self._range(folder)
        depth = len(_key(folder)) + 1 if folder else 0
        index = bisect_right(self._keys, _key(after), start, end) if after else start
        while index < end:
            key = self._keys[index]
            cut = -1 if recursive else key.find("\0", depth)
            if cut < 0:
                yield _path(key)
            index = index + 1 if cut < 0 else bisect_left(self._keys, key[:cut] + _END, index, end)

    def _opening(self, index: int) -> int:
        """Return the index of the first file from `index` on that is in a folder which the file before it isn't in."""
        position = bisect_left(self._openings, index)
        return self._openings[position] if position < len(self._openings) else len(self._keys)

    def _range(self, folder: str) -> tuple[int, int]:
        if not folder:
            return 0, len(self._keys)
        if "\0" in folder or _END in folder:
            return 0, 0
        start = bisect_left(self._keys, _key(folder) + "\0")
        return start, bisect_left(self._keys, _key(folder) + _END, start)


def _folders_after(key: str, last: str) -> list[str]:
    """Return the folders of a path that come after `last`, the outermost first."""
    folders = []
    while (cut := key.rfind("\0")) >= 0 and (key := key[:cut]) > last:
        folders.append(key)
    return folders[::-1]


def _key(path: str) -> str:
    return path.replace("/", "\0")


def _path(key: str) -> str:
    return key.replace("\0", "/")


def _number(path: str, oid: str) -> int:
    return int.from_bytes(hashlib.sha1(f"{path}\0{oid}".encode(errors="surrogatepass"), usedforsecurity=False).digest())
