"""Make an encoder's attention masks that keep each document of a block to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers.masking_utils import (
    create_bidirectional_mask,
    create_bidirectional_sliding_window_mask,
    packed_sequence_mask_function,
)

if TYPE_CHECKING:
    from torch import Tensor


def document_masks(config: Any, positions: Tensor, embeddings: Tensor) -> dict[str, Any]:
    """Return the masks of packed blocks by type of layer, as a ModernBERT takes them, in the form its attention needs.

    `positions` (blocks, block) begin at 0 in each document. `embeddings` (blocks, block, width) give dtype and device
    alone. Transformers finds packed documents by their positions in causal models, and not in encoders.
    """
    documents = (positions == 0).cumsum(-1)
    made: dict[str, Any] = {
        "config": config,
        "inputs_embeds": embeddings,
        "attention_mask": None,
        "and_mask_function": packed_sequence_mask_function(documents),
    }
    return {
        "full_attention": create_bidirectional_mask(**made),
        "sliding_attention": create_bidirectional_sliding_window_mask(**made),
    }
