"""Options of the methods, by which recipes, commands and manifests check them; importing them imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from adapterhub_fin.plugin.options import Options

CHANGES_BASE = ("pissa", "olora", "corda", "lora-ga")  # they take something out of the base's weights to begin with


class LowRankOptions(Options):
    """How large the update is, and where it goes."""

    rank: int = Field(16, ge=1, le=4096, description="Rank of each update.")
    alpha: float = Field(32, gt=0, description="The update is scaled by alpha / rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the input of the update.")
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Layers by the end of their names; by default every linear layer of the backbone.",
    )
    rslora: bool = Field(False, description="Scale by alpha / sqrt(rank), for large ranks (arXiv 2312.03732).")
    dora: bool = Field(False, description="Train the weights' magnitude apart (DoRA, arXiv 2402.09353).")


class LoraOptions(LowRankOptions):
    """How large the update is, where it goes, and where it starts."""

    init: Literal["default", "gaussian", "orthogonal", "mica", "eva", "pissa", "olora", "corda", "lora-ga"] = Field(
        "default",
        description="Where A and B start. pissa, olora, corda and lora-ga begin with a part of the base's weights; the "
        "version holds the difference to where they began, as plain LoRA of twice the rank. eva, corda and lora-ga "
        "look at training batches first.",
    )
    init_batches: int = Field(8, ge=1, description="Training batches that eva, corda and lora-ga look at.")

    @model_validator(mode="after")
    def _goes_together(self) -> LoraOptions:
        if self.dora and self.init in CHANGES_BASE:
            raise ValueError(f"dora scales whole weights, and the init {self.init} takes them apart: choose one")
        return self


class QLoraOptions(LowRankOptions):
    """LoRA on a base in four bits."""

    quantization: Literal["nf4", "fp4"] = Field("nf4", description="Four-bit type: nf4 is for normal weights.")
    double: bool = Field(True, description="Quantize the quantization constants too.")
    compute: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Type that is computed in; by default bfloat16 on a GPU that has it, else float32."
    )


class AdaLoraOptions(Options):
    """How much rank there is, when it is shared out, and where it goes."""

    initial_rank: int = Field(12, ge=2, le=4096, description="Rank of each update at the start.")
    target_rank: int = Field(8, ge=1, description="Mean rank at the end: unimportant directions are pruned.")
    alpha: float = Field(32, gt=0, description="The update is scaled by alpha / initial rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the input of the update.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps before the first pruning.")
    settle: float = Field(0.5, ge=0, lt=1, description="Share of the steps at the end, at the final ranks.")
    interval: int = Field(1, ge=1, description="Steps between two prunings.")
    orthogonality: float = Field(0.5, ge=0, description="Weight of the penalty that keeps directions orthogonal.")
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Layers by the end of their names; by default every linear layer of the backbone.",
    )

    @model_validator(mode="after")
    def _goes_together(self) -> AdaLoraOptions:
        if self.target_rank >= self.initial_rank:
            raise ValueError(
                f"target_rank {self.target_rank} must be below initial_rank {self.initial_rank}: or use lora"
            )
        if self.warmup + self.settle >= 1:
            raise ValueError(f"warmup {self.warmup} and settle {self.settle} leave no steps to prune in")
        return self


class PeftTypeOptions(Options):
    """Any field of PEFT's configuration of that type, such as `r` or `target_modules`."""

    model_config = ConfigDict(extra="allow")


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
