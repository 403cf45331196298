"""Pad batches with the token that the model takes for padding, whatever a base's files say of it.

A decoder's classifier reads the last token that is not `config.pad_token_id`. Where the tokenizer pads with another
one, it reads padding, and a row's answer depends on the batch that it is in.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import WrongBase
from adapterhub_fin.plugin.backbone import unwrapped

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def padding(tokenizer: PreTrainedTokenizerBase, rows: int | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer where it pads on the right with a token of its own, else a copy that does.

    `rows` are those of the base's embedding, among which the token must be. Raises WrongBase where none will do.
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
    """Return how many tokens a base embeds, by its configuration."""
    return next((size for each in _parts(config) if isinstance(size := getattr(each, "vocab_size", None), int)), None)


def align_padding(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tell a model of ours for good which token pads."""
    for config in _parts(getattr(unwrapped(model), "config", None)):
        config.pad_token_id = tokenizer.pad_token_id


@contextmanager
def aligned_padding(model: nn.Module, token: int | None) -> Iterator[None]:
    """Tell a model that others may share which token pads, for one block; what it took for padding comes back."""
    parts = [] if token is None else _parts(getattr(unwrapped(model), "config", None))  # a plain module has none
    before = [config.pad_token_id for config in parts]
    try:
        for config in parts:
            config.pad_token_id = token
        yield
    finally:
        for config, its in zip(parts, before, strict=True):
            config.pad_token_id = its


def _parts(config: Any) -> list[Any]:
    """Return the configuration and, where it holds one, the text model's, of which a head may read either."""
    try:
        text = config.get_text_config()
    except (AttributeError, ValueError):  # a plain module's, or one with several texts, which no head of ours reads
        text = config
    return [each for each in ((config,) if text is config else (text, config)) if hasattr(each, "pad_token_id")]
