"""Options of `lora` and `qlora`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

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
