"""Turn texts into token ids with a fast tokenizer, and copy its files to where the ids are."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.fingerprint import tokenizer_digest
from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

FILE = "tokenizer.json"
# What Transformers reads of a tokenizer beside it, if it is there.
FURTHER = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")


class TextTokenizer:
    """Tokenize without special tokens, but for one after each document."""

    def __init__(self, folder: Path, end_token: str | None = None) -> None:
        self.folder = folder.expanduser()
        if not (self.folder / FILE).is_file():
            raise BadRecipe(f"{folder} has no {FILE}: give the folder of a fast tokenizer")
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        self._fast: Any = getattr(tokenizer, "backend_tokenizer", None)
        if self._fast is None:
            raise BadRecipe(f"the tokenizer of {folder} is not a fast one: convert it to {FILE}")
        self._fast.no_truncation()
        self._fast.no_padding()
        self.vocabulary = len(tokenizer)
        self.digest = tokenizer_digest(tokenizer)
        self.end = self._end(tokenizer, end_token)
        self.dtype = np.dtype("<u2" if self.vocabulary <= 1 << 16 else "<u4")

    def _end(self, tokenizer: Any, given: str | None) -> int | None:
        """Return the id of the token after each document. Raises BadRecipe for one that the tokenizer lacks."""
        token = tokenizer.eos_token if given is None else given
        if not token:
            return None
        if (number := tokenizer.get_vocab().get(token)) is None:
            raise BadRecipe(f"end_token {token!r} is no token of {self.folder}: give one of its vocabulary, or ''")
        return int(number)

    def record(self) -> dict[str, Any]:
        """Return what the ids depend on, as JSON."""
        return {
            "digest": self.digest,
            "file": hashlib.sha256((self.folder / FILE).read_bytes()).hexdigest(),
            "vocabulary": self.vocabulary,
            "end": self.end,
        }

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each text, (tokens,) in the smallest unsigned type, with the end token after them."""
        end = [] if self.end is None else [self.end]
        encoded = self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array([*each.ids, *end], self.dtype) for each in encoded]

    def copy_to(self, folder: Path) -> None:
        """Copy the tokenizer's files into a folder, where AutoTokenizer finds them."""
        folder.mkdir(exist_ok=True)
        for name in (FILE, *FURTHER):
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, folder / name)
