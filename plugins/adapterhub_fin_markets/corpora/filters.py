"""Drop texts by length, by their density of finance terms, and near-duplicates; what is dropped is counted."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache, partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from adapterhub_fin.plugin import count_terms
from adapterhub_fin_markets.corpora.options import DocumentOptions

if TYPE_CHECKING:
    from datasets import Dataset

_PATTERN = r"[^\W_]+(?:[.,'’/-][^\W_]+)*"
_WORD = re.compile(_PATTERN)
_SIGN, _CURRENCY = "[-−–+(▲▼↑↓]", "[$€£¥₹₩]"
_COMPARED = re.compile(rf"(?:(?<!\w){_SIGN})?\s?{_CURRENCY}?\s?{_SIGN}?\.?(?=\d){_PATTERN}(?:\s?[%‰])?|{_PATTERN}")
_MINUS = str.maketrans("−–", "--")
RUN = 5  # words of a shingle
PERMUTATIONS = 128


def words_in(text: str) -> list[str]:
    """Return the words and numbers of a text, such as `net` and `1,234.50`."""
    return _WORD.findall(text)


def compared_words(text: str) -> list[str]:
    """Return what copies share: the words of a text, each number with its sign, currency and per cent.

    A text without words is compared by what it holds, such as its emoji.
    """
    words = ["".join(word.casefold().translate(_MINUS).split()) for word in _COMPARED.findall(text)]
    return words or [*text.split()]


def term_density(text: str, words: int) -> float:
    """Return the words of finance terms as a share of a text's words, of which there are `words`."""
    terms = count_terms(text)
    return sum(count * len(re.split(r"[\s-]+", term)) for term, count in terms.items()) / words if words else 0.0


def filtered(table: Dataset, options: DocumentOptions) -> tuple[Dataset, dict[str, int]]:
    """Return the rows that the options keep, in their order, and how many were dropped for which reason.

    Of near-duplicates the earliest stays, whatever comes later: so a later text changes no earlier row. They are those
    of a group, where the options name its column. Texts are read in batches, and of each only its signature stays in
    memory.
    """
    notes: dict[str, int] = {}
    kept: Sequence[int] = range(len(table))
    if any(limit is not None for limit in (options.min_words, options.max_words, options.min_terms)):
        kept = [row for row, text in enumerate(texts_of(table)) if not _is_dropped(text, options, notes)]
    if options.near_duplicates is not None:
        groups = table["group"][:] if options.compares_within_groups else [None] * len(table)
        kept = _without_copies(table, kept, groups, options.near_duplicates, notes)
    return (table if len(kept) == len(table) else table.select(kept)), notes


def texts_of(table: Dataset) -> Iterator[str]:
    """Yield the texts of a table in order, a few at a time: documents are long."""
    for batch in table.select_columns(["text"]).iter(batch_size=16):
        yield from batch["text"]


def _is_dropped(text: str, options: DocumentOptions, notes: dict[str, int]) -> bool:
    words = len(words_in(text))
    reason = None
    if options.min_words is not None and words < options.min_words:
        reason = f"dropped, under {options.min_words} words"
    elif options.max_words is not None and words > options.max_words:
        reason = f"dropped, over {options.max_words} words"
    elif options.min_terms is not None and term_density(text, words) < options.min_terms:
        reason = f"dropped, finance terms under {options.min_terms:g} of the words"
    if reason is not None:
        notes[reason] = notes.get(reason, 0) + 1
    return reason is not None


class _Index(Protocol):
    """Define what remembers texts."""

    def has_like(self, text: str) -> bool:
        """Return whether a text like this was added; add it where none was."""
        ...


def _without_copies(
    table: Dataset, rows: Sequence[int], groups: Sequence[str | None], threshold: float, notes: dict[str, int]
) -> list[int]:
    """Return the rows without those that copy an earlier one of their group, in the order of the table."""
    dates = table["available_at"][:]
    indices: defaultdict[str | None, _Index] = defaultdict(
        _EqualTexts if threshold == 1 else partial(_SimilarTexts, threshold)
    )
    copies = {
        row
        for row in sorted(rows, key=lambda row: (dates[row], row))
        if indices[groups[row]].has_like(table[row]["text"])
    }
    if copies:
        notes["dropped, near-duplicates"] = len(copies)
    return [row for row in rows if row not in copies]


def _shingles(text: str) -> set[bytes]:
    words = compared_words(text)
    return {" ".join(words[start : start + RUN]).encode() for start in range(max(1, len(words) - RUN + 1))}


class _EqualTexts:
    """Remember texts by what is compared of them."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def has_like(self, text: str) -> bool:
        digest = blake2b(" ".join(compared_words(text)).encode(), digest_size=16).digest()
        if digest in self._digests:
            return True
        self._digests.add(digest)
        return False


@cache
def _bands(threshold: float) -> tuple[int, int]:
    """Return bands and their rows for a lower threshold: nearly all that are alike are found, and then compared."""
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=min(threshold - 0.05, 0.9), num_perm=PERMUTATIONS)
    return index.b, index.r


class _SimilarTexts:
    """Remember texts by MinHash signatures (Broder 1997), found by locality-sensitive hashing."""

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHashLSH

        self._threshold = threshold
        self._index = MinHashLSH(num_perm=PERMUTATIONS, params=_bands(threshold))
        self._signatures: dict[str, object] = {}

    def has_like(self, text: str) -> bool:
        from datasketch import LeanMinHash, MinHash

        signature = MinHash(num_perm=PERMUTATIONS, seed=1)
        signature.update_batch(sorted(_shingles(text)))
        lean = LeanMinHash(signature)
        candidates = self._index.query(lean)
        if any(lean.jaccard(self._signatures[key]) >= self._threshold for key in candidates):
            return True
        key = str(len(self._signatures))
        self._index.insert(key, lean)
        self._signatures[key] = lean
        return False
