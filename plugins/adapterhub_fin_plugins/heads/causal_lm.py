"""Model causal language: documents in blocks, or conversations with a loss on the answers alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import (
    IGNORED,
    BadCorpus,
    BadRecipe,
    CausalHead,
    Likelihood,
    Messages,
    NotFinite,
    answer_spans,
    brings_code_for,
    closing,
    render,
)

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


class CausalLM(CausalHead):
    """Predict the next token, by the base's own language-model head."""

    called = "causal-lm"

    def check(self, config: PretrainedConfig) -> None:
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        )

        if config.is_encoder_decoder:
            raise BadRecipe(
                f"{self.called} writes on with a decoder, and a {config.model_type} base reads with an encoder first: "
                "choose a decoder"
            )
        if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
            raise BadRecipe(
                f"{self.called} predicts the next token, and a {config.model_type} base is an encoder that sees it: "
                "choose a decoder, or the head classify or regress"
            )
        known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        if not (known or brings_code_for(config, "AutoModelForCausalLM")):
            raise BadRecipe(
                f"{self.called} needs a base that writes token after token, and Transformers has no such model for "
                f"{config.model_type}: choose a decoder"
            )

    def target(self, row: Mapping[str, Any]) -> None:
        """Return None: the tokens themselves are the target."""

    def encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Sequence[dict[str, Any]]:
        if "messages" in rows.column_names:
            return encoded_rows(rows, lambda row: [_conversation(row["messages"], tokenizer, max_length)])
        return encoded_rows(rows, lambda row: self._document(row["text"], tokenizer, max_length))

    def encode_inputs(
        self, rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Sequence[dict[str, Any]]:
        """Return the tokens of texts, all of which count, and of conversations, of which the answers count.

        Raises BadCorpus for rows of both kinds, and for a conversation without an answer.
        """
        if not any("messages" in row for row in rows):
            return super().encode_inputs(rows, tokenizer, max_length)
        if not all("messages" in row for row in rows):
            raise BadCorpus("some rows are texts and some conversations: ask for each kind apart")
        return [_conversation(row["messages"], tokenizer, max_length) for row in rows]

    def _document(self, text: str, tokenizer: PreTrainedTokenizerBase, size: int) -> list[dict[str, Any]]:
        """Return blocks of one document; each begins with the last token of the one before, so all are predicted."""
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if not ids:
            raise BadCorpus("the document is empty")
        ids = [*_mark(tokenizer.bos_token_id), *ids, *_mark(tokenizer.eos_token_id)]
        if len(ids) < 2:
            raise BadCorpus("the document is one token, after which nothing is predicted; drop the row")
        if not self.options.packing:
            return [_example(ids[:size])]
        blocks = [ids[start : start + size] for start in range(0, max(len(ids) - 1, 1), size - 1)]
        if len(blocks) > 1 and len(blocks[-1]) < self.options.smallest:
            blocks.pop()
        return [_example(block) for block in blocks]

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
        from transformers import DataCollatorForSeq2Seq

        collate: Callable[..., dict[str, Tensor]] = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED)
        return collate

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        logits = outputs.logits[:, -labels.shape[1] :]  # a prompt of trained vectors stands before the text
        return cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED)

    def answers(self, logits: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean loss over each text's counted tokens, and how many they are: (rows, 2)."""
        import torch
        from torch.nn.functional import cross_entropy

        labels = inputs.get("labels")
        if labels is None:
            labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, IGNORED)
        logits = logits[:, -labels.shape[1] :][:, :-1].float()
        losses = cross_entropy(logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none")
        tokens = (labels[:, 1:] != IGNORED).sum(1)
        return torch.stack([losses.sum(1) / tokens.clamp(min=1), tokens.to(losses.dtype)], 1)

    def row_losses(self, answers: Tensor, labels: Any) -> Tensor | None:
        """Return the mean loss over each text's counted tokens, (rows,)."""
        return answers[:, 0]

    def decide(self, answers: np.ndarray) -> np.ndarray:
        return answers

    def predictions(self, answers: Tensor) -> Sequence[Likelihood]:
        likelihoods = []
        for index, (mean, tokens) in enumerate(answers.tolist()):
            try:
                likelihoods.append(Likelihood(mean, math.exp(mean), int(tokens)))
            except OverflowError as error:
                raise NotFinite(
                    f"text {index} has a mean loss of {mean:.6g}, and so a perplexity beyond every number: use logits"
                ) from error
        return likelihoods

    def prompt(self, messages: Messages, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return a conversation as training showed it, up to where the assistant begins to speak."""
        return render(messages, tokenizer, ask=True)

    def ending(self, tokenizer: PreTrainedTokenizerBase) -> str:
        return closing(tokenizer)


def encoded_rows(
    rows: Dataset, encode: Callable[[Mapping[str, Any]], Sequence[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the examples that `encode` makes of each row. Raises BadCorpus as it does, naming the row."""
    examples: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        try:
            examples += encode(row)
        except BadCorpus as error:
            origin = f" ({row['origin']})" if row.get("origin") else ""
            raise BadCorpus(f"row {number}{origin}: {error}") from error
    return examples


def _mark(token: int | None) -> list[int]:
    return [] if token is None else [token]


def _example(ids: list[int]) -> dict[str, Any]:
    """Return a document's tokens, each but the first predicted from those before it."""
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [IGNORED, *ids[1:]]}


def _conversation(messages: Messages, tokenizer: PreTrainedTokenizerBase, size: int) -> dict[str, Any]:
    """Return a conversation's tokens, of which the assistant's alone are predicted."""
    text, spans = answer_spans(messages, tokenizer)
    encoded = tokenizer(
        text,
        add_special_tokens=tokenizer.chat_template is None,  # a template writes its own marks
        return_offsets_mapping=True,
        truncation=True,
        max_length=size,
    )
    ids = encoded["input_ids"]
    labels = [
        token if any(start <= first and last <= end and first < last for start, end in spans) else IGNORED
        for token, (first, last) in zip(ids, encoded["offset_mapping"], strict=True)
    ]
    labels[0] = IGNORED
    if all(label == IGNORED for label in labels):
        raise BadCorpus(f"no answer of the assistant lies within training.max_length, {size} tokens")
    return {"input_ids": ids, "attention_mask": encoded["attention_mask"], "labels": labels}
