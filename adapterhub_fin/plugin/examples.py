"""Turn rows into examples that a batch can be made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadCorpus, BadText
from adapterhub_fin.plugin.conversations import render

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

_READ = ("input_ids", "attention_mask")
IGNORED = -100  # a label that no loss and no metric counts


def encode_texts(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, target: Callable[[Mapping[str, Any]], Any]
) -> list[dict[str, Any]]:
    """Return token ids and the target, one example a row; padding waits for the batch.

    Raises BadCorpus for a row whose text or conversation gives no token.
    """
    column = "messages" if "messages" in rows.column_names else "text"
    try:
        inputs = encode_inputs([{column: cell} for cell in rows[column]], tokenizer, max_length)
    except BadText as error:
        raise BadCorpus(str(error)) from error
    return [{**example, "labels": target(row)} for example, row in zip(inputs, rows, strict=True)]


def encode_inputs(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[dict[str, Any]]:
    """Return the `input_ids` and the `attention_mask` of rows with a `text`, or with a conversation as `messages`.

    A conversation is written by the tokenizer's chat template, which has its own special tokens. Raises BadText for a
    row that gives no token, and BadCorpus for a conversation that the template does not take.
    """
    encoded: list[dict[str, Any]] = [{}] * len(rows)
    talks = {index for index, row in enumerate(rows) if "messages" in row}
    texts = [index for index in range(len(rows)) if index not in talks]
    for indices, special in ((texts, True), (sorted(talks), tokenizer.chat_template is None)):
        if not indices:
            continue
        written = [
            render(rows[index]["messages"], tokenizer, ask=False) if index in talks else rows[index]["text"]
            for index in indices
        ]
        batch = tokenizer(written, truncation=True, max_length=max_length, add_special_tokens=special)
        for position, index in enumerate(indices):
            encoded[index] = {name: values[position] for name, values in batch.items() if name in _READ}
    check_tokens([example["input_ids"] for example in encoded], "row")
    return encoded


def encode_columns(
    rows: Dataset, columns: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[list[list[int]]]:
    """Return the token ids of several columns of texts: a list for each row, with a list for each column.

    Raises BadCorpus for a row whose text gives no token.
    """
    encoded = []
    for column in columns:
        ids = tokenizer(list(rows[column]), truncation=True, max_length=max_length)["input_ids"]
        try:
            check_tokens(ids, f"the {column} of row")
        except BadText as error:
            raise BadCorpus(str(error)) from error
        encoded.append(ids)
    return [list(texts) for texts in zip(*encoded, strict=True)]


def check_tokens(encoded: Sequence[Sequence[int]], what: str) -> None:
    """Raise BadText where a tokenizer makes nothing of a text: the answer would be that of the padding beside it."""
    for index, ids in enumerate(encoded):
        if not ids:
            raise BadText(f"{what} {index} gives no token of this base's tokenizer, which knows none of its letters")


def texts_in(example: Mapping[str, Any]) -> list[list[int]]:
    """Return the token ids of each text of an example, whose `input_ids` are a list of lists if it has several."""
    ids: list[Any] = example["input_ids"]
    return ids if ids and isinstance(ids[0], list) else [ids]


def lengths(examples: Sequence[Mapping[str, Any]]) -> list[int]:
    """Count the tokens of each example, or of its longest text if it has several."""
    return [max(map(len, texts_in(example))) for example in examples]


def pad_texts(examples: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Return `input_ids` and `attention_mask` of examples with K texts each, (K * examples, length).

    The first texts of all examples come first, then all second ones. They are padded to the longest, on the tokenizer's
    side.
    """
    ids = [text for texts in zip(*map(texts_in, examples), strict=True) for text in texts]
    masks = [[1] * len(text) for text in ids]  # not by the padding token, which may be the end of text
    padded = tokenizer.pad({"input_ids": ids, "attention_mask": masks}, return_tensors="pt")
    return {name: padded[name] for name in ("input_ids", "attention_mask")}


def pad_labels(rows: Sequence[Sequence[int]], length: int, side: str) -> Tensor:
    """Return token labels as a tensor (rows, length), padded with IGNORED on the side `left` or `right`."""
    import torch

    padding = [[IGNORED] * (length - len(row)) for row in rows]
    pairs = zip(rows, padding, strict=True)
    return torch.tensor([[*pad, *row] if side == "left" else [*row, *pad] for row, pad in pairs])
