"""How a model is asked to write: the options of generation, checked without torch."""

from __future__ import annotations

from pydantic import Field

from adapterhub_fin.options import Options


class Decoding(Options):
    """How the next token is chosen, and when to stop."""

    max_new_tokens: int = Field(128, ge=1, description="Tokens to write, at most.")
    temperature: float = Field(0.0, ge=0, description="0 takes the likeliest token; 1 draws as the model says.")
    top_p: float = Field(1.0, gt=0, le=1, description="Draw among the likeliest that make up this share.")
    repetition_penalty: float = Field(1.0, gt=0, description="Above 1, what was said becomes less likely.")
    seed: int = Field(0, ge=0, description="Seed of the draws.")
