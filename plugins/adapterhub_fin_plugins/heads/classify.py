"""Classify a text by Transformers' own sequence-classification models, encoders and decoders alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import AnswerForm, BadCorpus, BadManifest, BadRecipe, Prediction, SequenceHead
from adapterhub_fin_plugins.heads.pooling import read_mean, renamed

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel


NAMED = 5  # labels that one error names


class Classify(SequenceHead):
    """Classify by a softmax over labels, trained by cross-entropy or the focal loss."""

    selects_on = "macro_f1"
    baseline = "logistic"

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.labels: tuple[str, ...] | None = options.labels
        self.weights: Tensor | None = None  # of each label in the loss; of training alone

    def fit_labels(self, rows: Dataset) -> None:
        counts = Counter(_label(label) for label in rows["label"])
        if self.labels is None:
            self.labels = tuple(sorted(counts))
        elif unknown := sorted(set(counts) - set(self.labels)):
            listed = ", ".join(f"{label!r} ({_where(rows, label, counts[label])})" for label in unknown[:NAMED])
            more = f" and {len(unknown) - NAMED:,} more labels" if len(unknown) > NAMED else ""
            raise BadCorpus(
                f"the training rows hold the label {listed}{more}, which head.labels does not list: add it, give "
                "it a listed name by the corpus's option labels ({0: negative, ...}), or drop those rows"
            )
        self.weights = self._label_weights(_drawn(rows))

    def _label_weights(self, drawn: Mapping[str, float]) -> Tensor | None:
        """Return the weight of each label, (labels,), by how often training draws its rows."""
        setting = self.options.weights
        if setting is None:
            return None
        import torch

        if setting == "balanced":
            if absent := [label for label in self._names() if not drawn.get(label)]:
                raise BadCorpus(f"the label {absent[0]!r} has no training row, so that no balance gives it a weight")
            total, names = sum(drawn.values()), self._names()
            return torch.tensor([total / len(names) / drawn[label] for label in names])
        if set(setting) != set(self._names()):
            raise BadRecipe(
                f"head.weights names {', '.join(sorted(setting))}; the labels are {', '.join(self._names())}"
            )
        return torch.tensor([float(setting[label]) for label in self._names()])

    def set_labels(self, labels: Sequence[str] | None) -> None:
        if not labels:
            raise BadManifest("a classification head needs its labels, and the manifest holds none")
        super().set_labels(labels)

    def _names(self) -> tuple[str, ...]:
        assert self.labels is not None, "fit_labels or set_labels comes first"
        return self.labels

    def model_fields(self) -> Mapping[str, Any]:
        names = self._names()
        return {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: number for number, name in enumerate(names)},
        }

    def finish_model(self, model: PreTrainedModel, missing: Sequence[str]) -> Sequence[str]:
        return read_mean(model, missing) if self.options.pooling == "mean" else missing

    def outputs(self) -> Collection[str]:
        return renamed(super().outputs()) if self.options.pooling == "mean" else super().outputs()

    def target(self, row: Mapping[str, Any]) -> int:
        label = _label(row["label"])
        if label not in self._names():
            raise BadCorpus(f"the label {label!r} is not among the head's: {', '.join(self._names())}")
        return self._names().index(label)

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        import torch

        logits = outputs.logits.float()
        weights = None if self.weights is None else self.weights.to(logits.device)
        if not self.options.focal:
            smoothing = self.options.smoothing
            return torch.nn.functional.cross_entropy(logits, labels, weights, label_smoothing=smoothing)
        surprise = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        value = (1 - (-surprise).exp()) ** self.options.focal * surprise
        counts = torch.ones_like(value) if weights is None else weights[labels]
        mean: Tensor = (counts * value).sum() / counts.sum()
        return mean

    def weight(self, labels: Tensor) -> Tensor:
        return super().weight(labels) if self.weights is None else self.weights.to(labels.device)[labels].sum()

    def decide(self, logits: np.ndarray) -> np.ndarray:
        answers: np.ndarray = logits.argmax(-1)
        return answers

    def answer_form(self) -> AnswerForm:
        return AnswerForm("softmax", labels=self._names())

    def predictions(self, logits: Tensor) -> Sequence[Prediction]:
        names = self._names()
        rows = logits.softmax(-1).tolist()
        return [
            Prediction(label=names[row.index(max(row))], score=max(row), scores=dict(zip(names, row, strict=True)))
            for row in rows
        ]


def _drawn(rows: Dataset) -> Mapping[str, float]:
    """Return how often training draws rows of each label, beside the others."""
    times = rows["weight"] if "weight" in rows.column_names else [1.0] * len(rows)
    drawn: dict[str, float] = {}
    for label, often in zip(rows["label"], times, strict=True):
        drawn[_label(label)] = drawn.get(_label(label), 0.0) + often
    return drawn


def _label(cell: Any) -> str:
    if isinstance(cell, list):
        raise BadCorpus(f"the label {cell} is a list: use the head multi-label, or give each row one label")
    return str(cell)


def _where(rows: Dataset, label: str, count: int) -> str:
    """Count the rows that have a label, and find the first."""
    first = next(number for number, value in enumerate(rows["label"]) if str(value) == label)
    origin = f" ({rows[first]['origin']})" if "origin" in rows.column_names else ""
    return f"{'' if count == 1 else f'{count:,} rows, the first is '}row {first}{origin}"
