"""Turn rows into examples that a batch can be made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadCorpus, BadText

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # a label that no loss and no metric counts


def encode_texts(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, target: Callable[[Mapping[str, Any]], Any]
) -> list[dict[str, Any]]:
    """Return token ids and the target, one example a row; padding waits for the batch.

    Raises BadCorpus for a row whose text gives no token.
    """
    texts = tokenizer(list(rows["text"]), truncation=True, max_length=max_length)
    try:
        check_tokens(texts["input_ids"], "row")
    except BadText as error:
        raise BadCorpus(str(error)) from error
    columns = {name: texts[name] for name in ("input_ids", "attention_mask")}
    return [
        {**{name: column[i] for name, column in columns.items()}, "labels": target(row)} for i, row in enumerate(rows)
    ]


def check_tokens(encoded: Sequence[Sequence[int]], what: str) -> None:
    """Raise BadText where a tokenizer makes nothing of a text: the answer would be that of the padding beside it."""
    for index, ids in enumerate(encoded):
        if not ids:
            raise BadText(f"{what} {index} gives no token of this base's tokenizer, which knows none of its letters")


def lengths(examples: Sequence[Mapping[str, Any]]) -> list[int]:
    """Count the tokens of each example."""
    return [len(example["input_ids"]) for example in examples]
