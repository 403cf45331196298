"""The paths of a commit in order: what is in a folder is one range of them, found without looking at the others."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final

_END: Final = (
    "\1"  # no path holds it, nor the \0 that stands for a slash, so that a folder sorts before what follows it
)
_DIGEST: Final = 2**160


class Folders:
    """The sorted paths of a commit, from which every listing of a folder is read in time linear in its answer."""

    def __init__(self, oids: Mapping[str, str]) -> None:
        """Index paths by their git ids; this takes time n log n of the files, however deep their folders are."""
        self._keys = sorted(_key(path) for path in oids)
        # Sums of hashes: the id of a folder is made of two of them, and not of all the files in it, once for each of
        # the folders that it is inside of.
        hashed = (_number(path, oids[path]) for path in map(_path, self._keys))
        self._sums = list(accumulate(hashed, initial=0))
        before = zip(self._keys, ["", *self._keys], strict=False)
        self._openings = [place for place, (key, last) in enumerate(before) if key.rpartition("\0")[0] > last]

    def inside(self, folder: str) -> list[str]:
        """Return the paths in a folder, at any depth."""
        start, end = self._range(folder)
        return [_path(key) for key in self._keys[start:end]]

    def holds(self, folder: str) -> bool:
        """Return whether there is such a folder."""
        start, end = self._range(folder)
        return start < end

    def oid(self, folder: str) -> str:
        """Return an id that changes with the paths and bytes of a folder's files, and with nothing else."""
        start, end = self._range(folder)
        said = f"{end - start} {(self._sums[end] - self._sums[start]) % _DIGEST:040x}"
        return hashlib.sha1(said.encode(), usedforsecurity=False).hexdigest()

    def folders(self, folder: str, *, recursive: bool, after: str = "") -> Iterator[str]:
        """Yield the folders in a folder ("" for the root), at any depth with `recursive`, from behind a path on."""
        start, end = self._range(folder)
        depth, last = len(_key(folder)) + 1 if folder else 0, max(_key(folder), _key(after))
        place = self._opening(bisect_right(self._keys, last, start, end) if last else start)
        while place < end:
            key = self._keys[place]
            if recursive:
                yield from map(_path, _folders_after(key, last))
                last, place = key, self._opening(place + 1)
                continue
            cut = key.find("\0", depth)
            if cut >= 0 and key[:cut] > last:
                yield _path(key[:cut])
            past = bisect_left(self._keys, key[:cut] + _END, place, end) if cut >= 0 else place + 1
            place = self._opening(past)

    def files(self, folder: str, *, recursive: bool, after: str = "") -> Iterator[str]:
        """Yield the files in a folder ("" for the root), at any depth with `recursive`, from behind a path on."""
        start, end = self._range(folder)
        depth = len(_key(folder)) + 1 if folder else 0
        place = bisect_right(self._keys, _key(after), start, end) if after else start
        while place < end:
            key = self._keys[place]
            cut = -1 if recursive else key.find("\0", depth)
            if cut < 0:
                yield _path(key)
            place = place + 1 if cut < 0 else bisect_left(self._keys, key[:cut] + _END, place, end)

    def _opening(self, place: int) -> int:
        """The first file from a place on that is in a folder which the file before it isn't in."""
        index = bisect_left(self._openings, place)
        return self._openings[index] if index < len(self._openings) else len(self._keys)

    def _range(self, folder: str) -> tuple[int, int]:
        if not folder:
            return 0, len(self._keys)
        if "\0" in folder or _END in folder:
            return 0, 0
        start = bisect_left(self._keys, _key(folder) + "\0")
        return start, bisect_left(self._keys, _key(folder) + _END, start)


def _folders_after(key: str, last: str) -> list[str]:
    """The folders that a path is in and that come after what was listed last, the outermost first."""
    found = []
    while (cut := key.rfind("\0")) >= 0 and (key := key[:cut]) > last:
        found.append(key)
    return found[::-1]


def _key(path: str) -> str:
    return path.replace("/", "\0")


def _path(key: str) -> str:
    return key.replace("\0", "/")


def _number(path: str, oid: str) -> int:
    return int.from_bytes(hashlib.sha1(f"{path}\0{oid}".encode(errors="surrogatepass"), usedforsecurity=False).digest())
