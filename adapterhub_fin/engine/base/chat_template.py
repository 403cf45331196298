"""Give a tokenizer the chat template of the head that reads with it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.head_bases import CausalHead

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.plugin.heads import HeadImplementation


def with_chat_template(tokenizer: PreTrainedTokenizerBase, head: HeadImplementation | None) -> PreTrainedTokenizerBase:
    """Return the tokenizer as a head reads conversations with it; a copy where the head brings its own template.

    Other adapters may read with the tokenizer that was given.
    """
    if head is None or head.chat_template is None:
        return tokenizer
    own: Any = copy.copy(tokenizer)
    own.chat_template = head.chat_template or None
    return own  # type: ignore[no-any-return]


def renders_by_base(head: HeadImplementation | None) -> bool:
    """Return whether a head writes conversations as the base's tokenizer does, whose template then matters."""
    return isinstance(head, CausalHead) and head.chat_template is None


def check_chat_template(tokenizer: PreTrainedTokenizerBase, head: HeadImplementation) -> None:
    """Raise BadRecipe for a head that brings a template to a base that has another, unless it says that it replaces it.

    Called before training; a version's template holds wherever the version is loaded.
    """
    if head.chat_template is None or tokenizer.chat_template in (None, head.chat_template):
        return
    if not head.replaces_chat_template:
        raise BadRecipe(
            "the base has a chat template of its own, and head.chat_template is another: leave it out, or set "
            "head.replace_chat_template=true"
        )
