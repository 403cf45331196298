"""Options of `causal-lm`."""

from __future__ import annotations

from pydantic import Field

from adapterhub_fin.plugin.options import Options


class CausalLMOptions(Options):
    """How text becomes examples."""

    packing: bool = Field(
        True,
        description="Cut documents into blocks of training.max_length tokens; a block holds one document's tokens. "
        "Without it, a document is one example, cut to that length.",
    )
    smallest: int = Field(8, ge=2, description="A document's last block is dropped where it is shorter than this.")
