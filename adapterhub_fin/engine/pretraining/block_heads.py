"""Define the loss of pretraining: the mean over the tokens that a block asks for, in nats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.plugin.examples import IGNORED
from adapterhub_fin.plugin.heads import HeadImplementation

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel
else:
    np, torch = Lazy("numpy"), Lazy("torch")


class BlockHead(HeadImplementation):
    """Compare logits (blocks, block, vocabulary) with labels (blocks, block), position by position.

    Both kinds of base are measured so: the labels are the next tokens, or those that were masked.
    """

    task = None
    selects_on = "loss"

    def __init__(self, options: Any = None) -> None:
        self.options = options

    def target(self, row: Mapping[str, Any]) -> Any:
        """Return nothing: blocks bring their labels."""
        return None

    def loss(self, outputs: Any, labels: Any) -> Tensor:
        """Return the mean loss of the labelled tokens, a scalar; 0 where there is none."""
        return self._losses(outputs.logits, labels).sum() / self.weight(labels).clamp(min=1)

    def decide(self, answers: np.ndarray) -> Any:
        """Return the answers as they are, (rows, 2)."""
        return answers

    def predictions(self, answers: Tensor) -> Sequence[Any]:
        """Return each block's loss and number of tokens, one pair a row of (rows, 2)."""
        return list(answers)

    def check(self, config: PretrainedConfig) -> None:
        """Accept every base."""
        return

    def fit_labels(self, rows: Any) -> None:
        """Take nothing from the rows."""
        return

    def set_labels(self, labels: Sequence[str] | None) -> None:
        """Take no labels."""
        return

    def load_model(self, folder: str, **loading: Any) -> tuple[PreTrainedModel, Sequence[str]]:
        """Return the model with the layer that predicts tokens; its file holds all of it."""
        from adapterhub_fin.engine.pretraining.architecture import model_class

        config, info = model_class(folder), {"output_loading_info": True}
        model, found = config.from_pretrained(folder, **info, **loading)
        return model, sorted(found["missing_keys"])

    def skeleton(self, config: PretrainedConfig) -> PreTrainedModel:
        """Return the same model without values."""
        from adapterhub_fin.engine.pretraining.architecture import class_for

        model: PreTrainedModel = class_for(config).from_config(config)
        return model

    def answers(self, logits: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Return the sum of each block's losses and the number of its labels, (blocks, 2)."""
        labels = inputs["labels"]
        losses = self._losses(logits, labels).double().sum(-1)
        return torch.stack([losses, (labels != IGNORED).sum(-1).double()], -1)

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each token, (blocks, block), 0 where there is no label."""
        flat = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.to(logits.device).flatten(), ignore_index=IGNORED, reduction="none"
        )
        return flat.view(labels.shape)


def mean_loss(answers: Any) -> dict[str, float]:
    """Return the mean loss of a token over all blocks, of the Trainer's predictions (blocks, 2)."""
    losses, tokens = np.asarray(answers.predictions).sum(0)
    return {"loss": float(losses / tokens)}
