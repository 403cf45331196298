"""Keep a tokenizer with a version whose base has another one, and find it again.

A load reads the base's own tokenizer and refuses one that reads texts otherwise, so that a version that was trained
with another must bring it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.load_base import load_tokenizer
from adapterhub_fin.engine.base.padding import padding
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.base.tokenizer_probe import describe_tokenizer
from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACE, MARK = "tokenizer", "tokenizer_config.json"


def store_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, base: Path | None) -> None:
    """Write a tokenizer into a version's folder, unless its base has the same.

    `base` is the base's folder, where it is at hand. Raises BadRecipe for what is no tokenizer, or can't be read back,
    and WrongBase for one that has no token to pad with.
    """
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise BadRecipe(f"tokenizer is a {type(tokenizer).__name__}: give one of Transformers, as the base has it")
    wanted = describe_tokenizer(padding(tokenizer))
    if base is not None and _described(base) == wanted:
        return
    tokenizer.save_pretrained(folder / PLACE)
    if _described(folder / PLACE) != wanted:
        raise BadRecipe(
            "the tokenizer reads texts otherwise once it is saved and loaded: save it with save_pretrained, load it "
            "from there, and give that one"
        )


def _described(folder: Path) -> dict[str, Any] | None:
    """What the tokenizer of a folder does; None where there is none that can be read."""
    try:
        with quiet_loading():
            return describe_tokenizer(load_tokenizer(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def brought_tokenizer(folder: Path, *, grown: bool) -> Path | None:
    """Return where a version's own tokenizer lies; None where it has none.

    That of an import counts where it brings embeddings too (`grown`), whose rows the base's tokenizer may not know.
    """
    if (folder / PLACE / MARK).is_file():
        return folder / PLACE
    return folder if grown and (folder / MARK).is_file() else None
