"""Store a tokenizer with a version whose base has another one, and find it again.

A load uses the base's tokenizer and refuses one that encodes texts differently. So a version that was trained with
another tokenizer must store it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.load_base import load_tokenizer
from adapterhub_fin.engine.base.padding import padding
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.base.tokenizer_probe import describe_tokenizer
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.trusted_code import is_remote_code_trusted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".npz", ".ckpt")
REMEMBERED = 16  # folders of bases
TOKENIZER_FOLDER, TOKENIZER_CONFIG = "tokenizer", "tokenizer_config.json"


def store_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, base: Path | None) -> None:
    """Write a tokenizer into a version's folder, unless its base has the same.

    `base` is the base's folder, if it is on this machine. Raises BadRecipe for an object that is not a tokenizer or
    that saving changes, and WrongBase for a tokenizer without a token to pad with.
    """
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise BadRecipe(f"tokenizer is a {type(tokenizer).__name__}: give a tokenizer of Transformers")
    fields = describe_tokenizer(padding(tokenizer))
    if base is not None and _described_once(base) == fields:
        return
    tokenizer.save_pretrained(folder / TOKENIZER_FOLDER)
    if _described(folder / TOKENIZER_FOLDER) != fields:
        raise BadRecipe(
            "the tokenizer reads texts otherwise after it was saved and loaded: save it with save_pretrained, load it "
            "from there, and give that one"
        )


def _described(folder: Path) -> dict[str, Any] | None:
    """Describe the tokenizer of a folder; None if there is none that can be read."""
    try:
        with quiet_loading():
            return describe_tokenizer(load_tokenizer(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return None


_descriptions: dict[bytes, dict[str, Any]] = {}  # by what is in a folder beside weights


def _described_once(folder: Path) -> dict[str, Any] | None:
    """Describe the tokenizer of a base's folder, again only if a file there has changed; many saves share a base."""
    digest = hashlib.sha256(repr((str(folder.resolve()), is_remote_code_trusted())).encode())
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix not in WEIGHT_FILES:
            digest.update(f"{path.name} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    key = digest.digest()
    if key not in _descriptions and (described := _described(folder)) is not None:
        if len(_descriptions) >= REMEMBERED:
            _descriptions.clear()
        _descriptions[key] = described
    return _descriptions.get(key)


def own_tokenizer_folder(folder: Path, *, grown: bool) -> Path | None:
    """Return the folder of a version's own tokenizer, or None if the version has none.

    The tokenizer at the top of an imported folder counts only with `grown`, if the version has embeddings too: their
    rows may be of tokens that the base's tokenizer lacks.
    """
    if (folder / TOKENIZER_FOLDER / TOKENIZER_CONFIG).is_file():
        return folder / TOKENIZER_FOLDER
    return folder if grown and (folder / TOKENIZER_CONFIG).is_file() else None
