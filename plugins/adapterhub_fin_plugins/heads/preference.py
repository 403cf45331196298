"""Prefer one of two answers to a prompt: direct preference optimization (DPO; Rafailov et al., arXiv 2305.18290)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import IGNORED, BadCorpus, CausalHead, Messages, pad_labels, pad_texts, render
from adapterhub_fin_plugins.heads.causal_lm import CausalLM, encoded_rows

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

ANSWERS = ("chosen", "rejected")


class Preference(CausalLM):
    """Make the chosen answer more likely than the rejected one, measured against the model before training."""

    called = "preference"
    selects_on = "preference_loss"
    num_references = 2

    def target(self, row: Mapping[str, Any]) -> None:
        """Check that the answers differ and have the prompt's form. Raises BadCorpus."""
        chosen, rejected = (_messages(row["prompt"], row[name], name) for name in ANSWERS)
        if chosen == rejected:
            raise BadCorpus("chosen and rejected are the same answer: drop the row")

    def encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Sequence[dict[str, Any]]:
        return encoded_rows(rows, lambda row: [_pair(row, tokenizer, max_length)])

    def encode_inputs(
        self, rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Sequence[dict[str, Any]]:
        """Return the tokens of texts and conversations, all of which count. Raises what the default raises."""
        return CausalHead.encode_inputs(self, rows, tokenizer, max_length)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        import torch

        def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = pad_texts(examples, tokenizer)
            length, side = batch["input_ids"].shape[1], tokenizer.padding_side
            tokens = [pad_labels([each["labels"][k] for each in examples], length, side) for k in range(len(ANSWERS))]
            reference = torch.tensor([each["reference"] for each in examples])
            # Side by side, so that each row of a label is one example.
            return {**batch, "labels": {"tokens": torch.cat(tokens, 1), "reference": reference}}

        return collate

    def loss(self, outputs: Any, labels: Any) -> Tensor:
        return self.row_losses(self.answers(outputs.logits, {"labels": labels}), labels).mean()

    def row_losses(self, answers: Tensor, labels: Any) -> Tensor:
        """Return -log sigmoid of each pair's margin, (pairs,)."""
        from torch.nn.functional import logsigmoid

        ratios = answers - labels["reference"]
        return -logsigmoid(self.options.beta * (ratios[:, 0] - ratios[:, 1]))

    def weight(self, labels: Any) -> Tensor:
        """Return the number of pairs, a scalar."""
        import torch

        return torch.tensor(len(labels["reference"]))

    def answers(self, logits: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """Return the log-probabilities (nats) of the chosen and the rejected answers, (pairs, 2).

        Of texts, which have no `labels`, return what causal-lm does.
        """
        import torch
        from torch.nn.functional import cross_entropy

        if "labels" not in inputs:
            return super().answers(logits, inputs)
        labels = torch.cat(inputs["labels"]["tokens"].chunk(2, dim=1))  # (2 * pairs, length), as the logits
        logits = logits[:, -labels.shape[1] :][:, :-1].float()
        losses = cross_entropy(logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none")
        return -losses.sum(1).view(2, -1).T

    def truth(self, labels: Any) -> np.ndarray:
        """Return what `decide` does of the model before training, (pairs,)."""
        return self.decide(labels["reference"])

    def decide(self, answers: np.ndarray) -> np.ndarray:
        """Return beta * (log p(chosen) - log p(rejected)), (pairs,)."""
        margins: np.ndarray = self.options.beta * (answers[:, 0] - answers[:, 1])
        return margins


def _messages(prompt: Any, answer: Any, name: str) -> Any:
    """Return an answer in the form of its prompt, a text or turns. Raises BadCorpus where it has the other."""
    if isinstance(prompt, str):
        if isinstance(answer, str):
            return answer
        raise BadCorpus(f"prompt is a text and {name} a conversation: give both as texts, or both as messages")
    turns = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else list(answer)
    if not turns or any(turn["role"] != "assistant" for turn in turns):
        raise BadCorpus(f"{name} holds a turn that is not the assistant's: move it into prompt")
    return turns


def _pair(row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, size: int) -> dict[str, Any]:
    """Return the prompt with each answer, of which the answer's tokens alone are predicted."""
    prompt = row["prompt"]
    answers = [_messages(prompt, row[name], name) for name in ANSWERS]
    asked = _tokens(prompt if isinstance(prompt, str) else render(prompt, tokenizer, ask=True), prompt, tokenizer)
    whole = [_whole(prompt, answer, tokenizer) for answer in answers]
    # Tokens may merge across the end of the prompt: an answer starts where one of the two leaves the prompt, as in TRL.
    start = max(1, min(_common(asked, ids) for ids in whole))
    texts = [ids[:size] for ids in whole]
    for name, ids in zip(ANSWERS, texts, strict=True):
        if len(ids) <= start:
            raise BadCorpus(f"no token of {name} lies within training.max_length, {size} tokens: raise it")
    if texts[0] == texts[1]:
        raise BadCorpus(f"chosen and rejected have the same first {size} tokens, training.max_length: raise it")
    labels = [[IGNORED] * start + ids[start:] for ids in texts]
    return {"input_ids": texts, "labels": labels}


def _whole(prompt: str | Messages, answer: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens of a prompt and its answer, which ends as generation does."""
    if not isinstance(prompt, str):
        return _tokens(render([*prompt, *answer], tokenizer, ask=False), prompt, tokenizer)
    ids = _tokens(prompt + answer, prompt, tokenizer)
    end = tokenizer.eos_token_id
    return ids if end is None or ids[-1:] == [end] else [*ids, end]


def _tokens(text: str, prompt: str | Messages, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    templated = not isinstance(prompt, str) and tokenizer.chat_template is not None  # which writes its own marks
    ids: list[int] = tokenizer(text, add_special_tokens=not templated, verbose=False)["input_ids"]
    return ids


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the tokens that two texts begin with alike."""
    pairs = zip(first, second, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
