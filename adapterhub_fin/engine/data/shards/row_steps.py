"""Decide row by row what is taken, and encode it in batches, in the source's order whoever encodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from adapterhub_fin.engine.data.shards.documents import MISSING, Document
from adapterhub_fin.engine.data.shards.filters import text_filter
from adapterhub_fin.engine.data.shards.seen_texts import SeenTexts
from adapterhub_fin.engine.data.shards.text_encoder import Encode, Encoded, MapBatches
from adapterhub_fin.recipe.tokenize_recipe import TokenizeRecipe

if TYPE_CHECKING:
    import numpy as np

BATCH: Final = 1 << 20  # characters that are encoded at once
ROWS: Final = 10_000  # rows of a batch at most, those that are left out included
Reason = Callable[[Document], str | None]
Batch = Sequence[tuple[Document, str | None]]
Step = tuple[Document, str | None, "np.ndarray | None"]  # a row, why it is left out, else its ids


def reasons(recipe: TokenizeRecipe, seen: SeenTexts | None) -> Reason:
    """Return the function from a row to why it is left out: by its date, its text, or as a copy of an earlier one.

    It is None for a row that is taken. Rows must come in the source's order, since `seen` remembers their texts.
    """
    until = recipe.instant("until")
    after = recipe.instant("after") if recipe.after else None
    filtered = text_filter(recipe.filters)

    def reason(document: Document) -> str | None:
        if document.missing:
            return MISSING
        if document.available_at > until:
            return "available after until"
        if after is not None and document.available_at <= after:
            return "available up to after"
        if (short := filtered(document.text)) is not None or seen is None:
            return short
        return seen.copied(document.row, document.text)

    return reason


def steps(
    documents: Iterable[Document], reason: Reason, seen: SeenTexts | None, encode: Encode, mapped: MapBatches
) -> Iterator[Step]:
    """Yield each row with why it is left out, or with its ids. As many batches are read ahead as `mapped` takes."""
    pending: deque[Batch] = deque()

    def texts() -> Iterator[Sequence[str]]:
        for batch in batches(documents, reason):
            pending.append(batch)
            yield [document.text for document, why in batch if why is None]

    for encoded in mapped(encode, texts()):
        yield from _joined(pending.popleft(), encoded, seen)


def batches(documents: Iterable[Document], reason: Reason) -> Iterator[Batch]:
    """Yield rows with why each is left out, about a million characters at once; what is left out keeps no text."""
    batch: list[tuple[Document, str | None]] = []
    size = 0
    for document in documents:
        why = reason(document)
        batch.append((document if why is None else replace(document, text=""), why))
        size += len(batch[-1][0].text)
        if size >= BATCH or len(batch) >= ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _joined(batch: Batch, encoded: Encoded, seen: SeenTexts | None) -> Iterator[Step]:
    answers = iter(encoded)
    for document, why in batch:
        if why is not None:
            yield document, why, None
            continue
        ids, hashes = next(answers)
        alike = None if hashes is None or seen is None else seen.resembles(document.row, hashes)
        nothing = None if len(ids) else "without a token"
        yield document, alike or nothing, ids if alike is None and len(ids) else None
