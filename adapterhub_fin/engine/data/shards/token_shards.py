"""Read token shards: a sequence of documents as arrays of token ids, mapped from files."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final, overload

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.shards.index_file import INDEX, listed, read_index
from adapterhub_fin.engine.data.shards.shard_files import (
    EPOCH,
    MICROSECOND,
    ShardRecord,
    file_digest,
    ids_path,
    record_path,
    stem,
)
from adapterhub_fin.errors import Corrupted
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of
from adapterhub_fin_registry.model.knowledge import format_instant, parse_instant

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

TOKENIZER: Final = "tokenizer"  # the folder with the tokenizer's files


class TokenDocuments(Sequence["np.ndarray"]):
    """Hold some documents of token shards by their numbers: each an array of token ids, (tokens,)."""

    def __init__(self, shards: TokenShards, numbers: np.ndarray) -> None:
        """Take the numbers of the documents, (documents,)."""
        self.shards, self.numbers = shards, numbers

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of tokens of each document, (documents,) int64."""
        lengths: np.ndarray = self.shards.lengths[self.numbers]
        return lengths

    @property
    def sizes(self) -> np.ndarray:
        """Return the bytes of UTF-8 of each document's text, (documents,) int64."""
        sizes: np.ndarray = self.shards.sizes[self.numbers]
        return sizes

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        """Return a document's ids, (tokens,), or those of several as a list. Raises IndexError beyond the last."""
        if isinstance(index, slice):
            return [self.shards[int(number)] for number in self.numbers[index]]
        return self.shards[int(self.numbers[index])]


