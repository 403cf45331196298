"""Define what heads answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

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


@dataclass(frozen=True)
class AnswerForm:
    """Say how a row of outputs becomes an answer, for programs that run an exported graph without the head.

    `softmax`: probabilities of the labels, of which the largest is the answer. `sigmoid`: a probability of each label,
    which applies from its threshold on. `linear`: the number centre + scale * output. `vector`: the outputs themselves.
    With `mean` and `sd`, the model also reads `features`: (number - mean) / sd of each, 0 for one that is missing or
    whose sd is 0, and then 1 for each such number and 0 for the others.
    """

    kind: Literal["softmax", "sigmoid", "linear", "vector"]
    labels: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    centre: float = 0.0
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()
