"""Turn batches of texts into token ids and signatures: the costly part of a pass, which workers may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterhub_fin.engine.data.shards.seen_texts import signature
from adapterhub_fin.engine.data.shards.text_tokenizer import TextTokenizer

if TYPE_CHECKING:
    import numpy as np

Texts = Sequence[str]
Encoded = Sequence[tuple["np.ndarray", "np.ndarray | None"]]  # of each text: ids, and a signature if sought
Encode = Callable[[Texts], Encoded]
MapBatches = Callable[[Encode, Iterable[Texts]], Iterable[Encoded]]


@dataclass(frozen=True)
class TextEncoder:
    """Turn batches of texts into ids and signatures: what a batch gives depends on it alone. It can be pickled."""

    tokenizer: TextTokenizer
    near: bool  # whether signatures are sought

    def __call__(self, texts: Texts) -> Encoded:
        """Return each text's ids, (tokens,), with its signature, (128,), or None."""
        signatures = map(signature, texts) if self.near else [None] * len(texts)
        return list(zip(self.tokenizer.encode(texts), signatures, strict=True))
