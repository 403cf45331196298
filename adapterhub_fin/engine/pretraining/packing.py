"""Cut documents into blocks of tokens: packed one after the other, or each padded alone.

No attention goes from one document to another: `position_ids` begin at 0 in each document, and in each part of one that
a block's edge cuts. Transformers' causal models make a mask of that; `document_masks` makes one for encoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

NOTHING = -1  # in `following`: there is no next token in this document


@dataclass(frozen=True)
class Block:
    """Hold the tokens of one block, each (block,): their ids, their positions, and the token that follows each."""

    tokens: Array
    positions: Array
    following: Array  # NOTHING at the last token of a document, and in padding
    length: int  # the tokens before the padding


class Blocks:
    """Give the blocks of some documents, by number; each token but a document's first is predicted exactly once.

    With `packing`, the documents stand one after the other, and only the last block is padded. Without it, each
    document is cut into blocks of its own, each padded. Padding is a document of its own, so that nothing sees it.
    """

    def __init__(self, documents: Sequence[np.ndarray], block: int, *, packing: bool = True, pad: int = 0) -> None:
        """Take the token ids of the documents, each (tokens,)."""
        self.documents = documents
        self.block = block
        self.packing = packing
        self.pad = pad
        lengths: Sequence[int] | None = getattr(documents, "lengths", None)  # of a memory-mapped corpus, at once
        sizes = np.asarray([len(document) for document in documents] if lengths is None else lengths, np.int64)
        self.tokens = int(sizes.sum())
        self._ends = np.cumsum(sizes)
        self._firsts = np.cumsum(-(-sizes // block)) - -(-sizes // block)  # each document's first block of its own

    def __len__(self) -> int:
        if self.packing:
            return -(-self.tokens // self.block)
        last = len(self.documents) - 1
        return int(self._firsts[last]) + -(-self._size(last) // self.block)

    def __getitem__(self, number: int) -> Block:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._packed(number) if self.packing else self._alone(number)

    @property
    def padding(self) -> Block:
        """Return a block without a token: it fills up a batch that several processes share, and predicts nothing."""
        return self._joined([])

    @property
    def predicted(self) -> int:
        """Return how many tokens all blocks predict: all but the first of each document."""
        return self.tokens - len(self.documents)

    def _size(self, document: int) -> int:
        return int(self._ends[document] - (self._ends[document - 1] if document else 0))

    def _packed(self, number: int) -> Block:
        start, stop = number * self.block, min((number + 1) * self.block, self.tokens)
        parts = []
        document = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            first = int(self._ends[document - 1]) if document else 0
            until = min(stop, int(self._ends[document]))
            parts.append((document, start - first, until - first))
            start, document = until, document + 1
        return self._joined(parts)

    def _alone(self, number: int) -> Block:
        document = int(np.searchsorted(self._firsts, number, side="right")) - 1
        while not self._size(document):  # an empty document has no block, and shares its number with the next
            document += 1
        start = (number - int(self._firsts[document])) * self.block
        return self._joined([(document, start, min(start + self.block, self._size(document)))])

    def _joined(self, parts: Sequence[tuple[int, int, int]]) -> Block:
        """Return a block of parts of documents, each from a token to before another, and padding."""
        tokens = np.full(self.block, self.pad, np.int64)
        positions, following = np.zeros(self.block, np.int64), np.full(self.block, NOTHING, np.int64)
        at = 0
        for document, start, stop in parts:
            ids, size = self.documents[document], stop - start
            tokens[at : at + size] = ids[start:stop]
            positions[at : at + size] = np.arange(size)
            after = ids[start + 1 : stop + 1]
            following[at : at + len(after)] = after
            at += size
        positions[at:] = np.arange(self.block - at)
        return Block(tokens, positions, following, at)
