"""Define the options of text generation, which are checked without torch."""

from __future__ import annotations

from pydantic import Field

from adapterhub_fin.plugin.options import Options


class Decoding(Options):
    """Say how the next token is chosen, and when to stop; None takes the value of the base's generation config."""

    max_new_tokens: int = Field(128, ge=1, description="Tokens to write, at most.")
    temperature: float = Field(
        0.0, ge=0, description="0 takes the most likely token; 1 samples from the model's distribution."
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Sample from the most likely tokens of this total probability; by default the base's, else all.",
    )
    top_k: int | None = Field(
        None,
        ge=0,
        description="Sample from this many of the most likely tokens, 0 for all; by default the base's, else 50.",
    )
    repetition_penalty: float | None = Field(
        None, gt=0, description="Above 1 makes tokens of the text so far less likely; by default the base's, else 1."
    )
    seed: int = Field(0, ge=0, description="Seed of the sampling.")
