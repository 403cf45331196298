"""Estimate a number for a text: a sequence classifier with one output, or a small network on it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adapterhub_fin.plugin import AnswerForm, BadCorpus, BadRecipe, Estimate, SequenceHead
from adapterhub_fin_plugins.heads.pooling import read_mean, renamed
from adapterhub_fin_plugins.metrics import alike

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel


class Regress(SequenceHead):
    """Estimate centre + scale * output, trained on standardised targets."""

    selects_on = "r2"
    baseline = "ridge"

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.centre: float | None = options.centre if options.standardize else 0.0
        self.scale: float | None = options.scale if options.standardize else 1.0

    def fit_labels(self, rows: Dataset) -> None:
        targets = np.array([_figure(value) for value in rows["target"]])
        if alike(targets):
            raise BadCorpus(f"the training targets are all {targets[0]}: there is nothing to learn")
        largest = np.abs(targets).max()  # by which they are divided, so that no sum overflows and no square vanishes
        centre = float(largest * np.mean(targets / largest))
        apart = targets - centre
        width = np.abs(apart).max()
        self.centre = centre if self.centre is None else self.centre
        self.scale = float(width * np.sqrt(np.mean((apart / width) ** 2))) if self.scale is None else self.scale
        self._check_scale(targets)

    def _check_scale(self, targets: NDArray[np.float64]) -> None:
        """Raise BadCorpus where targets are too large or too alike for what a model answers, which is float32."""
        labels = self._standardized(targets)
        if not np.isfinite(labels).all() or alike(labels):
            centre, scale = self.output_scale()
            raise BadCorpus(
                f"the training targets, from {targets.min():g} to {targets.max():g}, can't be told apart in float32 as "
                f"(target - {centre:g}) / {scale:g}: leave head.standardize, centre and scale as they are by default"
            )

    def fitted_options(self) -> Mapping[str, Any]:
        return {"centre": self.centre, "scale": self.scale} if self.options.standardize else {}

    def set_labels(self, labels: Sequence[str] | None) -> None:
        self.centre = 0.0 if self.centre is None else self.centre
        self.scale = 1.0 if self.scale is None else self.scale

    def output_scale(self) -> tuple[float, float]:
        assert self.centre is not None and self.scale is not None, "fit_labels or set_labels comes first"
        return self.centre, self.scale

    def with_output_scale(self, centre: float, scale: float) -> Mapping[str, Any]:
        return {"standardize": True, "centre": centre, "scale": scale}

    def outputs(self) -> Collection[str]:
        outputs = super().outputs()
        if self.options.network == "mlp":  # which stands in the place of a last layer, and ends with its third part
            outputs = frozenset(f"{layer}.2.{end}" for layer, _, end in (name.rpartition(".") for name in outputs))
        return renamed(outputs) if self.options.pooling == "mean" else outputs

    def model_fields(self) -> Mapping[str, Any]:
        return {"num_labels": 1, "problem_type": "regression", "id2label": {0: "value"}}

    def finish_model(self, model: PreTrainedModel, missing: Sequence[str]) -> Sequence[str]:
        if self.options.network == "mlp":
            name = self._put_network(model)
            fresh = {f"{name}.{inner}" for inner, _ in model.get_submodule(name).named_parameters()}
            missing = sorted({key for key in missing if not key.startswith(f"{name}.")} | fresh)
        return read_mean(model, missing) if self.options.pooling == "mean" else missing

    def _put_network(self, model: PreTrainedModel) -> str:
        """Put two layers in place of the last; return the name of the module they stand in."""
        from torch import nn

        from adapterhub_fin.plugin import outside_backbone

        for name in reversed(outside_backbone(model)):
            last = getattr(model, name)
            if isinstance(last, nn.Linear):
                width = self.options.hidden or last.in_features
                network = nn.Sequential(nn.Linear(last.in_features, width), nn.GELU(), nn.Linear(width, 1))
                setattr(model, name, network.to(last.weight.device, last.weight.dtype))
                return name
        raise BadRecipe(f"head.network mlp needs a base whose head is one linear layer, unlike {type(model).__name__}")

    def target(self, row: Mapping[str, Any]) -> float:
        centre, scale = self.output_scale()
        return (_figure(row["target"]) - centre) / scale

    def _standardized(self, targets: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the labels of targets as a batch holds them."""
        centre, scale = self.output_scale()
        with np.errstate(over="ignore"):  # what overflows is infinite, and looked for
            labels: NDArray[np.float32] = ((targets - centre) / scale).astype(np.float32)
        return labels

    def undefined_metrics(self, rows: Dataset) -> Mapping[str, str]:
        targets = np.array([_figure(value) for value in rows["target"]])
        if not alike(self._standardized(targets)):
            return {}
        return dict.fromkeys(("r2", "spearman"), f"all {len(targets)} targets are {targets[0]}")

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        from torch.nn.functional import huber_loss, mse_loss

        predicted = outputs.logits[:, 0].float()
        if self.options.loss == "huber":
            return huber_loss(predicted, labels.float())
        return mse_loss(predicted, labels.float())

    def truth(self, labels: np.ndarray) -> np.ndarray:
        centre, scale = self.output_scale()
        figures: np.ndarray = centre + scale * labels.astype(np.float64)  # float32 would round a figure far from zero
        return figures

    def decide(self, answers: np.ndarray) -> np.ndarray:
        return self.truth(answers[:, 0])

    def answer_form(self) -> AnswerForm:
        centre, scale = self.output_scale()
        return AnswerForm("linear", centre=centre, scale=scale)

    def predictions(self, answers: Tensor) -> Sequence[Estimate]:
        centre, scale = self.output_scale()
        return [Estimate(centre + scale * value) for value in answers[:, 0].tolist()]


def _figure(value: Any) -> float:
    try:
        figure = float(value)
    except (TypeError, ValueError):
        raise BadCorpus(f"the target {value!r} is no number") from None
    if not math.isfinite(figure):
        raise BadCorpus(f"the target {value!r} is not finite")
    return figure
