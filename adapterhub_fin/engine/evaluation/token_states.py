"""Give the hidden states of texts' tokens by a model that compares texts, such as minilm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.load_base import load_config, load_tokenizer
from adapterhub_fin.engine.base.locks import tokenizing
from adapterhub_fin.engine.base.positions import position_limit
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.errors import NotFinite
from adapterhub_fin.plugin.token_states import TokenStates
from adapterhub_fin.plugin.trusted_code import remote_code
from adapterhub_fin.recipe.choices import BaseChoice

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedTokenizerBase
else:
    torch, np = Lazy("torch"), Lazy("numpy")

MOST_TOKENS = 1_000_000  # of a tokenizer that knows no limit


def find_comparing_base(base: str | Path, *, download: bool) -> bases.BaseSource:
    """Return the base that compares texts, as it is found for a recipe. Raises BaseNotFound, which says how to get it.

    Imports no torch.
    """
    return bases.find_base(BaseChoice.read(base), download=download)


@dataclass
class ComparingModel:
    """Hold a base without an adapter, and count the texts that it read in part for want of positions."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    limit: int
    cut: int = 0

    @classmethod
    def load(cls, source: bases.BaseSource) -> ComparingModel:
        """Load the base's backbone, with its own number format."""
        from transformers import AutoModel

        with quiet_loading(), torch.random.fork_rng(devices=[]):
            model = AutoModel.from_pretrained(source.folder, local_files_only=True, **remote_code()).eval()
            tokenizer = load_tokenizer(source.folder)
        own = min(tokenizer.model_max_length, MOST_TOKENS)
        return cls(model, tokenizer, min(own, position_limit(load_config(source.folder)) or own))

    def states(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Return the last layer's states of each text, an array (texts,) of `TokenStates`.

        An empty text has none that count. Raises NotFinite where a state is NaN or infinite.
        """
        with tokenizing():
            encoded = self.tokenizer(list(texts), return_special_tokens_mask=True, verbose=False)
        ids = [row[: self.limit] for row in encoded["input_ids"]]
        self.cut += sum(len(row) > self.limit for row in encoded["input_ids"])
        order = sorted(range(len(texts)), key=lambda index: (-len(ids[index]), index))
        states: np.ndarray = np.empty(len(texts), object)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            for row, hidden in zip(rows, self._hidden([ids[row] for row in rows]), strict=True):
                special = np.array(encoded["special_tokens_mask"][row][: self.limit], bool)
                states[row] = TokenStates(hidden[: len(ids[row])], ~special)
        return states

    def _hidden(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Return (texts, tokens, hidden), float32; the tokens past a text's end are padding."""
        if not max(map(len, ids)):
            return np.zeros((len(ids), 0, 1), np.float32)
        padded = self.tokenizer.pad({"input_ids": [list(row) for row in ids]}, return_tensors="pt")
        read = {name: padded[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            hidden: np.ndarray = self.model(**read).last_hidden_state.float().cpu().numpy()
        if not np.isfinite(hidden[padded["attention_mask"].numpy() == 1]).all():
            raise NotFinite("the model that compares texts gives states that are NaN or infinite: choose another")
        return hidden
