"""Turn a base's texts into documents of token ids, each from the token that begins a text to the one that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

BATCH = 1_000  # texts that are encoded together


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a stored base."""
    from adapterhub_fin.engine.base.load_base import load_tokenizer as load
    from adapterhub_fin.engine.base.quiet import quiet_loading

    with quiet_loading():
        return load(folder)


def encode_documents(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, encoder: bool
) -> Sequence[np.ndarray]:
    """Return the token ids of each text, (tokens,), from the token that begins a text to the one that ends it.

    A text that spells a special token, such as `</s>`, is read as any other: it neither ends nor masks anything.
    """
    import numpy as np

    first, last = _ends(tokenizer, encoder)
    width = np.uint16 if len(tokenizer) <= np.iinfo(np.uint16).max else np.uint32
    documents = []
    for start in range(0, len(texts), BATCH):
        encoded: Any = tokenizer(list(texts[start : start + BATCH]), verbose=False, split_special_tokens=True)
        for ids in encoded["input_ids"]:
            before = [] if first is None or ids[:1] == [first] else [first]
            after = [] if last is None or ids[-1:] == [last] else [last]
            documents.append(np.asarray([*before, *ids, *after], width))
    return documents


def _ends(tokenizer: Any, encoder: bool) -> tuple[int | None, int | None]:
    """Return the ids that a document begins and ends with; None where the tokenizer has no such token.

    Without a token that begins texts, the one that ends them stands there too, as GPT-2 read its documents: else the
    first token of each would be predicted by nothing, and missing in the bits of a byte.
    """
    if encoder:
        return tokenizer.cls_token_id, tokenizer.sep_token_id
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return first, tokenizer.eos_token_id


def special_ids(tokenizer: Any, encoder: bool) -> dict[str, int | None]:
    """Return the ids of the special tokens, as a model's configuration has them."""
    ends = _ends(tokenizer, encoder)
    first, last = ends if encoder else (tokenizer.bos_token_id, tokenizer.eos_token_id)
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": first, "eos_token_id": last}
    return {**ids, "cls_token_id": first, "sep_token_id": last} if encoder else ids
