"""Make a tokenizer and a model agree on the padding token, whatever a base's files say.

A decoder's classifier reads the last token that is not `config.pad_token_id`. If the tokenizer pads with another token,
the classifier reads padding, and a row's answer depends on its batch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import WrongBase
from adapterhub_fin.plugin.model_parts import unwrapped

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def padding(tokenizer: PreTrainedTokenizerBase, rows: int | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer if it pads on the right with a token that the base embeds, else a copy that does.

    `rows` is the number of tokens that the base embeds. Raises WrongBase if neither the padding, nor the end-of-text,
    nor the unknown token will do.
    """
    if _embedded(tokenizer.pad_token_id, rows) and tokenizer.padding_side == "right":
        return tokenizer
    own = copy.deepcopy(tokenizer)  # the caller's stays as it is
    own.padding_side = "right"
    tokens: dict[str | None, Any] = {name: getattr(own, f"{name}_token_id") for name in ("pad", "eos", "unk")}
    name = next((name for name, number in tokens.items() if _embedded(number, rows)), None)
    if name is None:
        raise WrongBase("the tokenizer has no token to pad with, nor an end of text: set its pad_token")
    own.pad_token = getattr(own, f"{name}_token")
    return own


def _embedded(token: int | None, rows: int | None) -> bool:
    return token is not None and (rows is None or token < rows)


def rows_of(config: PretrainedConfig) -> int | None:
    """Return how many tokens a base embeds, by its configuration; None if that doesn't say."""
    return next((size for part in _parts(config) if isinstance(size := getattr(part, "vocab_size", None), int)), None)


def align_padding(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
    """Set a model's padding token to the tokenizer's, for good; see `aligned_padding` for a shared model."""
    for config in _parts(getattr(unwrapped(model), "config", None)):
        config.pad_token_id = tokenizer.pad_token_id


@contextmanager
def aligned_padding(model: nn.Module, token: int | None) -> Iterator[None]:
    """Set the padding token of a model that may be shared for one block, and restore it afterwards."""
    parts = [] if token is None else _parts(getattr(unwrapped(model), "config", None))  # a plain module has none
    before = [config.pad_token_id for config in parts]
    try:
        for config in parts:
            config.pad_token_id = token
        yield
    finally:
        for config, pad_token_id in zip(parts, before, strict=True):
            config.pad_token_id = pad_token_id


def _parts(config: Any) -> list[Any]:
    """Return the text model's configuration, if there is one, and the whole one: a head may read either."""
    try:
        text = config.get_text_config()
    except (AttributeError, ValueError):  # a plain module's, or one with several text models, which no head reads
        text = config
    return [part for part in ((config,) if text is config else (text, config)) if hasattr(part, "pad_token_id")]
