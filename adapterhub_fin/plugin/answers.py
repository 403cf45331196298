"""Define what heads answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Prediction:
    """Hold the class of one text; `scores` are probabilities by label and sum to one."""

    label: str
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class LabelSet:
    """Hold the labels that apply to one text, maybe none; `scores` are their probabilities, each by itself."""

    labels: tuple[str, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Estimate:
    """Hold a number for one text, in the units of the training rows' target."""

    value: float


@dataclass(frozen=True)
class Likelihood:
    """Hold a language model's loss on one text: mean a token (nats), its exponential, and the tokens counted."""

    loss: float
    perplexity: float
    tokens: int


@dataclass(frozen=True)
class Vector:
    """Hold the embedding of one text; numpy makes an array of it, and a matrix of a list of them."""

    values: tuple[float, ...]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the values as an array (hidden,), float32 unless `dtype` says otherwise."""
        import numpy as np

        return np.array(self.values, dtype=dtype or np.float32)

    def __len__(self) -> int:
        return len(self.values)
