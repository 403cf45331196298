"""Remember the texts of a streaming pass in a database on disk, to leave out copies in bounded memory.

Each text is remembered with its row's number. So a pass that was killed forgets the rows after the last finished shard,
and finds the same copies when it reads them again.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.duplicates import text_key
from adapterhub_fin.errors import BadRecipe, Corrupted

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

CACHE_KIB = 64 << 10  # of the database's pages, at most
PERMUTATIONS = 128
RUN = 5  # words of a shingle
SHARING = 1000  # earlier texts with the same band that are looked at, the first ones
COMPARED = 100  # of all of them, those that share most bands, which are compared with a text
COPIED, ALIKE = "copies of an earlier text", "near-duplicates of an earlier text"
_WORD = re.compile(r"\w+")
_TABLES = """
create table if not exists texts (key blob primary key, row integer not null) without rowid;
create table if not exists bands (key integer, row integer, primary key (key, row)) without rowid;
create table if not exists signatures (row integer primary key, hashes blob not null);
"""


class SeenTexts:
    """Remember texts by digest, or also by MinHash signature (Broder 1997), found by locality-sensitive hashing."""

    def __init__(self, path: Path, duplicates: Literal["exact", "near"], near: float) -> None:
        """Open or make the database. Raises Corrupted where it is damaged, and BadRecipe without datasketch."""
        self.duplicates, self.near = duplicates, near
        if duplicates == "near":
            near_version()
        # One thread at a time, but not always the same: tokenizers read texts in a thread of their own.
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._database.execute(f"pragma cache_size = -{CACHE_KIB}")
            self._database.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError):  # the disk's, such as one that is full
                raise
            raise Corrupted(f"{path} can't be read again ({error}): run again with restart") from error
        self._database.execute("begin")

    def forget_from(self, row: int) -> None:
        """Forget the rows from a number on, which are read again."""
        for table in ("texts", "bands", "signatures"):
            self._database.execute(f"delete from {table} where row >= ?", (row,))
        self.commit()

    def copied(self, row: int, text: str) -> str | None:
        """Return why a text is left out as a copy of an earlier row's; remember it and return None otherwise."""
        digest = blake2b(text_key(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        inserted = self._database.execute("insert or ignore into texts values (?, ?)", (digest, row)).rowcount
        return None if inserted else COPIED

    def resembles(self, row: int, hashes: np.ndarray) -> str | None:
        """Return why a text with a signature, (128,), is left out as like an earlier row's; remember it otherwise."""
        bands = _band_keys(hashes, *_bands(self.near))
        for other in self._candidates(bands):
            if float(np.mean(hashes == other)) >= self.near:
                return ALIKE
        self._database.execute("insert into signatures values (?, ?)", (row, hashes.tobytes()))
        self._database.executemany("insert or ignore into bands values (?, ?)", [(band, row) for band in bands])
        return None

    def commit(self) -> None:
        """Write all rows so far to the disk."""
        self._database.execute("commit")
        self._database.execute("begin")

    def close(self) -> None:
        """Close the database without what was not committed."""
        self._database.close()

    def _candidates(self, bands: Sequence[int]) -> Iterable[np.ndarray]:
        """Yield the signatures, (128,) each, of earlier rows that share bands: those that share most first.

        Text that many rows have in common gives a band thousands of rows: what is looked at is bounded.
        """
        shared: Counter[int] = Counter()
        query = "select row from bands where key = ? order by row limit ?"
        for band in bands:
            shared.update(row for (row,) in self._database.execute(query, (band, SHARING)))
        for row, _ in sorted(shared.items(), key=lambda item: (-item[1], item[0]))[:COMPARED]:
            [stored] = self._database.execute("select hashes from signatures where row = ?", (row,)).fetchone()
            yield np.frombuffer(stored, np.uint64)


def near_version() -> str:
    """Return the version of datasketch, on which signatures depend. Raises BadRecipe where it isn't installed."""
    try:
        import datasketch  # noqa: F401
    except ImportError as error:
        raise BadRecipe(
            "filters.duplicates: near needs datasketch: pip install 'adapterhub-fin[pretraining]', or set exact"
        ) from error
    return version("datasketch")


def signature(text: str) -> np.ndarray:
    """Return the MinHash of the runs of five words of a text, once it is normalised, (128,) uint64."""
    key = text_key(text)
    words = _WORD.findall(key) or key.split()
    runs = {" ".join(words[start : start + RUN]).encode() for start in range(max(1, len(words) - RUN + 1))}
    hashed = _empty().copy()
    hashed.update_batch(runs)
    values: np.ndarray = hashed.hashvalues.astype(np.uint64)
    return values


@cache
def _empty() -> Any:
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1)


@cache
def _bands(near: float) -> tuple[int, int]:
    """Return bands and their rows for a lower threshold: of texts that are just alike, 98 of 100 share one."""
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=min(near - 0.2, 0.9), num_perm=PERMUTATIONS)
    return index.b, index.r


def _band_keys(hashes: np.ndarray, bands: int, rows: int) -> list[int]:
    """Return a signed 64-bit key for each band of a signature, (128,)."""
    parts = (number.to_bytes(2) + hashes[number * rows : (number + 1) * rows].tobytes() for number in range(bands))
    return [int.from_bytes(blake2b(part, digest_size=8).digest(), signed=True) for part in parts]
