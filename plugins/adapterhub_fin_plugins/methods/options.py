"""Define the methods' options, which recipes, commands and manifests check; this module imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from adapterhub_fin.plugin import Options

CHANGES_BASE = ("pissa", "olora", "corda", "lora-ga")  # they start by subtracting part of the base's weights


class LowRankOptions(Options):
    """Choose the size of the update and the layers to adapt."""

    rank: int = Field(16, ge=1, le=4096, description="Rank of each update.")
    alpha: float = Field(32, gt=0, description="The update is scaled by alpha / rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the input of the update.")
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Layers to adapt, by the end of their names; by default every linear layer of the backbone.",
    )
    rslora: bool = Field(False, description="Scale by alpha / sqrt(rank), for large ranks (arXiv 2312.03732).")
    dora: bool = Field(False, description="Train the magnitude of the weights separately (DoRA, arXiv 2402.09353).")


class LoraOptions(LowRankOptions):
    """Choose the size of the update, the layers to adapt, and the initialization."""

    init: Literal["default", "gaussian", "orthogonal", "mica", "eva", "pissa", "olora", "corda", "lora-ga"] = Field(
        "default",
        description="Initialization of A and B. pissa, olora, corda and lora-ga start from part of the base's weights; "
        "the version stores the difference to that start, as plain LoRA of twice the rank. eva, corda and lora-ga "
        "use training batches.",
    )
    init_batches: int = Field(8, ge=1, description="Training batches that eva, corda and lora-ga use.")

    @model_validator(mode="after")
    def _goes_together(self) -> LoraOptions:
        if self.dora and self.init in CHANGES_BASE:
            raise ValueError(f"dora rescales full weights, and the init {self.init} splits them: choose one")
        return self


class QLoraOptions(LowRankOptions):
    """Choose the options of LoRA and how the base is quantized."""

    bits: Literal[4, 8] = Field(4, description="Bits of the base's weights: 4, or 8 by LLM.int8 (arXiv 2208.07339).")
    quantization: Literal["nf4", "fp4"] = Field(
        "nf4", description="Four-bit type; nf4 is for normally distributed weights."
    )
    double: bool = Field(True, description="With 4 bits: quantize the quantization constants too.")
    compute: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="With 4 bits: compute dtype; by default bfloat16 on a GPU that supports it, otherwise float32.",
    )
    threshold: float = Field(
        6.0,
        ge=0,
        description="With 8 bits: input columns with a value above it are computed in float16; 0 for none.",
    )

    @model_validator(mode="after")
    def _goes_together(self) -> QLoraOptions:
        other = ("threshold",) if self.bits == 4 else ("quantization", "double", "compute")
        fields = type(self).model_fields
        if extra := [name for name in other if getattr(self, name) != fields[name].default]:
            raise ValueError(
                f"{extra[0]} is an option of {12 - self.bits} bits, and bits is {self.bits}: drop one of them"
            )
        return self


class AdaLoraOptions(Options):
    """Choose the ranks, when they are pruned, and the layers to adapt."""

    initial_rank: int = Field(12, ge=2, le=4096, description="Rank of each update at the start.")
    target_rank: int = Field(8, ge=1, description="Mean rank at the end: unimportant directions are pruned.")
    alpha: float = Field(32, gt=0, description="The update is scaled by alpha / initial rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the input of the update.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps before the first pruning.")
    settle: float = Field(0.5, ge=0, lt=1, description="Share of the steps after the last pruning.")
    interval: int = Field(1, ge=1, description="Steps between two prunings.")
    orthogonality: float = Field(0.5, ge=0, description="Weight of the penalty that keeps directions orthogonal.")
    targets: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Layers to adapt, by the end of their names; by default every linear layer of the backbone.",
    )

    @model_validator(mode="after")
    def _goes_together(self) -> AdaLoraOptions:
        if self.target_rank >= self.initial_rank:
            raise ValueError(
                f"target_rank {self.target_rank} must be below initial_rank {self.initial_rank}; otherwise use lora"
            )
        if self.warmup + self.settle >= 1:
            raise ValueError(f"warmup {self.warmup} and settle {self.settle} leave no steps to prune in")
        return self


class PeftTypeOptions(Options):
    """Accept any field of PEFT's configuration of that type, such as `r` or `target_modules`."""

    model_config = ConfigDict(extra="allow")


TEXT = "Classify the tone of this financial news for the company's investors: negative, neutral or positive."


class PromptOptions(Options):
    """Choose the length of the prompt."""

    tokens: int = Field(
        20, ge=1, le=4096, description="Virtual tokens of the prompt; they use up positions of the base."
    )


class PromptTuningOptions(PromptOptions):
    """Choose the length of the prompt and its initialization."""

    init: Literal["text", "vocabulary", "random"] = Field(
        "text", description="Start from the embeddings of a text, of random tokens, or from random numbers."
    )
    text: str = Field(TEXT, min_length=1, description="The text, repeated or cut to the prompt's length.")


class PrefixOptions(PromptOptions):
    """Choose the length of the prefix, how it is trained, and its initialization."""

    projection: bool = Field(
        False, description="Train the prefix through a two-layer network (Li and Liang), which is dropped afterwards."
    )
    hidden: int | None = Field(None, ge=1, description="Width of that network; the base's hidden size by default.")
    init: Literal["text", "random"] | None = Field(
        None,
        description="Start from the base's keys and values of a text, or random; text by default, without projection.",
    )
    text: str = Field(TEXT, min_length=1, description="The text, repeated or cut to the prefix's length.")

    @model_validator(mode="after")
    def _goes_together(self) -> PrefixOptions:
        if self.projection and self.init == "text":
            raise ValueError("a projection can't start from a text: give projection or init text, not both")
        if self.hidden is not None and not self.projection:
            raise ValueError("hidden is the width of the projection, and there is none: set projection")
        return self


class PTuningOptions(PromptOptions):
    """Choose the length of the prompt and the network that computes it."""

    network: Literal["mlp", "lstm"] = Field(
        "mlp", description="Network that the prompt is trained through; dropped afterwards."
    )
    hidden: int | None = Field(None, ge=1, description="Width of that network; the base's hidden size by default.")
    layers: int = Field(2, ge=1, description="Layers of the lstm; an mlp always has two.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in the lstm.")
