"""Write a tokenizer that the tokenizers library alone reads, with the padding and truncation of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.engine.base.tokenizer_probe import TEXTS
from adapterhub_fin.errors import Unsupported

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from adapterhub_fin.engine.inference.adapter import Adapter

TOKENIZER: Final = "tokenizer.json"


def write_tokenizer(adapter: Adapter, path: Path) -> Tokenizer:
    """Write the adapter's tokenizer; return it as the file gives it. Raises Unsupported where it is Python code."""
    from tokenizers import Tokenizer

    tokenizer: Any = adapter.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise Unsupported(
            f"{adapter.reference} reads texts with a {type(tokenizer).__name__}, which is Python code: the layout onnx "
            "needs a tokenizer.json; save the base's tokenizer as a fast one"
        )
    own = Tokenizer.from_str(backend.to_str())  # the adapter's stays as it is
    own.enable_truncation(adapter.max_length, direction=tokenizer.truncation_side)
    own.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.pad_token,
    )
    own.save(str(path))
    return Tokenizer.from_file(str(path))


def check_tokens(written: Tokenizer, adapter: Adapter, texts: Sequence[str]) -> None:
    """Check that the file gives the token ids of the adapter, of these texts, of probes and of a long one.

    Raises Unsupported with the first text that it reads otherwise.
    """
    joined = " ".join([*texts[:8], *TEXTS])
    probes = [*texts, *TEXTS, joined * (1 + adapter.max_length // 64)]
    expected = adapter.tokenizer(probes, truncation=True, max_length=adapter.max_length)["input_ids"]
    for text, ids, encoding in zip(probes, expected, written.encode_batch(probes), strict=True):
        real = [token for token, counts in zip(encoding.ids, encoding.attention_mask, strict=True) if counts]
        if list(ids) != real:
            raise Unsupported(
                f"the tokenizers library alone reads {text[:60]!r} otherwise than {adapter.reference}, whose "
                f"{type(adapter.tokenizer).__name__} does something of its own: export it with --layout merged"
            )
