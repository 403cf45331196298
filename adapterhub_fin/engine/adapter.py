"""A loaded adapter: predict, embed, and the model and manifest behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adapterhub_fin.engine.pin import backbone
from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.interfaces import HeadImplementation, MethodImplementation
    from adapterhub_fin_registry import Manifest, Version


@dataclass(frozen=True)
class Adapter:
    """A version on a model, ready to answer; other adapters may share the model."""

    version: Version
    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    method: MethodImplementation
    head: HeadImplementation | None
    slot: str
    max_length: int

    @property
    def manifest(self) -> Manifest:
        return self.version.manifest

    @property
    def reference(self) -> str:
        """Name and number, as in `acme/tone@3`."""
        return self.version.reference

    def __repr__(self) -> str:
        return f"Adapter({self.reference}, {self.manifest.method.name} on {self.manifest.base.repository})"

    def logits(self, texts: Sequence[str], batch_size: int = 32) -> Tensor:
        """Raw outputs of the head, (texts, outputs), float32 on the CPU, in the order given."""
        if self.head is None:
            raise BadRecipe(f"{self.reference} has no head to predict with; use embed")

        def outputs(batch: dict[str, Tensor]) -> Tensor:
            found: Tensor = self.model(**batch).logits
            return found

        return self._batched(texts, batch_size, outputs)

    def predict(self, texts: Sequence[str], batch_size: int = 32) -> Sequence[Any]:
        """One typed answer for each text, in the order given."""
        if isinstance(texts, str):
            raise BadRecipe("predict takes a list of texts: predict([text])")
        if not len(texts):
            return []
        if self.head is None:
            raise BadRecipe(f"{self.reference} has no head to predict with; use embed")
        return self.head.predictions(self.logits(texts, batch_size))

    def embed(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """Mean of the last hidden states over each text's tokens: (texts, hidden), float32."""
        if isinstance(texts, str):
            raise BadRecipe("embed takes a list of texts: embed([text])")

        def mean(batch: dict[str, Tensor]) -> Tensor:
            hidden: Tensor = backbone(self.model)(**batch).last_hidden_state.float()
            mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)

        return self._batched(texts, batch_size, mean).numpy()

    def _batched(self, texts: Sequence[str], batch_size: int, answer: Callable[[dict[str, Tensor]], Tensor]) -> Tensor:
        """Answers in batches of like length, which spares padding, put back in order."""
        if not len(texts):
            return torch.empty(0, 0)
        encoded = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: (len(encoded[i]), i))
        device = next(self.model.parameters()).device
        answers: list[Tensor] = [torch.empty(0)] * len(texts)
        with self._answering():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = self.tokenizer.pad({"input_ids": [encoded[i] for i in rows]}, return_tensors="pt").to(device)
                for row, value in zip(rows, answer(dict(batch)).float().cpu(), strict=True):
                    answers[row] = value
        return torch.stack(answers)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """This slot active, in evaluation mode, without gradients; the model's own mode comes back."""
        training = self.model.training
        self.method.activate(self.model, self.slot)
        self.model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.model.train(training)
