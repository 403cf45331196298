"""Give a text any number of labels: one yes or no for each, on Transformers' sequence-classification models."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import AnswerForm, BadCorpus, BadManifest, BadRecipe, LabelSet, SequenceHead
from adapterhub_fin_plugins.heads.pooling import read_mean, renamed

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel

DEFAULT = 0.5  # the threshold of a label of which validation has no row


class MultiLabel(SequenceHead):
    """Choose each label by a sigmoid and a threshold, trained by binary cross-entropy."""

    selects_on = "macro_f1"

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.labels: tuple[str, ...] | None = options.labels
        self.calibrates = options.threshold == "fit"
        self.weights: Tensor | None = None  # of each label's positive rows in the loss; of training alone
        self.fitted: dict[str, float] | None = None  # thresholds by label
        self._check_names("threshold", options.threshold, options.labels)

    def fit_labels(self, rows: Dataset) -> None:
        counts = Counter(label for cell in rows["label"] for label in _labels(cell))
        if self.labels is None:
            self.labels = tuple(sorted(counts))
        elif unknown := sorted(set(counts) - set(self.labels)):
            raise BadCorpus(
                f"the training rows hold the label {unknown[0]!r}, which head.labels does not list: add it, or drop "
                "those rows"
            )
        for option in ("threshold", "weights"):
            self._check_names(option, getattr(self.options, option), self.labels)
        self.weights = self._positive_weights(counts, len(rows))

    def _check_names(self, option: str, setting: Any, labels: Sequence[str] | None) -> None:
        """Raise BadRecipe where an option gives a number to other labels than the head's."""
        if isinstance(setting, Mapping) and labels is not None and set(setting) != set(labels):
            raise BadRecipe(f"head.{option} names {', '.join(sorted(setting))}; the labels are {', '.join(labels)}")

    def _positive_weights(self, counts: Mapping[str, int], rows: int) -> Tensor | None:
        setting = self.options.weights
        if setting is None:
            return None
        import torch

        if setting == "balanced":
            if bare := [label for label in self._names() if not 0 < counts.get(label, 0) < rows]:
                raise BadCorpus(
                    f"the label {bare[0]!r} applies to {counts.get(bare[0], 0)} of {rows} training rows, so that no "
                    "balance gives it a weight"
                )
            return torch.tensor([(rows - counts[label]) / counts[label] for label in self._names()])
        return torch.tensor([float(setting[label]) for label in self._names()])

    def set_labels(self, labels: Sequence[str] | None) -> None:
        if not labels:
            raise BadManifest("a multi-label head needs its labels, and the manifest holds none")
        super().set_labels(labels)

    def calibrate(self, answers: np.ndarray, truth: np.ndarray) -> None:
        columns = zip(self._names(), answers.T.tolist(), truth.T.tolist(), strict=True)
        self.fitted = {label: _best_threshold(logits, applies) for label, logits, applies in columns}

    def fitted_options(self) -> Mapping[str, Any]:
        return {} if self.fitted is None else {"threshold": self.fitted}

    def _names(self) -> tuple[str, ...]:
        assert self.labels is not None, "fit_labels or set_labels comes first"
        return self.labels

    def _thresholds(self) -> list[float]:
        """Return the probability from which each label applies."""
        setting = self.fitted or self.options.threshold
        if setting == "fit":  # not fitted yet: training picks its checkpoint by the default
            setting = DEFAULT
        return [setting[name] if isinstance(setting, Mapping) else setting for name in self._names()]

    def _limits(self) -> list[float]:
        """Return each label's threshold, as a logit."""
        return [math.log(value / (1 - value)) for value in self._thresholds()]

    def model_fields(self) -> Mapping[str, Any]:
        names = self._names()
        return {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: number for number, name in enumerate(names)},
            "problem_type": "multi_label_classification",
        }

    def finish_model(self, model: PreTrainedModel, missing: Sequence[str]) -> Sequence[str]:
        return read_mean(model, missing) if self.options.pooling == "mean" else missing

    def outputs(self) -> Collection[str]:
        return renamed(super().outputs()) if self.options.pooling == "mean" else super().outputs()

    def decided_by(self) -> Mapping[str, Any]:
        return {"threshold": self.options.threshold}

    def target(self, row: Mapping[str, Any]) -> list[float]:
        labels = _labels(row["label"])
        if unknown := sorted(labels - set(self._names())):
            raise BadCorpus(f"the label {unknown[0]!r} is not among the head's: {', '.join(self._names())}")
        return [float(name in labels) for name in self._names()]

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits

        logits = outputs.logits.float()
        weights = None if self.weights is None else self.weights.to(logits.device)
        return binary_cross_entropy_with_logits(logits, labels.float(), pos_weight=weights)

    def truth(self, labels: np.ndarray) -> np.ndarray:
        return labels.astype(bool)

    def decide(self, answers: np.ndarray) -> np.ndarray:
        """Return which labels apply, (rows, labels)."""
        applies: np.ndarray = answers >= self._limits()
        return applies

    def answer_form(self) -> AnswerForm:
        return AnswerForm("sigmoid", labels=self._names(), thresholds=tuple(self._thresholds()))

    def predictions(self, answers: Tensor) -> Sequence[LabelSet]:
        names, limits = self._names(), self._limits()
        return [
            LabelSet(
                tuple(name for name, logit, limit in zip(names, logits, limits, strict=True) if logit >= limit),
                dict(zip(names, scores, strict=True)),
            )
            for logits, scores in zip(answers.double().tolist(), answers.sigmoid().tolist(), strict=True)
        ]


def _labels(cell: Any) -> set[str]:
    """Return the labels of a cell: those of a list, or one."""
    return set(map(str, cell)) if isinstance(cell, list) else {str(cell)}


def _best_threshold(logits: Sequence[float], applies: Sequence[bool]) -> float:
    """Return the probability above which F1 is best, midway between two answers; 0.5 without a positive row."""
    if not any(applies):
        return DEFAULT
    ordered = sorted(zip(logits, applies, strict=True), reverse=True)
    best, limit, right = -1.0, 0.0, 0
    for count, (logit, positive) in enumerate(ordered, start=1):
        right += bool(positive)
        following = ordered[count][0] if count < len(ordered) else logit - 1
        f1 = 2 * right / (count + sum(applies))
        if following < logit and f1 > best:
            best, limit = f1, (logit + following) / 2
    return min(max(1 / (1 + math.exp(-limit)), 1e-6), 1 - 1e-6)
