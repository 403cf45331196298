"""Options of the methods that put a prompt of trained vectors before every text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from adapterhub_fin.plugin.options import Options

TEXT = "Classify the tone of this financial news for the company's investors: negative, neutral or positive."


class PromptOptions(Options):
    """How long the prompt is."""

    tokens: int = Field(20, ge=1, le=4096, description="Vectors in the prompt; they take positions of the base.")


class PromptTuningOptions(PromptOptions):
    """How long the prompt is, and where it starts."""

    init: Literal["text", "vocabulary", "random"] = Field(
        "text", description="Embeddings of a text, of random tokens of the vocabulary, or random numbers."
    )
    text: str = Field(TEXT, min_length=1, description="The text, repeated or cut to the prompt's length.")


class PrefixOptions(PromptOptions):
    """How long the prefix of keys and values is, how it is trained, and where it starts."""

    projection: bool = Field(
        False, description="Train the prefix through a two-layer network (Li and Liang), which is dropped afterwards."
    )
    hidden: int | None = Field(None, ge=1, description="Width of that network; the base's hidden size by default.")
    init: Literal["text", "random"] | None = Field(
        None,
        description="Keys and values that the base gives a text, or random; text is the default, without projection.",
    )
    text: str = Field(TEXT, min_length=1, description="The text, repeated or cut to the prefix's length.")

    @model_validator(mode="after")
    def _goes_together(self) -> PrefixOptions:
        if self.projection and self.init == "text":
            raise ValueError("a projection can't be told to give the keys and values of a text: drop one of them")
        if self.hidden is not None and not self.projection:
            raise ValueError("hidden is the width of the projection, and there is none: set projection")
        return self


class PTuningOptions(PromptOptions):
    """How long the prompt is, and the network that gives it."""

    network: Literal["mlp", "lstm"] = Field(
        "mlp", description="What the prompt is trained through; dropped afterwards."
    )
    hidden: int | None = Field(None, ge=1, description="Its width; the base's hidden size by default.")
    layers: int = Field(2, ge=1, description="Layers of the lstm; an mlp has two in any case.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in the lstm.")
