"""Describe the parameters that an adapter adds to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from adapterhub_fin.errors import BadMerge

Kind = Literal["linear", "embedding", "convolution", "bias"]


@dataclass(frozen=True)
class AdaptedParameter:
    """Represent a parameter that an adapter adds to; `module` is relative to the model, as in `bert.pooler.dense`."""

    module: str
    kind: Kind
    shape: tuple[int, ...]  # (out, in), also of a Conv1D; (tokens, size); (out, in, *kernel); of a bias (out,)

    @property
    def name(self) -> str:
        """Return the parameter's name in the model."""
        return f"{self.module}.{'bias' if self.kind == 'bias' else 'weight'}"

    @property
    def matrix(self) -> tuple[int, int]:
        """Return the shape of its change as a matrix: the first size, and the product of the others."""
        return self.shape[0], math.prod(self.shape[1:])


def check_one_lora(parameters: Mapping[str, AdaptedParameter]) -> None:
    """Raise BadMerge where no single LoRA of PEFT can adapt all these parameters."""
    kinds = {parameter.kind: name for name, parameter in parameters.items()}
    if "bias" in kinds and "embedding" in kinds:
        raise BadMerge(
            f"{kinds['bias']} and {kinds['embedding']} can't be in one LoRA: PEFT has no lora_bias with an "
            "embedding; merge adapters without one of them"
        )
