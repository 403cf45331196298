"""Make an encoder's attention masks that keep each document of a block to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")

LENGTH = 8  # tokens of each of the two documents that are tried
TOLERANCE = 1e-3


def document_masks(config: Any, positions: Tensor, embeddings: Tensor) -> dict[str, Any]:
    """Return the masks of packed blocks by type of layer, as a ModernBERT takes them, in the form its attention needs.

    `positions` (blocks, block) begin at 0 in each document. `embeddings` (blocks, block, width) give dtype and device
    alone. Transformers finds packed documents by their positions in causal models, and not in encoders.
    """
    from transformers.masking_utils import (
        create_bidirectional_mask,
        create_bidirectional_sliding_window_mask,
        packed_sequence_mask_function,
    )

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


def keeps_apart(model: Any) -> bool:
    """Return whether a causal model computes a document after another one in a block as it does alone.

    Those that find documents by their positions do. One with a state, or with positions of its own making, doesn't.
    """
    tokens = torch.arange(2 * LENGTH)[None] % model.config.get_text_config().vocab_size
    positions = torch.arange(LENGTH).repeat(2)[None]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            together = model(input_ids=tokens, position_ids=positions, use_cache=False).logits[0, LENGTH:]
            alone = model(input_ids=tokens[:, LENGTH:], position_ids=positions[:, LENGTH:], use_cache=False).logits[0]
    except TypeError:  # it takes no positions
        return False
    finally:
        model.train(training)
    return bool(torch.allclose(together, alone, atol=TOLERANCE))
