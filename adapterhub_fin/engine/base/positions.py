"""Find the longest text that a base's position embeddings allow."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# The function with which RoBERTa and its relatives number tokens, starting after the index of padding.
_PAST_PADDING = "create_position_ids_from_input_ids"


def position_limit(config: PretrainedConfig) -> int | None:
    """Return the number of tokens that a base has positions for, or None if it sets no limit.

    RoBERTa's 514 positions hold 512 tokens, since it numbers them from 2 on, after the index of padding, 1.
    """
    text: Any = config.get_text_config()
    limit: int | None = getattr(text, "max_position_embeddings", None)
    if limit is None or limit < 0:  # XLNet and DeBERTa write -1 for relative positions
        return None
    padding = getattr(text, "pad_token_id", None)
    return limit - padding - 1 if padding is not None and _starts_past_padding(text) else limit


def _starts_past_padding(config: Any) -> bool:
    from transformers import MODEL_MAPPING

    model: Any = MODEL_MAPPING.get(type(config), None)
    module = inspect.getmodule(model) if model is not None else None
    if module is None:
        return False
    classes = (cls for _, cls in inspect.getmembers(module, inspect.isclass))
    return hasattr(module, _PAST_PADDING) or any(hasattr(cls, _PAST_PADDING) for cls in classes)
