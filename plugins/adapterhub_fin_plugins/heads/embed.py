"""A vector for a text, from hidden states; for inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    from torch import Tensor


class Embed:
    """Pools one layer's hidden states over the tokens of each text."""

    def __init__(self, options: Any) -> None:
        self.options = options

    def pool(self, states: Sequence[Tensor], mask: Tensor) -> Tensor:
        """(rows, hidden) from each layer's (rows, tokens, hidden) and the mask of real tokens, on either side."""
        if not -len(states) <= self.options.layer < len(states):
            raise BadRecipe(
                f"there is no layer {self.options.layer}: the base has {len(states) - 1}, and 0 for embeddings"
            )
        hidden = states[self.options.layer].float()
        vectors: Tensor = getattr(self, f"_{self.options.pooling}")(hidden, mask.to(hidden.dtype))
        if not self.options.normalize:
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

        return hidden[torch.arange(len(hidden)), mask.argmax(1)]

    def _last(self, hidden: Tensor, mask: Tensor) -> Tensor:
        import torch

        places = torch.arange(mask.shape[1], device=mask.device)
        return hidden[torch.arange(len(hidden)), (mask * (places + 1)).argmax(1)]
