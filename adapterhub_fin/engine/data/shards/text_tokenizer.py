"""Turn texts into token ids with a fast tokenizer, and copy its files to where the ids are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.fingerprint import tokenizer_digest
from adapterhub_fin.engine.data.shards.shard_files import DISK
from adapterhub_fin.errors import BadRecipe

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

FILE = "tokenizer.json"
# What Transformers reads of a tokenizer beside it, if it is there.
FURTHER = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")


class TextTokenizer:
    """Tokenize without special tokens, but for one before and one after each document.

    They are those that pretraining gives a document: bos and eos, or cls and sep where there is a mask token.
    """

    def __init__(self, folder: Path, begin_token: str | None = None, end_token: str | None = None) -> None:
        self.folder = folder.expanduser()
        if not (self.folder / FILE).is_file():
            raise BadRecipe(f"{folder} has no {FILE}: give the folder of a fast tokenizer")
        from transformers import AutoTokenizer

        self._files = {path.name: path.read_bytes() for path in _files_in(self.folder)}
        tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        self._fast: Any = getattr(tokenizer, "backend_tokenizer", None)
        if self._fast is None:
            raise BadRecipe(f"the tokenizer of {folder} is not a fast one: convert it to {FILE}")
        self._fast.no_truncation()
        self._fast.no_padding()
        self._fast.encode_special_tokens = True  # a text that spells one, such as </s>, ends nothing
        self.vocabulary = max(tokenizer.get_vocab().values()) + 1  # ids may have gaps
        self.digest = tokenizer_digest(tokenizer)
        encoder = tokenizer.mask_token is not None
        self.begin = self._token(tokenizer, tokenizer.cls_token if encoder else tokenizer.bos_token, begin_token)
        self.end = self._token(tokenizer, tokenizer.sep_token if encoder else tokenizer.eos_token, end_token)
        self.dtype = np.dtype("<u2" if self.vocabulary <= 1 << 16 else "<u4")

    def _token(self, tokenizer: Any, own: str | None, given: str | None) -> int | None:
        """Return the id of a token that the user gave, or else the tokenizer's own, None for none.

        Raises BadRecipe for one that the tokenizer lacks.
        """
        token = own if given is None else given
        if not token:
            return None
        if (number := tokenizer.get_vocab().get(token)) is None:
            raise BadRecipe(f"{token!r} is no token of {self.folder}: give one of its vocabulary, or ''")
        return int(number)

    def record(self) -> dict[str, Any]:
        """Return what the ids depend on, as JSON."""
        return {
            "digest": self.digest,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in self._files.items()},
            "vocabulary": self.vocabulary,
            "begin": self.begin,
            "end": self.end,
        }

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each text, (tokens,) in `dtype`, between the tokens that begin and end it."""
        begin, end = ([] if token is None else [token] for token in (self.begin, self.end))
        encoded = self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array([*begin, *each.ids, *end], self.dtype) for each in encoded]

    def copy_to(self, folder: Path) -> None:
        """Write the tokenizer's files, as they were read, into a folder, where AutoTokenizer finds them."""
        folder.mkdir(exist_ok=True)
        for name, data in self._files.items():
            DISK.write(folder / name, data)
        DISK.sync(folder)


def _files_in(folder: Path) -> list[Path]:
    return [path for name in (FILE, *FURTHER) if (path := folder / name).is_file()]
