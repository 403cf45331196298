"""Embed texts so that an anchor is near its positive and far from the other texts of its batch.

The loss is InfoNCE with in-batch negatives (van den Oord et al., arXiv 1807.03748), sentence-transformers'
MultipleNegativesRankingLoss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import AnswerForm, BadCorpus, EmbeddingHead, Vector, encode_columns, pad_texts

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

COLUMNS = ("anchor", "positive", "negative")
CHUNK = 1024  # anchors that are ranked at once


class Contrastive(EmbeddingHead):
    """Train the mean of a text's last hidden states as its vector."""

    selects_on = "mrr"
    min_batch = 2  # a row alone has no negative

    def target(self, row: Mapping[str, Any]) -> None:
        """Check that the texts differ. Raises BadCorpus."""
        texts = [row[name] for name in COLUMNS if name in row]
        if any(not isinstance(text, str) for text in texts):
            raise BadCorpus("contrastive reads texts, and a cell holds a conversation: write it as a text")
        if len(set(texts)) < len(texts):
            raise BadCorpus(f"two of {', '.join(COLUMNS[: len(texts)])} are the same text: drop the row")

    def encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Sequence[dict[str, Any]]:
        """Return an example for each row: its texts, and as labels a number of each that is equal for equal texts.

        Raises BadCorpus for a row with two texts that are equal up to `max_length` tokens.
        """
        columns = [name for name in COLUMNS if name in rows.column_names]
        numbers: dict[tuple[int, ...], int] = {}
        examples = []
        for row, ids in enumerate(encode_columns(rows, columns, tokenizer, max_length)):
            texts = [numbers.setdefault(tuple(text), len(numbers)) for text in ids]
            if len(set(texts)) < len(texts):
                raise BadCorpus(f"row {row}: two of its texts have the same first {max_length} tokens; drop the row")
            examples.append({"input_ids": ids, "labels": texts})
        return examples

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        import torch

        def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = pad_texts(examples, tokenizer)
            texts = torch.tensor([example["labels"] for example in examples])
            # The masks of a row's texts side by side, so that each row of a label is one example.
            mask = torch.cat(batch["attention_mask"].chunk(texts.shape[1]), 1)
            return {**batch, "labels": {"texts": texts, "mask": mask}}

        return collate

    def loss(self, outputs: Any, labels: Any) -> Tensor:
        import torch
        from torch.nn.functional import cross_entropy, normalize

        texts = labels["texts"]
        anchors, *others = normalize(self._vectors(self.raw_outputs(outputs), labels), dim=-1).chunk(texts.shape[1])
        scores = self.options.scale * anchors @ torch.cat(others).T  # (rows, positives and negatives)
        scores = scores.masked_fill(_copies(texts), float("-inf"))
        loss = cross_entropy(scores, torch.arange(len(texts), device=scores.device))
        # A pooler isn't read. An adapter on it has a gradient all the same, of zero: AdaLoRA and DDP need one of each.
        pooled = getattr(outputs, "pooler_output", None)
        return loss if pooled is None else loss + 0.0 * pooled.float().sum()

    def weight(self, labels: Any) -> Tensor:
        """Return the number of rows, a scalar."""
        import torch

        return torch.tensor(len(labels["texts"]))

    def answers(self, logits: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """Return the vectors of texts, (texts, hidden).

        Of rows with `labels`, return the vectors and the numbers of anchor and positive, (rows, 2 * hidden + 2).
        """
        import torch

        if "labels" not in inputs:
            return _mean(logits, inputs["attention_mask"])
        texts = inputs["labels"]["texts"]
        anchors, positives, *_ = self._vectors(logits, inputs["labels"]).chunk(texts.shape[1])
        return torch.cat([anchors, positives, texts[:, :2].to(anchors.dtype)], 1)

    def _vectors(self, states: Tensor, labels: Any) -> Tensor:
        """Return the vectors of all texts of a batch, (texts * rows, hidden)."""
        import torch

        return _mean(states, torch.cat(labels["mask"].chunk(labels["texts"].shape[1], 1)))

    def truth(self, labels: Any) -> np.ndarray:
        """Return the best rank for each row, (rows,)."""
        import numpy as np

        return np.ones(len(labels["texts"]))

    def decide(self, answers: np.ndarray) -> np.ndarray:
        """Return the rank of each anchor's positive among all positives that were measured, (rows,); 1 is the nearest.

        Copies of a positive count once, and other positives of the same anchor do not count. Of equal similarities the
        positive's own is the last.
        """
        import numpy as np

        width = (answers.shape[1] - 2) // 2
        anchors, positives = (_unit(answers[:, start : start + width]) for start in (0, width))
        asked, texts = answers[:, -2].astype(int), answers[:, -1].astype(int)
        _, first, candidate = np.unique(texts, return_index=True, return_inverse=True)
        relevant: dict[int, set[int]] = {}
        for anchor, index in zip(asked.tolist(), candidate.tolist(), strict=True):
            relevant.setdefault(anchor, set()).add(index)
        ranks = np.empty(len(answers))
        for start in range(0, len(answers), CHUNK):
            scores = anchors[start : start + CHUNK] @ positives[first].T
            for row, of_row in enumerate(scores, start):
                nearer = of_row >= of_row[candidate[row]]
                nearer[list(relevant[int(asked[row])])] = False
                ranks[row] = 1 + nearer.sum()
        return ranks

    def answer_form(self) -> AnswerForm:
        return AnswerForm("vector")

    def predictions(self, answers: Tensor) -> Sequence[Vector]:
        return [Vector(tuple(row)) for row in answers.tolist()]


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the states (texts, tokens, hidden) of the tokens that are not padding, (texts, hidden)."""
    states = states[:, -mask.shape[1] :].float()  # a prompt of trained vectors stands before the text
    counted = mask[:, :, None].to(states.dtype)
    return (states * counted).sum(1) / counted.sum(1).clamp(min=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    import numpy as np

    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def _copies(texts: Tensor) -> Tensor:
    """Return which candidates are no negatives of an anchor, (rows, candidates): copies of it or of its positives.

    `texts` (rows, 2 or 3) are the numbers of anchors, positives and negatives. A row's own positive is not marked.
    """
    import torch

    anchors, positives = texts[:, 0], texts[:, 1]
    candidates = texts[:, 1:].T.flatten()
    same_anchor = (anchors[:, None] == anchors).float()
    is_positive = same_anchor @ (positives[:, None] == candidates).float() > 0
    own = torch.arange(len(texts), device=texts.device)
    own_positive = own[:, None] == torch.arange(len(candidates), device=texts.device)
    return (is_positive | (anchors[:, None] == candidates)) & ~own_positive