class TokenShards(Sequence["np.ndarray"]):
    """Hold the documents of a folder that `ahf tokenize` wrote, each an array of token ids, (tokens,).

    An array is a view of a mapped file: it takes no memory of its own and can't be written. Opening reads the records
    of the documents, 24 bytes each in memory, and no ids.

    Example:
        >>> shards = TokenShards("shards/fed-2013")
        >>> len(shards), shards[0].dtype, shards.knowledge_end
        (801, dtype('uint16'), datetime.datetime(2013, 12, 31, 23, 59, 59, 999999, tzinfo=datetime.timezone.utc))
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self.record = read_index(self.folder)
        recipe = self.record["recipe"]
        self.dtype = np.dtype(recipe["dtype"])
        self._offsets: list[np.ndarray] = []
        self._dates: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []
        for number in range(len(self.record["shards"])):
            record = self._shard_record(number)  # one at a time: a list of Python's numbers is four times as large
            self._offsets.append(np.array(record.offsets, np.int64))
            self._dates.append(np.array(record.available_at, np.int64).view("datetime64[us]"))
            self._sizes.append(np.array(record.sizes, np.int64))
        self._first = [0, *accumulate(map(len, self._dates))]
        self._maps: dict[int, np.ndarray] = {}

    @property
    def tokens(self) -> int:
        """Return the number of tokens in all documents."""
        return sum(int(offsets[-1]) for offsets in self._offsets)

    @property
    def digest(self) -> str:
        """Return the digest of all that the documents are: ids, dates and texts, the tokenizer, the cut, the filters.

        Rows of the source that came after the cut don't change it.
        """
        return str(self.record["digest"])

    @property
    def until(self) -> datetime:
        """Return the cut: no document was available later."""
        return parse_instant(self.record["recipe"]["until"])

    @property
    def knowledge_end(self) -> datetime:
        """Return when the latest document could first be read."""
        return parse_instant(self.record["knowledge_end"])

    @property
    def tokenizer(self) -> Path:
        """Return the folder of the tokenizer that the ids are of."""
        return self.folder / TOKENIZER

    @property
    def tokenizer_known(self) -> KnownAt | None:
        """Return when the tokenizer was known, or None where nobody states it: then this moment alone bounds it."""
        stated = self.record["recipe"]["tokenizer"]["known"]
        return None if stated is None else KnownAt(parse_instant(stated["at"]), stated["kind"], stated["evidence"])

    @property
    def stated(self) -> tuple[KnownAt, ...]:
        """Return the dates that the source states for rows without dates of their own, as it knows them."""
        dates = self.record["recipe"]["stated"]
        return tuple(KnownAt(parse_instant(each["at"]), each["kind"], each["evidence"]) for each in dates)

    @property
    def available_at(self) -> np.ndarray:
        """Return when each document could first be read, (documents,) datetime64[us] in UTC."""
        dates: np.ndarray = np.concatenate(self._dates)
        return dates

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of tokens of each document, (documents,) int64."""
        lengths: np.ndarray = np.concatenate([np.diff(offsets) for offsets in self._offsets])
        return lengths

    @property
    def sizes(self) -> np.ndarray:
        """Return the bytes of UTF-8 of each document's text, (documents,) int64."""
        sizes: np.ndarray = np.concatenate(self._sizes)
        return sizes

    def take(self, numbers: Sequence[int] | np.ndarray) -> TokenDocuments:
        """Return some of the documents in the given order, as a sequence of the same kind; `numbers` is (documents,).

        Example:
            >>> order = np.argsort(shards.available_at, kind="stable")
            >>> train, validation = shards.take(order[:-80]), shards.take(order[-80:])
        """
        return TokenDocuments(self, np.asarray(numbers, np.int64))

    def __len__(self) -> int:
        return self._first[-1]

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        """Return a document's ids, (tokens,), or those of several as a list. Raises IndexError beyond the last."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        shard = bisect_right(self._first, number) - 1
        offsets, row = self._offsets[shard], number - self._first[shard]
        return self._map(shard)[offsets[row] : offsets[row + 1]]

    def verify(self) -> None:
        """Read all files and compare them with what the index says of them.

        Raises Corrupted, naming the file, for a shard that is changed, missing or of another run, and for an index that
        contradicts its shards.
        """
        for number, entry in enumerate(self.record["shards"]):
            record = self._shard_record(number)
            path = ids_path(self.folder, number)
            if file_digest(record_path(self.folder, number)) != entry.get("record"):
                raise _changed(record_path(self.folder, number))
            if _digest(path) != entry.get("ids"):
                raise _changed(path)
            self._verify_shard(number, record)
        self._verify_index()
        self._verify_tokenizer()

    def __repr__(self) -> str:
        return f"TokenShards({str(self.folder)!r}): {len(self):,} documents, {self.tokens:,} tokens"

    def _shard_record(self, number: int) -> ShardRecord:
        path = record_path(self.folder, number)
        try:
            record = ShardRecord.read(path)
        except FileNotFoundError as error:
            raise Corrupted(f"{path} is missing: copy it again, or tokenize again with restart") from error
        if record.number != number or record.recipe != digest_of(canonical(self.record["recipe"])):
            raise Corrupted(f"{path} is the record of another run's shard: tokenize again with restart")
        size = ids_path(self.folder, number).stat().st_size if ids_path(self.folder, number).is_file() else None
        if size != record.tokens * self.dtype.itemsize or record.offsets[-1] != record.tokens:
            state = "is missing" if size is None else "hasn't the size that its record says"
            raise Corrupted(f"{ids_path(self.folder, number)} {state}: copy it again, or tokenize again with restart")
        return record

    def _map(self, shard: int) -> np.ndarray:
        """Return a shard's ids, (tokens,), mapped from its file."""
        if shard not in self._maps:
            self._maps[shard] = np.memmap(ids_path(self.folder, shard), self.dtype, "r")
        return self._maps[shard]

    def _verify_index(self) -> None:
        """Check that the index says of all shards what they are."""
        latest = EPOCH + int(self.available_at.max().astype(np.int64)) * MICROSECOND
        totals = {"documents": len(self), "tokens": self.tokens}
        if latest != self.knowledge_end or any(self.record.get(key) != total for key, total in totals.items()):
            raise Corrupted(f"{self.folder / INDEX} contradicts its shards: tokenize again with restart")

    def _verify_shard(self, number: int, record: ShardRecord) -> None:
        """Check that a shard's record is that of its ids, and in the cut."""
        ids, offsets, dates = self._map(number), self._offsets[number], self._dates[number]
        recipe = self.record["recipe"]
        start = parse_instant(recipe["after"]) if recipe["after"] else None
        latest = EPOCH + int(dates.max().astype(np.int64)) * MICROSECOND
        earliest = EPOCH + int(dates.min().astype(np.int64)) * MICROSECOND
        wrong = {
            "its documents' places": len(offsets) != len(dates) + 1 or offsets[0] != 0 or (np.diff(offsets) < 0).any(),
            "a token beyond the vocabulary": int(ids.max()) >= recipe["tokenizer"]["vocabulary"],
            "its dates": latest > self.until or (start is not None and earliest <= start),
            "what the index says of it": listed(self.folder, record) != self.record["shards"][number],
            "its last date": record.last_available_at != format_instant(latest),
        }
        if reasons := [reason for reason, is_wrong in wrong.items() if is_wrong]:
            raise Corrupted(f"{stem(number)} in {self.folder} is not right in {', '.join(reasons)}: tokenize again")

    def _verify_tokenizer(self) -> None:
        for name, digest in self.record["recipe"]["tokenizer"]["files"].items():
            if _digest(self.tokenizer / name) != f"sha256:{digest}":
                raise _changed(self.tokenizer / name)


def _digest(path: Path) -> str | None:
    return file_digest(path) if path.is_file() else None


def _changed(path: Path) -> Corrupted:
    return Corrupted(f"{path} is not what the index says: copy it again, or tokenize again with restart")
