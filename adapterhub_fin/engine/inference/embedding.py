"""Make one vector of a text's hidden states; the options import no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.options import Options

if TYPE_CHECKING:
    from torch import Tensor


class Embedding(Options):
    """Say which hidden states make the vector, and how."""

    pooling: Literal["mean", "first", "last", "max"] = Field(
        "mean", description="Over a text's tokens: their mean, the first, the last, or the largest of each dimension."
    )
    layer: int = Field(-1, description="Which states: 0 is the embeddings, -1 the last layer.")
    normalize: bool = Field(False, description="Scale every vector to length one.")

    def pool(self, states: Sequence[Tensor], mask: Tensor) -> Tensor:
        """Pool each layer's (rows, tokens, hidden), by the mask of real tokens on either side, into (rows, hidden).

        Raises BadRecipe for a layer that the base does not have.
        """
        if not -len(states) <= self.layer < len(states):
            raise BadRecipe(f"there is no layer {self.layer}: the base has {len(states) - 1}, and 0 for embeddings")
        hidden = states[self.layer].float()
        vectors: Tensor = getattr(self, f"_{self.pooling}")(hidden, mask.to(hidden.dtype))
        if not self.normalize:
            return vectors
        from torch.nn.functional import normalize

        return normalize(vectors, dim=-1)

    def _mean(self, hidden: Tensor, mask: Tensor) -> Tensor:
        weights = mask.unsqueeze(-1)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)

    def _max(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)

    def _first(self, hidden: Tensor, mask: Tensor) -> Tensor:
        import torch

        # `shape`, since `len` fixes the number of rows where the model is traced.
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), mask.argmax(1)]

    def _last(self, hidden: Tensor, mask: Tensor) -> Tensor:
        import torch

        positions = torch.arange(mask.shape[1], device=mask.device)
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        return hidden[rows, (mask * (positions + 1)).argmax(1)]
