"""Answer about a text and the numbers beside it: down, flat or up, or a number."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from adapterhub_fin.plugin import AnswerForm, BadCorpus, Estimate, Prediction, SequenceHead
from adapterhub_fin_markets.features.targets import fit_flat
from adapterhub_fin_markets.heads.standardize import fit_mean_and_sd, number, numbers_of, standardized

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DIRECTIONS: Final = ("down", "flat", "up")


class Fusion(SequenceHead):
    """Read a text's state beside standardised numbers: Linear, LayerNorm, GELU and dropout, then one layer for both.

    Mean and standard deviation are those of the training rows, and are stored with the version. A number that is
    missing is read as the mean, with a bit that says so.
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        directed = options.answer == "direction"
        self.labels = DIRECTIONS if directed else None
        self.num_outputs = len(DIRECTIONS) if directed else 1
        self.selects_on = "macro_f1" if directed else "r2"
        self.metrics = ("classification",) if directed else ("regression",)
        self._fitted: dict[str, Any] = {
            name: getattr(options, name)
            for name in ("mean", "sd", "flat_below", "centre", "scale")
            if getattr(options, name) is not None
        }

    # What is fitted to the training rows

    def fit_labels(self, rows: Dataset) -> None:
        fitted: dict[str, Any] = {}
        if self.options.reads != "text":
            if "features" not in rows.column_names:
                raise BadCorpus("the head fusion reads numbers, and the corpus has no column features: name them there")
            fitted["mean"], fitted["sd"] = fit_mean_and_sd(rows["features"])
        targets = np.array([number(value) for value in rows["target"]])
        if targets.size and (targets == targets[0]).all():
            raise BadCorpus(f"the training targets are all {targets[0]}: there is nothing to learn")
        if self.labels is not None:
            fitted["flat_below"] = fit_flat(targets, self.options.flat)
        else:
            fitted["centre"], fitted["scale"] = float(targets.mean()), float(targets.std())
        self._fitted = fitted | self._fitted

    def fitted_options(self) -> Mapping[str, Any]:
        return dict(self._fitted)

    def set_labels(self, labels: Sequence[str] | None) -> None:
        """Keep what the options say: the labels are always the same three, or none."""

    def outputs(self) -> Collection[str]:
        """Return nothing: rows of the last layer belong to numbers of one scale each, so other heads are refused."""
        return ()

    @property
    def averages(self) -> bool:
        return bool(self.options.reads == "text")  # the layer that reads the numbers is not linear

    def decided_by(self) -> Mapping[str, Any]:
        return dict(self._fitted)

    # The model

    @property
    def _count(self) -> int:
        """Return how many numbers a row has; 0 where none is read."""
        return 0 if self.options.reads == "text" else len(self._fitted.get("mean", ()))

    def model_fields(self) -> Mapping[str, Any]:
        if self.labels is None:
            return {"num_labels": 1, "problem_type": "regression", "id2label": {0: "value"}}
        return {"num_labels": len(self.labels), "id2label": dict(enumerate(self.labels))}

    def finish_model(self, model: PreTrainedModel, missing: Sequence[str]) -> Sequence[str]:
        from adapterhub_fin_markets.heads.fused import fuse

        return fuse(model, missing, self._count, self.options)

    # Batches

    def target(self, row: Mapping[str, Any]) -> Any:
        value = number(row["target"])
        if self.labels is None:
            return (value - self._fitted["centre"]) / self._fitted["scale"]
        return 1 if abs(value) <= self._fitted["flat_below"] else 2 if value > 0 else 0

    def encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Sequence[dict[str, Any]]:
        """Return the tokens, the numbers and the target of each row. Raises BadCorpus for one that can't be read."""
        examples = super().encode(rows, tokenizer, max_length)
        return self._with_numbers(examples, rows)

    def encode_inputs(
        self, rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Sequence[dict[str, Any]]:
        """Return the tokens and the numbers of rows. Raises BadCorpus for a row without its numbers."""
        return self._with_numbers(super().encode_inputs(rows, tokenizer, max_length), rows)

    def _with_numbers(self, examples: Sequence[dict[str, Any]], rows: Any) -> list[dict[str, Any]]:
        if not self._count:
            return list(examples)
        mean, sd = self._fitted["mean"], self._fitted["sd"]
        return [
            {**example, "features": standardized(numbers_of(row, index, self._count), mean, sd)}
            for index, (example, row) in enumerate(zip(examples, rows, strict=True))
        ]

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        import torch

        pad = super().collator(tokenizer)

        def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
            texts = [{name: value for name, value in example.items() if name != "features"} for example in examples]
            batch = dict(pad(texts))
            if self._count:
                batch["features"] = torch.tensor([example["features"] for example in examples], dtype=torch.float32)
            return batch

        return collate

    # Loss and answers

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy, mse_loss

        if self.labels is not None:
            return cross_entropy(outputs.logits.float(), labels)
        return mse_loss(outputs.logits[:, 0].float(), labels.float())

    def truth(self, labels: Any) -> Any:
        """Return class numbers, or targets in their own units, (rows,)."""
        if self.labels is not None:
            return labels
        return self._fitted["centre"] + self._fitted["scale"] * labels.astype(np.float64)

    def decide(self, answers: np.ndarray) -> Any:
        return answers.argmax(-1) if self.labels is not None else self.truth(answers[:, 0])

    def answer_form(self) -> AnswerForm:
        mean, sd = (tuple(self._fitted[name]) if self._count else () for name in ("mean", "sd"))
        if self.labels is not None:
            return AnswerForm("softmax", labels=tuple(self.labels), mean=mean, sd=sd)
        centre, scale = self._fitted["centre"], self._fitted["scale"]
        return AnswerForm("linear", centre=centre, scale=scale, mean=mean, sd=sd)

    def predictions(self, answers: Tensor) -> Sequence[Any]:
        if self.labels is None:
            centre, scale = self._fitted["centre"], self._fitted["scale"]
            return [Estimate(centre + scale * value) for value in answers[:, 0].tolist()]
        return [
            Prediction(DIRECTIONS[row.index(max(row))], max(row), dict(zip(DIRECTIONS, row, strict=True)))
            for row in answers.softmax(-1).tolist()
        ]
