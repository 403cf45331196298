"""Train a tokenizer on the texts that shards take, or on a sample of them that is bounded in memory."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.train_tokenizer import train_tokenizer, wrapped
from adapterhub_fin.engine.data.shards.documents import Document
from adapterhub_fin.engine.data.shards.index_file import nothing_left
from adapterhub_fin.engine.data.shards.row_steps import Reason
from adapterhub_fin.recipe.tokenize_recipe import NewTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EVIDENCE = "the latest available_at of the rows that the tokenizer was trained on"


@dataclass
class Totals:
    """Count texts as they pass, and remember the latest of their dates."""

    documents: int = 0
    characters: int = 0
    last: datetime | None = None

    def counted(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield the documents, each counted."""
        for document in documents:
            self.documents += 1
            self.characters += len(document.text)
            self.last = document.available_at if self.last is None else max(self.last, document.available_at)
            yield document


@dataclass(frozen=True)
class TrainedTokenizer:
    """Hold a tokenizer with what an index records of how it was trained, and the last date of its texts."""

    tokenizer: PreTrainedTokenizerBase
    record: dict[str, Any]
    last: datetime

    def write(self, folder: Path) -> None:
        """Write the tokenizer as Transformers does. Raises OSError."""
        self.tokenizer.save_pretrained(folder)


def train(choice: NewTokenizer, documents: Iterable[Document], reason: Reason, rows: int) -> TrainedTokenizer:
    """Train a tokenizer on the documents of a source of so many rows that `reason` doesn't leave out.

    Raises BadCorpus where it leaves all out, and for a vocabulary larger than the texts can train.
    """
    left_out: Counter[str] = Counter()
    every, used = Totals(), Totals()

    def taken() -> Iterator[Document]:
        for document in documents:
            if (why := reason(document)) is None:
                yield document
            else:
                left_out[why] += 1

    chosen = used.counted(sampled(every.counted(taken()), choice.sample, choice.seed))
    if (first := next(chosen, None)) is None:
        raise nothing_left(rows, left_out)
    texts = (document.text for document in chain([first], chosen))
    tokenizer = wrapped(train_tokenizer(texts, choice.train, choice.kind, "tokenizer.train"), choice.kind)
    assert used.last is not None, "a first document has a date"
    record = {
        "choice": choice.model_dump(mode="json"),
        "documents": used.documents,
        "characters": used.characters,
        "of_documents": every.documents,
        "of_characters": every.characters,
    }
    return TrainedTokenizer(tokenizer, record, used.last)


def sampled(documents: Iterable[Document], limit: int | None, seed: int) -> Iterator[Document]:
    """Yield documents of at most `limit` characters together, drawn by a digest of their texts; all of them with None.

    They come in their order, and at least one does. What is drawn depends on the seed and the texts, not on what else
    the source holds, and no more than the limit and one document is in memory.
    """
    if limit is None:
        yield from documents
        return
    heap: list[tuple[int, int, Document]] = []  # the last to stay first
    size, bound = 0, -1 << 64  # negated: from this priority on, documents are beyond the limit
    for document in documents:
        priority = -_priority(document.text, seed)
        if priority <= bound:
            continue
        heapq.heappush(heap, (priority, -document.row, document))
        size += len(document.text)
        while size > limit and len(heap) > 1:
            bound, _, dropped = heapq.heappop(heap)
            size -= len(dropped.text)
    yield from (document for _, _, document in sorted(heap, key=lambda entry: -entry[1]))


def _priority(text: str, seed: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8, salt=seed.to_bytes(8)).digest())
