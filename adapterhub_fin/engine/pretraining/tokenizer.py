"""Train a tokenizer on the rows that the base is trained on: one made from later text would leak it.

Byte-level BPE reads any text, so that no token is unknown. What it learns is deterministic: the same texts give the
same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from adapterhub_fin.errors import BadCorpus

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

BATCH = 1_000  # texts that are encoded together
OFTEN = 2  # times that a pair of tokens must occur before it becomes a token


@dataclass(frozen=True)
class SpecialTokens:
    """Name a kind of model's special tokens by their role, in the order of their ids."""

    tokens: Mapping[str, str]
    begin: str
    end: str | None  # what a tokenizer puts after each text; None: only documents in training end


SPECIAL = {
    "llama": SpecialTokens({"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}, "<s>", None),
    "modernbert": SpecialTokens(
        {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}, "[CLS]", "[SEP]"
    ),
}


def train_tokenizer(texts: Iterable[str], size: int, kind: Literal["llama", "modernbert"]) -> Tokenizer:
    """Return a byte-level BPE of exactly `size` tokens, trained on the texts; imports no torch.

    Raises BadCorpus where the texts give fewer: every merge must be of a pair that occurs twice or more.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    special = SPECIAL[kind]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=OFTEN,
        show_progress=False,
        special_tokens=list(special.tokens.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    if (trained := tokenizer.get_vocab_size()) < size:
        raise BadCorpus(
            f"the rows up to the cut give {trained:,} tokens at most, and base.tokenizer.train asks for {size:,}: "
            f"lower it to {trained:,} or less, or give more text"
        )
    ids = [(token, tokenizer.token_to_id(token)) for token in dict.fromkeys([special.begin, special.end]) if token]
    ends = f" {special.end}" if special.end else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special.begin} $A{ends}", pair=f"{special.begin} $A{ends} $B{ends}", special_tokens=ids
    )
    return tokenizer


def wrapped(tokenizer: Tokenizer, kind: Literal["llama", "modernbert"], positions: int) -> PreTrainedTokenizerBase:
    """Return the tokenizer as Transformers has it, for texts of up to `positions` tokens."""
    from transformers import PreTrainedTokenizerFast

    names, build = SPECIAL[kind].tokens, cast(Any, PreTrainedTokenizerFast)  # untyped
    fast: PreTrainedTokenizerBase = build(
        tokenizer_object=tokenizer, model_max_length=positions, clean_up_tokenization_spaces=False, **names
    )
    return fast


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a stored base."""
    from adapterhub_fin.engine.base.load_base import load_tokenizer as load
    from adapterhub_fin.engine.base.quiet import quiet_loading

    with quiet_loading():
        return load(folder)


def encode_documents(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, encoder: bool
) -> Sequence[np.ndarray]:
    """Return the token ids of each text, (tokens,), from the token that begins a text to the one that ends it."""
    import numpy as np

    first, last = _ends(tokenizer, encoder)
    width = np.uint16 if len(tokenizer) <= np.iinfo(np.uint16).max else np.uint32
    documents = []
    for start in range(0, len(texts), BATCH):
        encoded: Any = tokenizer(list(texts[start : start + BATCH]), verbose=False)
        for ids in encoded["input_ids"]:
            before = [] if first is None or ids[:1] == [first] else [first]
            after = [] if last is None or ids[-1:] == [last] else [last]
            documents.append(np.asarray([*before, *ids, *after], width))
    return documents


def _ends(tokenizer: Any, encoder: bool) -> tuple[int | None, int | None]:
    """Return the ids that a document begins and ends with; None where the tokenizer has no such token."""
    if encoder:
        return tokenizer.cls_token_id, tokenizer.sep_token_id
    return tokenizer.bos_token_id, tokenizer.eos_token_id


def special_ids(tokenizer: Any, encoder: bool) -> dict[str, int | None]:
    """Return the ids of the special tokens, as a model's configuration has them."""
    first, last = _ends(tokenizer, encoder)
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": first, "eos_token_id": last}
    return {**ids, "cls_token_id": first, "sep_token_id": last} if encoder else ids
