"""Train a tokenizer on the rows that a base is trained on: one made from later text would leak it.

Byte-level BPE reads any text, so that no token is unknown. What it learns is deterministic: the same texts give the
same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from adapterhub_fin.errors import BadCorpus

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

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


def train_tokenizer(
    texts: Iterable[str], size: int, kind: Literal["llama", "modernbert"], key: str = "base.tokenizer.train"
) -> Tokenizer:
    """Return a byte-level BPE of exactly `size` tokens, trained on the texts; imports no torch.

    Raises BadCorpus, which names the recipe's `key` of the size, where the texts give fewer: every merge must be of a
    pair that occurs twice or more.
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
            f"the rows up to the cut give {trained:,} tokens at most, and {key} asks for {size:,}: "
            f"lower it to {trained:,} or less, or give more text"
        )
    ids = [(token, tokenizer.token_to_id(token)) for token in dict.fromkeys([special.begin, special.end]) if token]
    ends = f" {special.end}" if special.end else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special.begin} $A{ends}", pair=f"{special.begin} $A{ends} $B{ends}", special_tokens=ids
    )
    return tokenizer


def wrapped(
    tokenizer: Tokenizer, kind: Literal["llama", "modernbert"], positions: int | None = None
) -> PreTrainedTokenizerBase:
    """Return the tokenizer as Transformers has it, for texts of up to `positions` tokens if that is known."""
    from transformers import PreTrainedTokenizerFast

    names, build = SPECIAL[kind].tokens, cast(Any, PreTrainedTokenizerFast)  # untyped
    limit = {} if positions is None else {"model_max_length": positions}
    fast: PreTrainedTokenizerBase = build(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **limit, **names
    )
    return fast
